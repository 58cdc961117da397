"""Points proposed by the model: where the modelled quantities meet the objectives best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from scipy.optimize import minimize
from scipy.stats import qmc

from studies.inverse.objectives.criteria import Assessment
from studies.inverse.objectives.pareto import fronts
from studies.inverse.search.fidelity import FeatureModel, FidelityLevels, SearchState

T = TypeVar("T")
SOBOL = 2048
AROUND, SCALES = 8, (0.1, 0.03, 0.01)
#: Distance between proposals of one batch, in the unit cube.
APART = 0.08
EVALUATIONS = 120
#: Points nearer than this are one.
SAME = 1e-7


def batch_seed(seed: int, batch: int) -> int:
    """A seed of 31 bits for one batch of a study."""
    return int(np.random.SeedSequence([seed, batch]).generate_state(1)[0] >> 1)


def refined(levels: FidelityLevels, state: SearchState, seed: int, batch: int, count: int) -> np.ndarray | None:
    """Up to ``count`` points (point, variable) in the unit cube; None while there is no model.

    Half of them come from a model of all trials, half from models of the neighbourhoods of the best: topological events
    in single trajectories make the quantities rough on a small scale, which a model of all smooths away.
    """
    model = levels.model(state)
    if model is None or not count:
        return None
    rng = np.random.default_rng(batch_seed(seed, batch))
    pool = _pool(state, rng, levels.space.size)
    if levels.criteria.is_pareto:
        return _front(model.assess(pool), pool, state, count)
    ranked = _ranked(state)
    local = [_near(levels, state, row, rng) for row in spread_out(state.unit, ranked, count // 2, APART)]
    found = [*local, *_overall(model, pool, count - len(local))]
    return _distinct(np.stack(found), state, pool[np.argsort(model.assess(pool).merit, kind="stable")])


def spread_out(unit: np.ndarray, order: Sequence[int], count: int, apart: float) -> list[int]:
    """The first ``count`` of ``order`` that are ``apart`` in the unit cube, filled up with nearer ones."""
    chosen: list[int] = []
    for i in order:
        if len(chosen) == count:
            return chosen
        if not chosen or np.linalg.norm(unit[chosen] - unit[i], axis=1).min() >= apart:
            chosen.append(int(i))
    rest = [int(i) for i in order if int(i) not in set(chosen)]
    return chosen + rest[: count - len(chosen)]


def _overall(model: FeatureModel, pool: np.ndarray, count: int) -> list[np.ndarray]:
    order = np.argsort(model.assess(pool).merit, kind="stable")[: 50 * max(count, 1)]
    starts = pool[spread_out(pool, order.tolist(), count, APART)]
    return [polished(model, start, np.zeros_like(start), np.ones_like(start)) for start in starts]


def _near(levels: FidelityLevels, state: SearchState, row: int, rng: np.random.Generator) -> np.ndarray:
    """The best point by a model of a neighbourhood, within it."""
    model = levels.model(state, around=row)
    assert model is not None
    low, high = model.sites.min(0), model.sites.max(0)
    inside = low + (high - low) * rng.random((SOBOL // 8, len(low)))
    start = inside[int(np.argmin(model.assess(inside).merit))]
    return polished(model, start, low, high)


def _ranked(state: SearchState) -> list[int]:
    return state.ranked(np.flatnonzero(state.trusted)).tolist()


def _distinct(found: np.ndarray, state: SearchState, instead: np.ndarray) -> np.ndarray:
    """The points; one that is a trial already, or occurs twice, is replaced by the next of ``instead``."""
    chosen: list[np.ndarray] = []
    known = state.unit
    for point in (*found, *instead):
        taken = np.concatenate([known, np.array(chosen).reshape(-1, known.shape[1])])
        if len(chosen) < len(found) and np.abs(taken - point).max(axis=1).min() > SAME:
            chosen.append(point)
    return np.array(chosen)


def _pool(state: SearchState, rng: np.random.Generator, size: int) -> np.ndarray:
    """Points over the whole box and around the best trials."""
    everywhere = qmc.Sobol(size, scramble=True, seed=rng).random(SOBOL)
    best = state.unit[_ranked(state)[:AROUND]]
    near = [np.repeat(best, 8, axis=0) + s * rng.standard_normal((8 * len(best), size)) for s in SCALES]
    return np.clip(np.concatenate([everywhere, *near]), 0.0, 1.0)


def polished(model: FeatureModel, start: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """A local optimum within bounds by Nelder and Mead; the first step is small because the pool is dense."""

    def merit(unit: np.ndarray) -> float:
        return float(model.assess(unit[None]).merit[0])

    step = 0.02 * np.maximum(high - low, 1e-9)
    corners = start + np.where(start + step > high, -step, step)[:, None] * np.eye(len(start))
    simplex = np.concatenate([start[None], corners])
    options = {"initial_simplex": simplex, "maxfev": EVALUATIONS, "xatol": 1e-7, "fatol": 1e-9}
    found = minimize(merit, start, method="Nelder-Mead", bounds=list(zip(low, high, strict=True)), options=options)
    return np.clip(found.x, 0.0, 1.0) if found.fun <= merit(start) else start


def _front(assessment: Assessment, pool: np.ndarray, state: SearchState, count: int) -> np.ndarray:
    """Points of the modelled front, each as far as can be from the known front and from each other."""
    rows = np.flatnonzero(assessment.feasible)
    if not rows.size:
        return _distinct(pool[np.argsort(assessment.merit, kind="stable")[:count]], state, pool)
    losses = assessment.losses[rows]
    front = rows[fronts(losses) == 0]
    low = assessment.losses[front].min(0)
    extent = np.maximum(np.ptp(assessment.losses[front], axis=0), 1e-12)
    points = (assessment.losses[front] - low) / extent
    taken = [(row - low) / extent for row in state.assessment.losses[known_front(state)]]
    chosen: list[int] = []
    while len(chosen) < min(count, len(front)):
        if taken:
            gap = np.linalg.norm(points[:, None] - np.array(taken)[None], axis=2).min(axis=1)
        else:
            gap = np.linalg.norm(points - 0.5, axis=1)
        gap[chosen] = -1.0
        chosen.append(int(np.argmax(gap)))
        taken.append(points[chosen[-1]])
    return _distinct(pool[front[chosen]], state, np.concatenate([pool[front], pool]))


def known_front(state: SearchState, only_verified: bool = False) -> np.ndarray:
    """Rows of the feasible, trusted trials that no other such trial dominates, in the order of the first objective."""
    good = state.trusted & state.assessment.feasible
    rows = np.flatnonzero(good & state.verified if only_verified else good)
    if not rows.size:
        return rows
    rows = rows[fronts(state.assessment.losses[rows]) == 0]
    _, first = np.unique(state.assessment.losses[rows], axis=0, return_index=True)
    return rows[first]


def evenly_along(rows: list[T], count: int) -> list[T]:
    """``count`` rows of a front, both ends included, about evenly spaced along it."""
    if len(rows) <= count:
        return rows
    picks = np.linspace(0, len(rows) - 1, count).round().astype(int)
    return [rows[i] for i in dict.fromkeys(picks.tolist())]
