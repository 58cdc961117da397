"""The error of an answer, measured: every trajectory is solved twice, and again where that is not enough.

A *companion* with longer steps on a coarser grid accompanies each trajectory. Both are made for a tolerance that the
accuracy model (:mod:`solvers.accuracy.model`) believes in, the companion for one that is ``COARSER`` times as large; so
its error is a known multiple of the trajectory's own, and their difference measures both: whatever the equation did
to errors on the way, a coalescence, a slow drift of an interface, it did to both. Where the estimate exceeds the
tolerance, the trajectory becomes the companion of a finer one, for a tolerance smaller by what was missed.

This is Richardson's estimate (1911, doi:10.1098/rsta.1911.0009) over a whole trajectory. It fails where errors have
grown so large that they no longer grow in proportion; then it is large itself, and so the answer is flagged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np
import torch

from solvers.compiled import compiled_sums

#: Tolerance of a companion over that of its trajectory.
COARSER = 3.0
#: Share of the tolerance up to which an estimate is accepted: it is itself uncertain.
ACCEPTED = 0.9
#: Share of the tolerance that a finer trajectory is meant to have as its error.
_AIMED = 0.5
#: Most trajectories of one sample, the companion left out.
PASSES = 4
# A finer trajectory is made for a tolerance at least this much smaller, and at most that much: errors that have
# saturated say little.
_LEAST_FINER, _MOST_FINER = 2.0, 12.0
# Power of the mean step with which errors grow, by order of the scheme.
_POWER = {2: 1.75, 3: 3.5}
# What a coarser trajectory's error exceeds the finer one's by: at second order at least, and at most, in units of the
# latter.
_SECOND_ORDER_EXCESS, _LARGEST_EXCESS = 2.0, 6.0
# A finer trajectory should lower the estimate to this share at least. Once it may fail to: two errors can cancel. It is
# not tried, or not again, where the estimate exceeds the tolerance so many times: an instability makes more of whatever
# error there is.
_USEFUL = 0.8
_HOPELESS, _STILL_HOPELESS = 150.0, 30.0


@dataclass
class ErrorControl:
    """Decides for each sample of a batch how fine its next trajectory is, and when to stop.

    Args:
        tolerance: relative L2 error allowed at every time.
        batch: number of samples.
        finest: smallest tolerance that the precision of the computation can meet.

    Attributes:
        aims: (batch,) tolerance that each sample's last trajectory was made for, in the accuracy model's terms.
        worst: (batch,) largest estimate over time of the best trajectory so far.
    """

    tolerance: float
    batch: int
    finest: float
    aims: np.ndarray = field(init=False)
    worst: np.ndarray = field(init=False)
    _failures: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.aims = np.full(self.batch, self.tolerance)
        self.worst = np.full(self.batch, np.inf)
        self._failures = np.zeros(self.batch, dtype=np.int64)

    def again(self, estimate: np.ndarray, samples: np.ndarray) -> np.ndarray:
        """Which of ``samples`` (m,) need a finer trajectory, bool (m,); sets the tolerance that it is made for.

        ``estimate`` (m, time) is NaN where the trajectory or its companion has diverged.
        """
        worst = np.where(np.isnan(estimate), np.inf, estimate).max(axis=1, initial=0.0)
        useless = worst > _USEFUL * self.worst[samples]
        self._failures[samples] += np.where(useless, np.where(worst > _STILL_HOPELESS * self.tolerance, 2, 1), 0)
        self._failures[samples] += np.where((worst > _HOPELESS * self.tolerance) & np.isfinite(worst), 2, 0)
        hopeful = (self._failures[samples] < 2) & (self.aims[samples] > self.finest)
        missed = (worst > ACCEPTED * self.tolerance) & hopeful
        self.worst[samples] = np.minimum(worst, self.worst[samples])
        finer = np.clip(worst / (_AIMED * self.tolerance), _LEAST_FINER, _MOST_FINER)
        self.aims[samples] = np.where(missed, np.maximum(self.aims[samples] / finer, self.finest), self.aims[samples])
        return missed


class Trajectories(Protocol):
    """Answers of some samples."""

    @property
    def states(self) -> torch.Tensor:
        """(m, time, ...) on the user's grid; NaN from the time on at which a sample has diverged."""

    @property
    def steps(self) -> np.ndarray:
        """(m, time) time steps accepted up to each time."""

    @property
    def order(self) -> np.ndarray:
        """(m,) order of the scheme, 2 or 3."""


