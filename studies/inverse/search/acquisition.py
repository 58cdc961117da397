"""Proposals of the model: where the quantities, as modelled, meet the aims best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize

from studies.inverse.objectives.merit import Judgement, fronts
from studies.inverse.search.fidelity import Ladder, Model, Standing
from studies.inverse.search.samplers import batch_seed, spread_out

SOBOL = 2048
AROUND, SCALES = 8, (0.1, 0.03, 0.01)
#: How far apart proposals of one batch are, in the unit cube.
APART = 0.08
EVALUATIONS = 120
#: Points nearer than this are one.
SAME = 1e-7


def refined(ladder: Ladder, standing: Standing, seed: int, batch: int, count: int) -> np.ndarray | None:
    """Up to ``count`` points (point, variable) in the unit cube; None while there is no model.

    Half of them come from a model of all, half from models of the neighbourhoods of the best trials: events in single
    trajectories make the quantities rough on a small scale, which a model of all smooths away.
    """
    model = ladder.model(standing)
    if model is None or not count:
        return None
    rng = np.random.default_rng(batch_seed(seed, batch))
    pool = _pool(standing, rng, ladder.space.size)
    if ladder.judge.is_pareto:
        return _front(model.judged(pool), pool, standing, count)
    ranked = _ranked(standing)
    local = [_near(ladder, standing, row, rng) for row in spread_out(standing.unit, ranked, count // 2, APART)]
    found = [*local, *_overall(model, pool, count - len(local))]
    return _distinct(np.stack(found), standing, pool[np.argsort(model.judged(pool).merit, kind="stable")])


def _overall(model: Model, pool: np.ndarray, count: int) -> list[np.ndarray]:
    order = np.argsort(model.judged(pool).merit, kind="stable")[: 50 * max(count, 1)]
    starts = pool[spread_out(pool, order.tolist(), count, APART)]
    return [polished(model, start, np.zeros_like(start), np.ones_like(start)) for start in starts]


def _near(ladder: Ladder, standing: Standing, row: int, rng: np.random.Generator) -> np.ndarray:
    """The best point by a model of a neighbourhood, within it."""
    model = ladder.model(standing, around=row)
    assert model is not None
    low, high = model.sites.min(0), model.sites.max(0)
    inside = low + (high - low) * rng.random((SOBOL // 8, len(low)))
    start = inside[int(np.argmin(model.judged(inside).merit))]
    return polished(model, start, low, high)


def _ranked(standing: Standing) -> list[int]:
    rows = np.flatnonzero(standing.believed)
    return rows[np.argsort(standing.judged.merit[rows], kind="stable")].tolist()


def _distinct(found: np.ndarray, standing: Standing, instead: np.ndarray) -> np.ndarray:
    """What is a trial already, or twice, gives way to the next best."""
    chosen: list[np.ndarray] = []
    known = standing.unit
    for point in (*found, *instead):
        taken = np.concatenate([known, np.array(chosen).reshape(-1, known.shape[1])])
        if len(chosen) < len(found) and np.abs(taken - point).max(axis=1).min() > SAME:
            chosen.append(point)
    return np.array(chosen)


def _pool(standing: Standing, rng: np.random.Generator, size: int) -> np.ndarray:
    """Points over the whole box and around the best trials."""
    from scipy.stats import qmc

    everywhere = qmc.Sobol(size, scramble=True, seed=rng).random(SOBOL)
    best = standing.unit[_ranked(standing)[:AROUND]]
    near = [np.repeat(best, 8, axis=0) + s * rng.standard_normal((8 * len(best), size)) for s in SCALES]
    return np.clip(np.concatenate([everywhere, *near]), 0.0, 1.0)


def polished(model: Model, start: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """A bounded simplex search; its first step is small because the pool is dense."""

    def merit(unit: np.ndarray) -> float:
        return float(model.judged(unit[None]).merit[0])

    size = len(start)
    step = 0.02 * np.maximum(high - low, 1e-9)
    simplex = np.concatenate([start[None], start + np.where(start + step > high, -step, step)[:, None] * np.eye(size)])
    options = {"initial_simplex": simplex, "maxfev": EVALUATIONS, "xatol": 1e-7, "fatol": 1e-9}
    found = minimize(merit, start, method="Nelder-Mead", bounds=list(zip(low, high, strict=True)), options=options)
    return np.clip(found.x, 0.0, 1.0) if found.fun <= merit(start) else start


def _front(judged: Judgement, pool: np.ndarray, standing: Standing, count: int) -> np.ndarray:
    """Points of the modelled front, each as far as can be from the front that is known and from each other."""
    rows = np.flatnonzero(judged.feasible)
    if not rows.size:
        return _distinct(pool[np.argsort(judged.merit, kind="stable")[:count]], standing, pool)
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
    rest = pool[front] if len(front) else pool
    return _distinct(pool[front[chosen]], standing, np.concatenate([rest, pool]))


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


def spread_front(rows: Sequence[int], count: int) -> list[int]:
    """``count`` rows of a front, both ends included, about evenly spaced along it."""
    rows = list(rows)
    if len(rows) <= count:
        return rows
    picks = np.linspace(0, len(rows) - 1, count).round().astype(int)
    return [rows[i] for i in dict.fromkeys(picks.tolist())]
