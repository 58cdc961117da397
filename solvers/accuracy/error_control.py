"""The error of an answer, measured: every trajectory is solved twice, and again where that is not enough.

A *companion* with longer steps on a coarser grid accompanies each trajectory. Both are made for a tolerance that the
accuracy model (:mod:`solvers.accuracy.model`) believes in, the companion for one that is ``COARSER`` times as large; so
its error is a known multiple of the trajectory's own, and their difference measures both: whatever the equation did
to errors on the way, a coalescence, a slow drift of an interface, it did to both. Where the estimate exceeds the
tolerance, the trajectory becomes the companion of a finer one.

This is Richardson's estimate (1911, doi:10.1098/rsta.1911.0009) over a whole trajectory. It fails where errors have
grown so large that they no longer grow in proportion; then it is large itself, and so the answer is flagged.

Each requested time is judged on its own, and the tolerances of finer trajectories are fixed multiples: so the answer at
a time does not depend on which other times are asked for.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

import numpy as np
import torch

from solvers.compiled import compiled_sums

#: Tolerance of a companion over that of its trajectory.
COARSER = 4.0
#: Share of the tolerance up to which an estimate is accepted: it is itself uncertain.
ACCEPTED = 0.95
#: Most trajectories of one sample for one time, the companion left out.
PASSES = 4
# A finer trajectory is made for a tolerance smaller by one factor or the other; the last number is the estimate, over
# the tolerance, up to which the first is thought to do.
_FINER, _MUCH_FINER, _LITTLE = 3.0, 15.0, 3.0
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


class ErrorControl:
    """Decides for each sample and time how fine its next trajectory is, and when to stop.

    Args:
        tolerance: relative L2 error allowed at every time.
        finest: smallest tolerance that the precision of the computation can meet.
        aims: (batch, time) tolerance that the first trajectory is made for.

    Attributes:
        aims: (batch, time) tolerance that the last trajectory was made for, in the accuracy model's terms.
    """

    def __init__(self, tolerance: float, finest: float, aims: np.ndarray) -> None:
        self.tolerance, self.finest, self.aims = tolerance, finest, aims
        self._least = np.full(aims.shape, np.inf)
        self._failures = np.zeros(aims.shape, dtype=np.int64)

    def again(self, estimate: np.ndarray, judged: np.ndarray) -> np.ndarray:
        """Which of the times ``judged``, bool (batch, time), need a finer trajectory; sets what it is made for.

        ``estimate`` (batch, time) is NaN where the trajectory or its companion has diverged.
        """
        found = np.where(np.isnan(estimate), np.inf, estimate) / self.tolerance
        useless = found > _USEFUL * self._least
        self._failures += np.where(judged & useless, np.where(found > _STILL_HOPELESS, 2, 1), 0)
        self._failures += np.where(judged & (found > _HOPELESS) & np.isfinite(found), 2, 0)
        missed = judged & (found > ACCEPTED) & (self._failures < 2) & (self.aims > self.finest)
        self._least = np.where(judged, np.minimum(found, self._least), self._least)
        finer = self.aims / np.where(found > _LITTLE, _MUCH_FINER, _FINER)
        self.aims = np.where(missed, np.maximum(finer, self.finest), self.aims)
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


def error_estimate(finer: Trajectories, coarser: Trajectories, least_excess: float) -> np.ndarray:
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


class Solvable(Protocol[T]):
    """A batch that can be solved with any accuracy."""

    def run(self, samples: np.ndarray, aims: np.ndarray, wanted: np.ndarray, only_states: bool) -> T:
        """Trajectories of some samples.

        Args:
            samples: (m,) indices.
            aims: (m,) tolerances that they are made for.
            wanted: bool (m, time), the times that matter; others may be left NaN.
            only_states: whether nothing but states and steps is needed.
        """

    def chosen(self, found: T, samples: np.ndarray) -> T:
        """The trajectories of ``samples`` (m,) among those of all."""

    def adopt(self, best: T, finer: T, samples: np.ndarray, wanted: np.ndarray, estimate: np.ndarray) -> None:
        """Takes finer trajectories of ``samples`` at the times ``wanted``, bool (m, time), with their estimates."""


def solve_measured(
    batch: Solvable[T], times: int, tolerance: float, finest: float, least_excess: float, loosest: np.ndarray
) -> T:
    """Solves every sample of a batch beside a companion, and again where the measured error exceeds the tolerance.

    Args:
        times: how many.
        finest: see :class:`ErrorControl`.
        least_excess: see :func:`error_estimate`.
        loosest: (sample,) largest tolerance that a companion may be made for.
    """
    everyone, judged = np.arange(len(loosest)), np.ones((len(loosest), times), dtype=bool)
    first = np.minimum(tolerance, loosest / COARSER)
    control = ErrorControl(tolerance, finest, np.repeat(first[:, None], times, axis=1))
    best = batch.run(everyone, control.aims[:, 0], judged, False)
    companion = batch.run(everyone, COARSER * control.aims[:, 0], judged, True)
    estimate = error_estimate(best, companion, least_excess)
    batch.adopt(best, best, everyone, judged, estimate)
    for _ in range(PASSES - 1):
        judged = control.again(estimate, judged)
        for aim in np.unique(control.aims[judged])[::-1]:
            wanted = judged & (control.aims == aim)
            samples = np.flatnonzero(wanted.any(axis=1))
            finer = batch.run(samples, np.full(len(samples), aim), wanted[samples], False)
            found = error_estimate(finer, batch.chosen(best, samples), least_excess)
            estimate[samples] = np.where(wanted[samples], found, estimate[samples])
            batch.adopt(best, finer, samples, wanted[samples], found)
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