@dataclass(frozen=True)
class _Compared:
    """What is kept of trajectories to compare finer ones with: see :class:`Trajectories`."""

    states: torch.Tensor
    steps: np.ndarray

    def of(self, chosen: np.ndarray) -> _Compared:
        return _Compared(self.states[torch.from_numpy(chosen)], self.steps[chosen])


def error_estimate(finer: Trajectories, coarser: _Compared, least_excess: float) -> np.ndarray:
    """Relative L2 error (m, time) of ``finer``: its difference from ``coarser`` over the excess of that one's error.

    How large that is follows from the steps that both have made, and is at least ``least_excess``: where stability
    limits them they are nearly the same. Then what is left of the difference depends on the process: errors of an
    interface's speed are nearly the same in both, those of compositions nearly independent.
    """
    ratio = finer.steps / np.maximum(coarser.steps, 1)
    power = np.array([_POWER[int(order)] for order in finer.order])[:, None]
    least = np.where(finer.order == 2, _SECOND_ORDER_EXCESS, least_excess)[:, None]
    excess = np.clip(ratio**power - 1.0, least, _LARGEST_EXCESS)
    return relative_difference(finer.states, coarser.states) / excess


T = TypeVar("T", bound=Trajectories)
#: (samples (m,), tolerances that their trajectories are made for (m,), whether only states matter) -> trajectories.
Run = Callable[[np.ndarray, np.ndarray, bool], T]
#: Takes the finer trajectories of samples (m,), their estimates (m, time) beside them, into the best so far.
Adopt = Callable[[T, T, np.ndarray, np.ndarray], None]


def solve_measured(run: Run[T], adopt: Adopt[T], batch: int, tolerance: float, finest: float, least_excess: float) -> T:
    """Solves every sample of a batch beside a companion, and again where the measured error exceeds the tolerance.

    Args:
        finest: see :class:`ErrorControl`.
        least_excess: see :func:`error_estimate`.
    """
    samples = np.arange(batch)
    control = ErrorControl(tolerance, batch, finest)
    best = latest = run(samples, control.aims.copy(), False)
    companion = run(samples, COARSER * control.aims, True)
    estimate = error_estimate(best, _Compared(companion.states, companion.steps), least_excess)
    adopt(best, best, samples, estimate)
    for _ in range(PASSES - 1):
        missed = control.again(estimate, samples)
        if not missed.any():
            break
        coarser = _Compared(latest.states, latest.steps).of(missed)
        samples = samples[missed]
        latest = run(samples, control.aims[samples], False)
        estimate = error_estimate(latest, coarser, least_excess)
        adopt(best, latest, samples, estimate)
    return best


@compiled_sums
def _difference_squares(first: np.ndarray, second: np.ndarray, squares: np.ndarray) -> None:
    """``squares`` (row, 2): sums of (first - second)^2 and of first^2 over the cells of (row, cell) arrays."""
    for b in range(first.shape[0]):
        one, other = first[b], second[b]
        apart, size = np.float64(0.0), np.float64(0.0)
        for i in range(len(one)):
            difference = np.float64(one[i]) - np.float64(other[i])
            apart += difference * difference
            size += np.float64(one[i]) * np.float64(one[i])
        squares[b, 0], squares[b, 1] = apart, size


def relative_difference(states: torch.Tensor, others: torch.Tensor) -> np.ndarray:
    """(batch, time) L2 norm of the difference over that of ``states`` (batch, time, ...); NaN where either is."""
    if states.device.type == "cpu":
        rows, cells = states.shape[0] * states.shape[1], states[0, 0].numel()
        squares = np.empty((rows, 2))
        _difference_squares(states.reshape(rows, cells).numpy(), others.reshape(rows, cells).numpy(), squares)
    else:
        apart = (states - others).flatten(2).double().square().sum(-1)
        size = states.flatten(2).double().square().sum(-1)
        squares = torch.stack([apart, size], dim=-1).reshape(-1, 2).cpu().numpy()
    found, norm = np.sqrt(squares[:, 0]), np.sqrt(squares[:, 1])
    return np.divide(found, norm, out=np.where(found > 0, np.inf, 0.0), where=norm > 0).reshape(states.shape[:2])
