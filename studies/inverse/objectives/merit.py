"""Losses, feasibility and merit of features: what makes one point better than another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from studies.inverse.objectives.aims import Term

#: Added to the merit of what breaks a constraint: behind everything that breaks none.
INFEASIBLE = 1e6


@dataclass(frozen=True)
class Judgement:
    """Of points.

    Attributes:
        losses: (point, objective).
        violations: (point, constraint), 0 or less where met.
        merit: (point,), smaller is better: of a single objective its loss; of targets their losses, relative to what is
            allowed, by the root of the sum of squares; of other sets of objectives the depth in the order of dominance.
    """

    losses: np.ndarray
    violations: np.ndarray
    merit: np.ndarray

    @property
    def feasible(self) -> np.ndarray:
        """bool (point,)."""
        return np.asarray((self.violations <= 0).all(axis=1))


@dataclass(frozen=True)
class Judge:
    """Judges features by the terms of a study."""

    objectives: Sequence[Term]
    constraints: Sequence[Term]

    @property
    def all_targets(self) -> bool:
        """Whether every objective is a distance, which cannot be below 0."""
        return all(term.aim.is_target for term in self.objectives)

    @property
    def is_pareto(self) -> bool:
        """Whether the answer is a front."""
        return len(self.objectives) > 1 and not self.all_targets

    def __call__(self, features: Sequence[np.ndarray]) -> Judgement:
        """Features as of an evaluation: objectives, then constraints."""
        split = len(self.objectives)
        losses = np.stack([t.aim.loss(f) for t, f in zip(self.objectives, features[:split], strict=True)], axis=1)
        rows = [t.aim.loss(f) for t, f in zip(self.constraints, features[split:], strict=True)]
        violations = np.stack(rows, axis=1) if rows else np.zeros((len(losses), 0))
        merit = self._merit(losses) + np.where((violations <= 0).all(1), 0.0, INFEASIBLE)
        return Judgement(losses, violations, merit + np.maximum(violations, 0.0).sum(1) * INFEASIBLE)

    def _merit(self, losses: np.ndarray) -> np.ndarray:
        if self.all_targets:
            allowed = np.array([term.aim.allowed(0.0) for term in self.objectives])
            return np.sqrt(((losses / allowed) ** 2).mean(axis=1))
        return losses[:, 0] if losses.shape[1] == 1 else fronts(losses).astype(np.float64)

    def met(self, losses: np.ndarray) -> np.ndarray:
        """bool (point,): every target met within its tolerance."""
        if not self.all_targets:
            return np.zeros(len(losses), dtype=bool)
        return np.asarray((losses <= np.array([term.aim.allowed(0.0) for term in self.objectives])).all(axis=1))

    def same(self, one: np.ndarray, other: np.ndarray) -> bool:
        """Whether two rows of losses agree within what is allowed."""
        pairs = zip(self.objectives, one, other, strict=True)
        return all(abs(a - b) <= term.aim.allowed(float(b)) for term, a, b in pairs)


def dominated(losses: np.ndarray, by: np.ndarray) -> np.ndarray:
    """bool (point,): some row of ``by`` is as good everywhere and better somewhere."""
    found = np.zeros(len(losses), dtype=bool)
    for row in by:
        found |= (row <= losses).all(axis=1) & (row < losses).any(axis=1)
    return found


def fronts(losses: np.ndarray) -> np.ndarray:
    """int64 (point,): 0 on the Pareto front, 1 on the front of the rest, and so on; at most 8 deep."""
    depth = np.full(len(losses), 8, dtype=np.int64)
    left = np.arange(len(losses))
    for level in range(8):
        if not left.size:
            break
        inner = ~dominated(losses[left], _skyline(losses[left]))
        depth[left[inner]] = level
        left = left[~inner]
    return depth


def _skyline(losses: np.ndarray) -> np.ndarray:
    """The rows that none dominates; sorted first, so that few comparisons decide."""
    order = np.lexsort(losses.T[::-1])
    kept: list[np.ndarray] = []
    for row in losses[order]:
        if not any((other <= row).all() and (other < row).any() for other in kept):
            kept.append(row)
    return np.array(kept)


def improvement(new: np.ndarray, old: np.ndarray) -> float:
    """How much a front advanced on an older one: the additive epsilon indicator, in spans of the new front.

    Zitzler et al., IEEE Trans. Evol. Comput. 7, 117 (2003), doi:10.1109/TEVC.2003.810758.
    """
    span = np.maximum(np.ptp(new, axis=0), 1e-12)
    gain = ((old[None] - new[:, None]) / span).max(axis=2).min(axis=1)
    return float(max(0.0, gain.max()))


def hypervolume_share(front: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """Share of the box from ``low`` to ``high`` that two-objective points dominate; for histories of a front."""
    inside = front[(front <= high).all(axis=1)]
    if not len(inside):
        return 0.0
    steps = inside[np.argsort(inside[:, 0], kind="stable")]
    best = np.minimum.accumulate(steps[:, 1])
    right = np.append(steps[1:, 0], high[0])
    return float(((right - steps[:, 0]) * (high[1] - best)).sum() / np.prod(np.maximum(high - low, 1e-300)))
