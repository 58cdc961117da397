"""One call for one case: :func:`evaluate` on a protocol, :func:`evaluate_clips` on clips of others."""

from __future__ import annotations

from pathlib import Path

from solvers.errors import InputError
from solvers.grids.grid import Boundary
from surrogate.evaluation.card import Report
from surrogate.evaluation.cases import protocol_case
from surrogate.evaluation.clips import clip_case
from surrogate.evaluation.engine import score_engine
from surrogate.evaluation.forecasters import Engine, Forecaster, Mirrored
from surrogate.evaluation.protocol import Protocol
from surrogate.evaluation.references import CACHE, References
from surrogate.evaluation.score import score


def evaluate(
    model: Forecaster,
    protocol: Protocol,
    trajectories: int | None = None,
    folder: Path | str = CACHE,
    rollouts: int | None = None,
) -> Report:
    """Everything measured on a model in one protocol: its forecasts, and its rollouts where it is an engine.

    Args:
        model: of the protocol's process.
        protocol: see :data:`~surrogate.evaluation.protocol.PROTOCOLS`.
        trajectories: how many of them, the protocol's number by default.
        folder: of the reference trajectories.
        rollouts: how many of the trajectories an engine also runs from their start, at most ``trajectories``, 0 for
            none; by default 16 of 64 x 64 cells and four of 256 x 256, for every frame's grains are found in the
            image, which at that size costs more than all the rest.

    Raises:
        InputError: for a model of the other process, a negative number of rollouts, or whatever the model raises.
    """
    if model.process != protocol.process:
        raise InputError(f"{model.name}: a model of {model.process}, but {protocol.name} is {protocol.process}")
    case = protocol_case(protocol, trajectories, folder)
    scores = score(model, case)
    if rollouts is not None and rollouts < 0:
        raise InputError(f"--rollouts: 0 or more, but got {rollouts}")
    wanted = min(case.count, max(4, 2**16 // protocol.grid.cells) if rollouts is None else rollouts)
    engine = None
    if isinstance(model, Engine) and wanted:
        engine = score_engine(model, protocol, References(protocol, folder), wanted)
    return Report(scores, engine)


def evaluate_clips(
    model: Forecaster,
    path: Path | str,
    boundary: Boundary = "no_flux",
    spacing: float | None = None,
    kappa: float | None = None,
    age: float = 20.0,
) -> Report:
    """The same forecast figures on a file of clips; see :func:`~surrogate.evaluation.clips.clip_case`."""
    case = clip_case(model, path, boundary, spacing, kappa, age)
    return Report(score(Mirrored(model), case))
