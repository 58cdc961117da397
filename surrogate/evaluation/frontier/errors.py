"""What is compared: fields point by point, and quantities of interest, each against the truth."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from solvers import Frames
from solvers.processes.base import Problem
from solvers.qois import evaluate_qois
from surrogate.evaluation import metrics
from surrogate.processes import learned_process

Values = dict[str, np.ndarray]


@dataclass(frozen=True)
class Errors:
    """The error figures of a :class:`~surrogate.evaluation.frontier.rows.Row`, under the same names."""

    qoi_error: float
    qoi_worst: str
    qoi_ensemble: float
    qois: dict[str, tuple[float, float]]
    field_error: float = math.nan
    field_worst: float = math.nan


def quantities(problem: Problem, frames: Frames) -> Values:
    """Quantity -> float64 (trajectory, time)."""
    values = evaluate_qois(problem, frames)
    return {name: values[name].double().cpu().numpy() for name in learned_process(problem.process).quantities}


def field_errors(problem: Problem, fields: torch.Tensor, truth: torch.Tensor) -> np.ndarray:
    """rms(field - truth) / rms(truth - its mean) of each frame, in the scaled field: 1 is what a uniform one has.

    Args:
        fields, truth: (trajectory, time, y, x).

    Returns:
        (trajectory, time) float64.
    """
    known = learned_process(problem.process)
    found, expected = (known.to_network(problem, f).double() for f in (fields, truth))
    difference = (found - expected).square().mean((2, 3)).sqrt()
    return (difference / expected.std((2, 3), correction=0)).numpy()


def errors(problem: Problem, frames: Frames, truth: Frames, truth_values: Values) -> Errors:
    """A candidate's frames against the truth's.

    Args:
        truth_values: the :func:`quantities` of ``truth``.
    """
    found = value_errors(quantities(problem, frames), truth_values)
    pointwise = field_errors(problem, frames.field, truth.field)
    return replace(found, field_error=float(np.median(pointwise.mean(1))), field_worst=float(pointwise.max()))


def value_errors(values: Values, truth_values: Values) -> Errors:
    """Quantities against the truth's, fields left out."""
    pairs = {}
    for name, expected in truth_values.items():
        single = metrics.trajectory_error(values[name], expected).mean()
        pairs[name] = (float(single), float(metrics.ensemble_error(values[name], expected).mean()))
    return _largest(pairs)


def _largest(pairs: dict[str, tuple[float, float]]) -> Errors:
    # A figure that is not finite is the worst of all, and is not hidden by max().
    order = {name: [v if np.isfinite(v) else np.inf for v in pair] for name, pair in pairs.items()}
    worst = max(order, key=lambda name: order[name][0])
    return Errors(order[worst][0], worst, max(pair[1] for pair in order.values()), pairs)


def seed_floor(truth_values: Values) -> Errors | None:
    """The QoI errors between the halves of the trajectories, which differ in their starts alone; None for one."""
    pairs = {}
    for name, values in truth_values.items():
        half = len(values) // 2
        if half == 0:
            return None
        single = metrics.trajectory_error(values[half : 2 * half], values[:half]).mean()
        pairs[name] = (float(single), float(metrics.ensemble_floor(values).mean()))
    return _largest(pairs)


def persisted(problem: Problem, truth: Frames, ages: np.ndarray) -> Frames:
    """The truth up to the first frame that a model would make its own, and that frame from there on.

    Args:
        truth: frames (trajectory, time, ...).
        ages: (time,) scaled ages.
    """
    known = learned_process(problem.process)
    old = known.taken_over(known.to_network(problem, truth.field), ages)
    count = len(ages)
    first = torch.where(old.any(1), old.int().argmax(1), count - 1)
    kept = torch.minimum(torch.arange(count)[None], first[:, None])
    rows = torch.arange(len(kept))[:, None]
    grain_id = None if truth.grain_id is None else truth.grain_id[rows, kept]
    return Frames(truth.field[rows, kept], truth.free_energy[rows, kept], grain_id)
