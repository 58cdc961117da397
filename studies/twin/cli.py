"""The verb about twins: assimilate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweeps.cli import File, Overrides
from sweeps.inputs.kinds import Kind, register

register(
    Kind(
        "twin",
        "studies.twin.config:TwinConfig",
        "observations",
        verb="assimilate",
        examples="studies",
        inputs="studies.examples.make_furnace:frames_beside",
    )
)


def add_commands(app: typer.Typer) -> None:
    """Add this room's verb to the front door."""
    app.command()(assimilate)


def assimilate(
    file: File,
    overrides: Overrides = None,
    address: Annotated[str | None, typer.Option("--address", help="Use a running Dask scheduler.")] = None,
    watch: Annotated[
        Path | None, typer.Option("--watch", metavar="FOLDER", help="Update as frames arrive in this folder.")
    ] = None,
    idle: Annotated[
        float | None, typer.Option("--idle", metavar="SECONDS", help="With --watch: end when nothing came for so long.")
    ] = None,
) -> int:
    """Follow observed frames: estimate the material, forecast, and say what the frames determine."""
    from studies.twin.streaming import run_twin

    changes = [*(overrides or ()), *([f"cluster={{address: '{address}'}}"] if address else [])]
    run = run_twin(file, changes, watch, idle)
    for row in run.known:
        band = "" if row.verdict == "given" else f" ({row.low:.4g} to {row.high:.4g})"
        typer.echo(f"{row.name}: {row.value:.4g}{band}, {row.verdict}")
    if run.check.flagged:
        typer.echo("the process does not explain the frames: " + "; ".join(run.check.reasons), err=True)
    for line in run.forecast.crossing_lines():
        typer.echo(line)
    typer.echo(f"{run.folder}: posterior and forecast; report {run.page}")
    return 0
