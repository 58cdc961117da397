"""The verbs about twins: assimilate and inspect."""

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
    """Add this room's verbs to the front door."""
    app.command()(assimilate)
    app.command()(inspect)


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
    typer.echo(run.forecast.determined.line())
    for line in run.forecast.crossing_lines():
        typer.echo(line)
    typer.echo(f"{run.folder}: posterior and forecast; report {run.page}")
    return 0


def inspect(
    frames: Annotated[Path, typer.Argument(metavar="FRAMES", help="A file of frames, or a folder with times.csv.")],
    process: Annotated[
        str | None, typer.Option("--process", help="Estimate mobility and kappa of this process from the frames.")
    ] = None,
    interval: Annotated[
        float | None, typer.Option("--interval", metavar="TIME", help="Between frames, where the file has no times.")
    ] = None,
    pixel: Annotated[float, typer.Option("--pixel-size", metavar="LENGTH", help="Side of a pixel.")] = 1.0,
    variable: Annotated[str | None, typer.Option("--variable", help="Of a Zarr store or NetCDF file.")] = None,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", metavar="PNG", help="Write a picture of all frames to this file.")
    ] = None,
) -> int:
    """Say what is understood of frames: count, size, times, grey values, noise; and, with a process, its material.

    The estimate looks at the interior of the frames alone, so it holds for a window of a larger specimen.
    """
    from studies.twin.inspection import contact_sheet, inspect_frames

    found = inspect_frames(frames, process, interval, pixel, variable)
    for name, value in found.rows:
        typer.echo(f"{name + ':':<14}{value}")
    if sheet is not None:
        contact_sheet(found.frames, sheet)
        typer.echo(f"{sheet}: all frames")
    return 0
