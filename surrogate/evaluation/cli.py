"""``phasetwin evaluate``: the fixed protocol, clips of others, or a calibration, for one model."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from solvers.errors import InputError
from solvers.processes.registry import PROCESSES
from surrogate.models.files import MODEL, load_surrogate, read_about

if TYPE_CHECKING:
    from surrogate.evaluation.candidates import Forecaster

_RESTARTABLE = [process.name for process in PROCESSES.values() if len(process.fields) == 1]
_BASELINES = [*(f"persistence:{name}" for name in PROCESSES), *(f"solver:{name}" for name in _RESTARTABLE)]

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help=f"A model's name or folder, or a baseline: {', '.join(_BASELINES)}.",
        show_default=False,
    ),
]
Protocols = Annotated[
    list[str] | None,
    typer.Option("--protocol", metavar="NAME", help="Only this part of the protocol; may be repeated."),
]
Trajectories = Annotated[
    int | None, typer.Option("--trajectories", min=1, help="Trajectories of each part; the protocol's 16 by default.")
]
Rollouts = Annotated[
    int | None,
    typer.Option(
        "--rollouts", min=0, help="Trajectories also run from their start, as a sweep does; 16, or 4 at 256 x 256."
    ),
]
Clips = Annotated[
    Path | None,
    typer.Option(
        "--clips", metavar="FILE.npy", help="Clips (samples, frames, y, x) in [0, 1] instead of the protocol."
    ),
]
Boundary = Annotated[str, typer.Option("--boundary", help="Of the clips: no_flux or periodic.")]
Spacing = Annotated[
    float | None, typer.Option("--spacing", help="Scaled age between the frames of clips; fitted by default.")
]
Kappa = Annotated[float | None, typer.Option("--kappa", help="kappa / (W dx^2) of the clips; fitted by default.")]
Age = Annotated[float, typer.Option("--age", help="Scaled age of the first frame of clips.")]
Out = Annotated[
    Path | None, typer.Option("--out", help="Folder for card, tables and pictures; runs/evaluation/MODEL by default.")
]
Cache = Annotated[Path, typer.Option("--references", help="Folder of the reference trajectories.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Torch threads; as torch chooses by default.")]

Calibrate = Annotated[
    bool, typer.Option("--calibrate", help="Fit domain and bands instead, and write them into the model.")
]
CalibrationStores = Annotated[
    list[Path] | None,
    typer.Option("--calibration-store", metavar="STORE", help="Sweep to calibrate on; make calibration-data's."),
]
CoverageStores = Annotated[
    list[Path] | None,
    typer.Option("--coverage-store", metavar="STORE", help="Sweep to measure coverage on; make calibration-data's."),
]
OutsideStores = Annotated[
    list[Path] | None,
    typer.Option("--outside-store", metavar="STORE", help="Sweep beyond the domain; make calibration-data's."),
]


def add_commands(app: typer.Typer) -> None:
    """Add ``evaluate`` to the front door."""
    app.command("evaluate")(evaluate_command)


def evaluate_command(
    model: Model,
    protocol: Protocols = None,
    trajectories: Trajectories = None,
    rollouts: Rollouts = None,
    clips: Clips = None,
    boundary: Boundary = "no_flux",
    spacing: Spacing = None,
    kappa: Kappa = None,
    age: Age = 20.0,
    out: Out = None,
    references: Cache = Path("runs/surrogate/evaluation"),
    threads: Threads = None,
    calibrate: Calibrate = False,
    calibration_store: CalibrationStores = None,
    coverage_store: CoverageStores = None,
    outside_store: OutsideStores = None,
) -> int:
    """Measure a model by the fixed protocol, or on clips; write its card, tables and pictures.

    Reference trajectories are computed once, by the solver, and kept; an interrupted run goes on where it stopped.
    With --calibrate, fit the model's domain and bands to finished sweeps instead, measure their coverage on others, and
    write all of it into the model's folder.
    """
    import torch

    _check_options(clips, protocol, trajectories if rollouts is None else rollouts, spacing, kappa, boundary)
    stores = [tuple(part or ()) for part in (calibration_store, coverage_store, outside_store)]
    if threads is not None:
        torch.set_num_threads(threads)
    if calibrate:
        if clips is not None or protocol or out is not None or (trajectories, rollouts) != (None, None):
            raise InputError("--calibrate: not allowed with --clips, --protocol, --trajectories, --rollouts or --out")
        return _calibrate(model, stores)
    if any(stores):
        raise InputError("--calibration-store, --coverage-store, --outside-store: allowed with --calibrate")
    from surrogate.evaluation import card, scores, tables
    from surrogate.evaluation import clips as of_clips
    from surrogate.evaluation import protocol as protocols

    chosen = forecaster(model)
    if clips is not None:
        kind: Literal["no_flux", "periodic"] = "no_flux" if boundary == "no_flux" else "periodic"
        reports = [of_clips.evaluate_clips(chosen, clips, kind, spacing, kappa, age)]
    else:
        parts = protocols.protocols_for(chosen.process, protocol)
        reports = [scores.evaluate(chosen, part, trajectories, references, rollouts) for part in parts]
    named = Path(model).name.replace(":", "-") + (f"-{clips.stem}" if clips is not None else "")
    folder = out or Path("runs") / "evaluation" / named
    path = card.write_reports(folder, chosen, reports, command_line(), getattr(chosen, "about", None))
    for report in reports:
        for table in tables.tables(report):
            typer.echo(f"\n{report.name}")
            typer.echo(table.markdown())
    typer.echo(str(path))
    return 0


def _calibrate(model: str, stores: Sequence[tuple[Path, ...]]) -> int:
    from surrogate.evaluation import card, tables
    from surrogate.evaluation.calibration import run as calibration

    if model in _BASELINES:
        raise InputError(f"model: found {model!r}, allowed a learned model: a baseline has no bands")
    folder, entries = calibration.calibrate_model(model, calibration.CalibrationStores(*stores))
    about = read_about(folder)
    if (folder / "card.md").is_file():
        card.renew_card(folder / "card.md", about)
    for table in tables.coverage_tables(about["process"], entries["coverage"]):
        typer.echo(f"\n{table.markdown()}")
    for key, what in (("inside", "false alarms"), ("outside", "flagged beyond the domain")):
        part = entries["coverage"][key]
        typer.echo(f"{what}: {part['flagged']} of {part['trajectories']} trajectories")
    typer.echo(str(folder / MODEL))
    return 0


def _check_options(
    clips: Path | None,
    protocol: list[str] | None,
    number: int | None,
    spacing: float | None,
    kappa: float | None,
    boundary: str,
) -> None:
    if clips is None and (spacing is not None or kappa is not None):
        raise InputError("--spacing, --kappa: allowed with --clips; the protocol knows its own")
    if clips is not None and (protocol or number is not None):
        raise InputError("--protocol, --trajectories, --rollouts: not allowed with --clips")
    if boundary not in ("no_flux", "periodic"):
        raise InputError(f"--boundary: no_flux or periodic, but got {boundary!r}")


def forecaster(name: str) -> Forecaster:
    """A model by name or folder, or a baseline.

    Raises:
        InputError: for a name that is neither.
    """
    from surrogate.evaluation import candidates

    if name not in _BASELINES:
        return load_surrogate(name)
    kind, process = name.split(":")
    return candidates.SolverForecaster(process) if kind == "solver" else candidates.Persistence(process)


def command_line() -> str:
    """The command line as typed, the program by its name alone."""
    return shlex.join(["phasetwin", *sys.argv[1:]])
