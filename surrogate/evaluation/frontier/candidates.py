"""Who computes a case: the solver at tolerances, models at strides of their steps."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from solvers import Frames, simulate_frames
from solvers.processes.base import Problem
from surrogate.evaluation.frontier.rows import Kind
from surrogate.models.files import fingerprint
from surrogate.rollout.stepping import StepSchedule

TOLERANCES = (0.5, 0.3, 0.1, 0.05, 0.02, 0.01, 3e-3, 1e-3)
QUICK_TOLERANCES = (0.5, 0.1, 0.03, 0.01, 3e-3)
DOUBLE_TOLERANCES = (0.1, 0.01)
STRIDES = (0.5, 1.0, 2.0)
#: The truth must be this many times tighter than a tolerance for its error to be resolved.
RESOLVED = 3.0

#: Problem, starts (batch, y, x) and times (batch, time) -> frames and trust (batch,).
Run = Callable[[Problem, torch.Tensor, torch.Tensor], tuple[Frames, np.ndarray]]


@dataclass(frozen=True)
class Candidate:
    """Something that makes frames from starts.

    Attributes:
        name: for tables.
        kind: ``"solver"`` or ``"model"``.
        run: does it, the way a sweep does.
        check: raises InputError for a problem that it cannot take.
        model, tolerance, dtype, stride: as in :class:`~surrogate.evaluation.frontier.rows.Row`.
        identity: what decides its answers, beside the code.
    """

    name: str
    kind: Kind
    run: Run
    check: Callable[[Problem], None]
    model: str = ""
    tolerance: float | None = None
    dtype: str = ""
    stride: float | None = None
    identity: dict[str, Any] = field(default_factory=dict)


def solver_candidates(tolerances: Sequence[float], double: Sequence[float] = ()) -> list[Candidate]:
    """The solver in float32 at some tolerances and in float64 at others."""
    settings = [(t, torch.float32) for t in tolerances] + [(t, torch.float64) for t in double]
    return [_solver(tolerance, dtype) for tolerance, dtype in settings]


def _solver(tolerance: float, dtype: torch.dtype) -> Candidate:
    name = str(dtype).removeprefix("torch.")

    def run(problem: Problem, initial: torch.Tensor, times: torch.Tensor) -> tuple[Frames, np.ndarray]:
        frames = simulate_frames(problem, initial, times, tolerance=tolerance, dtype=dtype)
        return frames, np.ones(len(initial))

    return Candidate(
        name=f"solver {tolerance:g} {name}",
        kind="solver",
        run=run,
        check=lambda _: None,
        tolerance=tolerance,
        dtype=name,
        identity={"tolerance": tolerance, "dtype": name},
    )


def model_candidates(name_or_path: str, model: Any, strides: Sequence[float] = STRIDES) -> list[Candidate]:
    """A model with its schedule's steps times each stride, as far as the network reaches; equal ones once.

    Args:
        name_or_path: of the model, for its fingerprint.
        model: loaded; with ``rollout``, ``schedule`` and ``settings.reach``.
        strides: factors.
    """
    reach, plain = float(model.settings.reach), model.schedule
    found: dict[StepSchedule, Candidate] = {}
    # Its own schedule first: a stride that changes nothing is then left out.
    for stride in sorted(strides, key=lambda s: (s != 1.0, s)):
        lengths = tuple(min(length * stride, max(reach, length)) for length in plain.lengths)
        schedule = StepSchedule(tuple(plain.ages), lengths) if stride != 1.0 else plain
        if schedule not in found:
            found[schedule] = _model(name_or_path, model, schedule, stride)
    return list(found.values())


def _model(name_or_path: str, model: Any, schedule: StepSchedule, stride: float) -> Candidate:
    stepping = copy.copy(model)
    stepping.schedule = schedule

    def run(problem: Problem, initial: torch.Tensor, times: torch.Tensor) -> tuple[Frames, np.ndarray]:
        prediction = stepping.rollout(problem, initial, times)
        return prediction.frames, np.asarray(prediction.trust)

    return Candidate(
        name=model.name if stride == 1.0 else f"{model.name} x{stride:g}",
        kind="model",
        run=run,
        check=stepping.check,
        model=model.name,
        stride=stride,
        identity={"model": model.name, "fingerprint": fingerprint(name_or_path), "schedule": asdict(schedule)},
    )
