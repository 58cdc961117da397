"""Dominance of points with several losses: fronts, and how one front improves on another."""

from __future__ import annotations

import numpy as np

#: Fronts that are ranked; deeper points share the last rank.
DEPTHS = 8


def dominated(losses: np.ndarray, by: np.ndarray) -> np.ndarray:
    """bool (point,): some row of ``by`` is as good everywhere and better somewhere."""
    found = np.zeros(len(losses), dtype=bool)
    for row in by:
        found |= (row <= losses).all(axis=1) & (row < losses).any(axis=1)
    return found


def fronts(losses: np.ndarray) -> np.ndarray:
    """int64 (point,): 0 on the Pareto front, 1 on the front of the rest, and so on up to ``DEPTHS``."""
    depth = np.full(len(losses), DEPTHS, dtype=np.int64)
    left = np.arange(len(losses))
    for level in range(DEPTHS):
        if not left.size:
            break
        inner = ~dominated(losses[left], _not_dominated(losses[left]))
        depth[left[inner]] = level
        left = left[~inner]
    return depth


def _not_dominated(losses: np.ndarray) -> np.ndarray:
    """The rows that no other dominates; sorted first, so that few comparisons decide."""
    order = np.lexsort(losses.T[::-1])
    kept: list[np.ndarray] = []
    for row in losses[order]:
        if not any((other <= row).all() and (other < row).any() for other in kept):
            kept.append(row)
    return np.array(kept)


def improvement(new: np.ndarray, old: np.ndarray) -> float:
    """Advance of a front on an older one: the additive epsilon indicator, in units of the new front's extent.

    Zitzler et al., IEEE Trans. Evol. Comput. 7, 117 (2003), doi:10.1109/TEVC.2003.810758.
    """
    extent = np.maximum(np.ptp(new, axis=0), 1e-12)
    gain = ((old[None] - new[:, None]) / extent).max(axis=2).min(axis=1)
    return float(max(0.0, gain.max()))


def hypervolume_share(front: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """Share of the box from ``low`` to ``high`` that points with two losses dominate."""
    inside = front[(front <= high).all(axis=1)]
    if not len(inside):
        return 0.0
    steps = inside[np.argsort(inside[:, 0], kind="stable")]
    best = np.minimum.accumulate(steps[:, 1])
    right = np.append(steps[1:, 0], high[0])
    return float(((right - steps[:, 0]) * (high[1] - best)).sum() / np.prod(np.maximum(high - low, 1e-300)))
