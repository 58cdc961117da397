"""Proposals of the model: where the quantities, as modelled, meet the aims best."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import minimize

from studies.inverse.judge import Judgement, fronts
from studies.inverse.ladder import Ladder, Standing
from studies.inverse.samplers import batch_seed, spread_out

SOBOL = 2048
AROUND, SCALES = 8, (0.1, 0.03, 0.01)
#: How far apart proposals of one batch are, in the unit cube.
APART = 0.08
EVALUATIONS = 120


def refined(ladder: Ladder, standing: Standing, seed: int, batch: int, count: int) -> np.ndarray | None:
    """Up to ``count`` points (point, variable) in the unit cube; None while there is no model."""
    found = ladder.model(standing)
    if found is None or not count:
        return None
    fit, scale = found
    shapes = [v.shape[1:] for v in standing.features]

    def judged(unit: np.ndarray) -> Judgement:
        return ladder.judge(scale.split(fit(unit), shapes))

    pool = _pool(standing, batch_seed(seed, batch), ladder.space.size)
    if ladder.judge.is_pareto:
        return _front(judged(pool), pool, standing, count)
    merit = judged(pool).merit
    order = np.argsort(merit, kind="stable")[: 50 * count]
    starts = pool[spread_out(pool, order.tolist(), count, APART)]
    return np.stack([_polished(lambda u: float(judged(u[None]).merit[0]), start) for start in starts])


def _pool(standing: Standing, seed: int, size: int) -> np.ndarray:
    """Points over the whole box and around the best trials."""
    from scipy.stats import qmc

    rng = np.random.default_rng(seed)
    everywhere = qmc.Sobol(size, scramble=True, seed=rng).random(SOBOL)
    rows = np.flatnonzero(standing.believed)
    best = standing.unit[rows[np.argsort(standing.judged.merit[rows], kind="stable")[:AROUND]]]
    near = [np.repeat(best, 8, axis=0) + s * rng.standard_normal((8 * len(best), size)) for s in SCALES]
    return np.clip(np.concatenate([everywhere, best, *near]), 0.0, 1.0)


def _polished(merit: Callable[[np.ndarray], float], start: np.ndarray) -> np.ndarray:
    """A bounded simplex search; its first step is small because the pool is dense."""
    size = len(start)
    simplex = np.concatenate([start[None], start + 0.02 * np.where(start[:, None] > 0.9, -1.0, 1.0) * np.eye(size)])
    options = {"initial_simplex": simplex, "maxfev": EVALUATIONS, "xatol": 1e-7, "fatol": 1e-9}
    found = minimize(merit, start, method="Nelder-Mead", bounds=[(0.0, 1.0)] * size, options=options)
    return np.clip(found.x, 0.0, 1.0) if found.fun <= merit(start) else start


def _front(judged: Judgement, pool: np.ndarray, standing: Standing, count: int) -> np.ndarray:
    """Points of the modelled front, each as far as can be from the front that is known and from each other."""
    rows = np.flatnonzero(judged.feasible)
    if not rows.size:
        return pool[np.argsort(judged.merit, kind="stable")[:count]]
    losses = judged.losses[rows]
    front = rows[fronts(losses) == 0]
    known = known_front(standing)
    low = judged.losses[front].min(0)
    span = np.maximum(np.ptp(judged.losses[front], axis=0), 1e-12)
    points = (judged.losses[front] - low) / span
    taken = [(row - low) / span for row in standing.judged.losses[known]]
    chosen: list[int] = []
    while len(chosen) < min(count, len(front)):
        if taken:
            gap = np.linalg.norm(points[:, None] - np.array(taken)[None], axis=2).min(axis=1)
        else:
            gap = np.linalg.norm(points - 0.5, axis=1)
        gap[chosen] = -1.0
        chosen.append(int(np.argmax(gap)))
        taken.append(points[chosen[-1]])
    return pool[front[chosen]]


def known_front(standing: Standing, only_verified: bool = False) -> np.ndarray:
    """Rows of the feasible, believed trials that no other such trial dominates, in the order of the first objective."""
    good = standing.believed & standing.judged.feasible
    rows = np.flatnonzero(good & standing.verified if only_verified else good)
    if not rows.size:
        return rows
    losses = standing.judged.losses[rows]
    rows = rows[fronts(losses) == 0]
    _, first = np.unique(standing.judged.losses[rows], axis=0, return_index=True)
    return rows[first]


def spread_front(standing: Standing, rows: Sequence[int], count: int) -> list[int]:
    """``count`` rows of a front, both ends included, about evenly spaced along it."""
    rows = list(rows)
    if len(rows) <= count:
        return rows
    picks = np.linspace(0, len(rows) - 1, count).round().astype(int)
    return [rows[i] for i in dict.fromkeys(picks.tolist())]


