"""The verb of inverse design: optimize. Returns the exit status: 0 done, 1 nothing verified, or a target missed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import typer

from sweeps.cli import Address, File, Overrides
from sweeps.inputs.kinds import Kind, register
from sweeps.inputs.yaml_source import located

if TYPE_CHECKING:
    from studies.inverse.study import StudyResult

SHOWN = 5
STUDY = Kind(
    "study",
    "studies.inverse.config:StudyConfig",
    "objectives",
    "studies.inverse.problem:lint_study",
    verb="optimize",
    examples="studies",
)


def add_commands(app: typer.Typer) -> None:
    """Add this room's verb to the front door, and its kind of file to ``lint`` and ``schema``."""
    register(STUDY)
    app.command()(optimize)


def optimize(file: File, overrides: Overrides = None, address: Address = None) -> int:
    """Find the parameters that give a wanted microstructure; what is reported is solved again by the solver."""
    from studies.inverse.study import Study

    extra = [f"changes.cluster={{address: '{address}'}}"] if address else []
    with located(file, overrides or ()):
        result = Study.from_yaml(file, (*(overrides or ()), *extra)).run()
    typer.echo(described(result))
    return 0 if result.best and result.missed == 0 else 1


def described(result: StudyResult) -> str:
    """The outcome in a few lines."""
    lines = [
        f"{result.folder}: {result.trials} trials ({result.warm} more from warm_start), {result.rollouts} rollouts, "
        f"{result.verified} points verified, in {result.wall_s:.1f} s; {result.why}"
    ]
    for point in result.best[:SHOWN]:
        lines.append(f"  {_values(point['parameters'])}  ->  {_values(point['qois'])}  (verified)")
    if len(result.best) > SHOWN:
        lines.append(f"  and {len(result.best) - SHOWN} more in {result.folder / 'best.json'}")
    if result.equivalents:
        lines.append(f"  {result.equivalents}")
    if result.report:
        lines.append(f"  report: {result.report}")
    return "\n".join(lines)


def _values(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.5g}" for name, value in values.items())
