"""The verb about twins: assimilate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweeps.cli import File, Overrides
from sweeps.inputs.kinds import Kind, register
from sweeps.inputs.yaml_source import located

register(Kind("twin", "studies.twin.config:TwinConfig", "observations"))


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
    from studies.twin.forecast import check_engine
    from studies.twin.report import write_report
    from studies.twin.store import write_store
    from studies.twin.streaming import run_batch, run_watch
    from studies.twin.twin import Twin

    changes = [*(overrides or ()), *([f"cluster={{address: '{address}'}}"] if address else [])]
    twin = Twin.from_yaml(file, changes)
    with located(file, changes):
        check_engine(twin.config.engine, twin.config.process)
        folder = run_batch(twin) if watch is None else run_watch(twin, watch, idle)
        check, known = twin.check(), twin.identifiability()
        forecast = twin.forecast()
    write_store(twin, folder, check, known, forecast)
    page = write_report(twin, check, known, forecast, folder)
    for row in known:
        band = "" if row.verdict == "given" else f" ({row.low:.4g} to {row.high:.4g})"
        typer.echo(f"{row.name}: {row.value:.4g}{band}, {row.verdict}")
    if check.flagged:
        typer.echo("the process does not explain the frames: " + "; ".join(check.reasons), err=True)
    for line in forecast.crossing_lines():
        typer.echo(line)
    typer.echo(f"{folder}: posterior and forecast; report {page}")
    return 0
