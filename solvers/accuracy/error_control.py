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

from dataclasses import dataclass, field

import numpy as np

#: Tolerance of a companion over that of its trajectory.
COARSER = 3.0
#: Share of the tolerance up to which an estimate is accepted: it is itself uncertain.
ACCEPTED = 0.85
#: Share of the tolerance that a finer trajectory is meant to have as its error.
_AIMED = 0.5
#: Most trajectories of one sample, the companion left out.
PASSES = 4
# A finer trajectory is made for a tolerance at least this much smaller, and at most that much: errors that have
# saturated say little.
_LEAST_FINER, _MOST_FINER = 2.0, 12.0
# The estimate is trusted to distinguish these multiples of a trajectory's own error in the difference.
_LEAST_EXCESS, _LARGEST_EXCESS = 1.0, 4.0
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

    def companion_aims(self) -> np.ndarray:
        """(batch,) tolerance of the first companions."""
        return self.aims * COARSER

    def estimate(self, difference: np.ndarray, samples: np.ndarray, companion_aims: np.ndarray) -> np.ndarray:
        """Relative L2 error (m, time) of the trajectories of ``samples`` (m,).

        Args:
            difference: (m, time) relative L2 difference from their companions.
            companion_aims: (m,) tolerance that those were made for.
        """
        excess = companion_aims / self.aims[samples] - 1.0
        return difference / np.clip(excess, _LEAST_EXCESS, _LARGEST_EXCESS)[:, None]

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
