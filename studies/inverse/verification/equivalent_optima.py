"""Identifiability: where parameters trade off, the curve of equivalent optima instead of one arbitrary point of it.

A target at one time is one equation: with two variables a curve of them meets it. Part of that is exact: mobility and
time enter through their product alone, c(x, t; M) = c(x, M t; 1). The rest (mobility against gradient energy, say) is
traced on the corrected model of the study, and a few points of the curve are solved.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from studies.inverse.config import TIME
from studies.inverse.search.acquisition import polished
from studies.inverse.search.fidelity import Model, Standing
from studies.inverse.search.kriging import fit
from studies.inverse.search.samplers import batch_seed
from studies.inverse.search.shared_trajectories import beside
from sweeps.files import write_json

if TYPE_CHECKING:
    from studies.inverse.search.driver import Driver

FILE = "equivalents.json"
STEPS, POOL = 25, 512
#: Times that a few points are solved, the model being corrected by them in between.
PASSES = 3
#: Of the range of the variable that the curve runs along; shorter ones are one optimum and its tolerance.
SHORTEST = 0.1
EXACT = (
    "Exact: mobility and time act through their product alone, so every pair with mobility x time = {product:.6g} "
    "gives the same microstructure."
)
FIXED_TIME = (
    "At a fixed time mobility acts as time does (exactly, through mobility x time), so it can be traded for {others}."
)


def trace(driver: Driver, standing: Standing) -> dict[str, Any] | None:
    """Find, check and write the curve; None where the optimum is a point, or nothing meets the targets."""
    best = driver.ladder.best_verified(standing)
    judge, space = driver.prepared.judge, driver.prepared.space
    if not judge.all_targets or space.size < 2 or best is None or not judge.met(standing.judged.losses[[best]])[0]:
        return None
    model = driver.ladder.model(standing)
    if model is None:
        return None
    along = _along(space.names)
    exact = TIME in space.names and "mobility" in space.names
    curve = _hyperbola(driver, standing.unit[best]) if exact else _curve(model, along, standing.unit[best], driver)
    if len(curve) < 3 or np.ptp(curve[:, along]) < SHORTEST:
        return None
    verified = []
    if driver.prepared.study.verify.equivalents:
        solved, chosen = _checked(driver, model, along, curve, standing.unit[best])
        verified = [_told(driver, solved.unit[i], solved.at(chosen[j : j + 1])) for j, i in enumerate(chosen)]
        # Through what was solved, where the model alone decided so far.
        again = curve if exact else _curve(_corrected(model, solved), along, standing.unit[best], driver)
        curve = again if len(again) >= 3 else curve
    found = _described(driver, standing, best, along, curve)
    found["verified"] = verified
    write_json(driver.folder / FILE, found)
    return found


def _hyperbola(driver: Driver, best: np.ndarray) -> np.ndarray:
    """Where mobility x time is that of the best point, the other variables as there; needs no model."""
    space = driver.prepared.space
    point = space.values(best[None])[0]
    m, t = space.names.index("mobility"), space.names.index(TIME)
    product = point[m] * point[t]
    low, high = max(space.low[m], product / space.high[t]), min(space.high[m], product / space.low[t])
    values = np.repeat(point[None], STEPS, axis=0)
    values[:, m] = np.geomspace(low, high, STEPS)
    values[:, t] = np.clip(product / values[:, m], space.low[t], space.high[t])
    return space.unit(values)


def _along(names: tuple[str, ...]) -> int:
    """The variable that the curve runs along: mobility, whose trade is exact, else the first."""
    return names.index("mobility") if "mobility" in names else 0


def _curve(model: Model, along: int, best: np.ndarray, driver: Driver) -> np.ndarray:
    """(point, variable) in the unit cube: for values of one variable the others that meet the targets, as modelled."""
    rng = np.random.default_rng(batch_seed(driver.prepared.study.sampler.seed, 0))
    size = len(best)
    found = []
    for value in np.linspace(0.0, 1.0, STEPS):
        low, high = np.zeros(size), np.ones(size)
        low[along] = high[along] = value
        pool = rng.random((POOL, size))
        pool[:, along] = value
        point = polished(model, pool[int(np.argmin(model.judged(pool).merit))], low, high)
        if _met(model, point):
            found.append(point)
    return _longest(np.array(found).reshape(-1, size), along, best)


def _met(model: Model, point: np.ndarray) -> bool:
    judged = model.judged(point[None])
    return bool(model.judge.met(judged.losses)[0] and judged.feasible[0])


def _longest(curve: np.ndarray, along: int, best: np.ndarray) -> np.ndarray:
    """The unbroken part that is nearest to the best point."""
    if len(curve) < 2:
        return curve
    breaks = np.flatnonzero(np.diff(curve[:, along]) > 1.5 / (STEPS - 1)) + 1
    parts = np.split(curve, breaks)
    return min(parts, key=lambda part: float(np.linalg.norm(part - best, axis=1).min()))


def _checked(
    driver: Driver, model: Model, along: int, curve: np.ndarray, best: np.ndarray
) -> tuple[_Solved, np.ndarray]:
    """Solve a few points of the curve, and what their trajectories give beside; where they miss, correct the model by
    all that was solved, trace and solve once more. Returns all that was solved, and the row of the best at each place.
    """
    count = driver.prepared.study.verify.equivalents
    picks = curve[np.unique(np.linspace(0, len(curve) - 1, count).round().astype(int))]
    solved = _solve(driver, picks)
    chosen = solved.best(driver)
    for _ in range(PASSES - 1):
        missed = np.flatnonzero(~_hold(driver, solved.at(chosen)))
        again = _curve(_corrected(model, solved), along, best, driver) if missed.size else curve[:0]
        if len(again) < 3:
            break
        # At the same places along the curve, where the correction is known.
        gaps = np.abs(again[:, along][None] - picks[missed][:, along][:, None])
        first = len(solved.unit)
        solved = solved.and_more(_solve(driver, again[gaps.argmin(axis=1)]))
        fresh = _Solved(solved.unit[first:], [v[first:] for v in solved.features], len(missed)).best(driver) + first
        losses = driver.prepared.judge(solved.features).merit
        chosen[missed] = np.where(losses[fresh] < losses[chosen[missed]], fresh, chosen[missed])
    return solved, chosen


@dataclass(frozen=True)
class _Solved:
    """Points that the solver solved.

    Attributes:
        unit: (point, variable), fan after fan.
        features: for each term (point, realization, number).
        fans: how many.
    """

    unit: np.ndarray
    features: list[np.ndarray]
    fans: int

    def at(self, rows: np.ndarray) -> list[np.ndarray]:
        return [values[rows] for values in self.features]

    def best(self, driver: Driver) -> np.ndarray:
        """Row of the best point of each fan."""
        merit = driver.prepared.judge(self.features).merit.reshape(self.fans, -1)
        return np.arange(self.fans) * merit.shape[1] + np.where(np.isfinite(merit), merit, np.inf).argmin(axis=1)

    def and_more(self, other: _Solved) -> _Solved:
        features = [np.concatenate(pair) for pair in zip(self.features, other.features, strict=True)]
        return _Solved(np.concatenate([self.unit, other.unit]), features, self.fans + other.fans)


def _hold(driver: Driver, features: list[np.ndarray]) -> np.ndarray:
    """bool (point,): meets every target and every constraint."""
    judged = driver.prepared.judge(features)
    return driver.prepared.judge.met(judged.losses) & judged.feasible


def _solve(driver: Driver, unit: np.ndarray) -> _Solved:
    """Points and those on their trajectories."""
    space = driver.prepared.space
    fans = beside(space, space.values(unit))
    values = fans.reshape(-1, space.size)
    mark = hashlib.blake2b(values.tobytes(), digest_size=6).hexdigest()
    evaluation = driver.evaluate(driver.prepared.reference, driver.folder / "equivalents" / mark, values, run=True)
    driver.counts.verified += evaluation.computed
    return _Solved(space.unit(values), evaluation.features, len(fans))


def _corrected(model: Model, solved: _Solved) -> Model:
    """The model plus what the solver said of it."""
    known = np.isfinite(model.scale.flat(solved.features)).all(axis=1)
    off = model.scale.flat(solved.at(known)) - model.fit(solved.unit[known])
    more = fit(solved.unit[known], off, corrections=True)
    return Model(model.judge, model.fit, model.scale, model.shapes, model.sites, more)


def _told(driver: Driver, unit: np.ndarray, features: list[np.ndarray]) -> dict[str, Any]:
    from studies.inverse.verification.outcome import short_labels

    terms = driver.prepared.terms
    names = short_labels([t.label for t in terms])
    losses = driver.prepared.judge(features).losses
    return {
        "parameters": driver.prepared.space.as_dict(driver.prepared.space.values(unit[None])[0]),
        "qois": {n: float(t.aim.summary(f)[0]) for n, t, f in zip(names, terms, features, strict=True)},
        "objectives": losses[0].tolist(),
        "verified": True,
        "met": bool(_hold(driver, features)[0]),
    }


def _described(driver: Driver, standing: Standing, best: int, along: int, curve: np.ndarray) -> dict[str, Any]:
    space = driver.prepared.space
    point = space.as_dict(space.values(standing.unit[[best]])[0])
    statement, product = "", None
    if TIME in space.names:
        product = point.get("mobility", space.mobility) * point[TIME]
        statement = EXACT.format(product=product)
    elif "mobility" in space.names:
        statement = FIXED_TIME.format(others=" and ".join(n for n in space.names if n != "mobility"))
    values = space.values(curve)
    return {
        "statement": statement,
        "mobility_x_time": product,
        "along": space.names[along],
        "curve": [{"parameters": space.as_dict(row)} for row in values],
    }


def sentence(found: dict[str, Any] | None) -> str:
    """The curve in one sentence."""
    if not found:
        return ""
    first, last = (found["curve"][i]["parameters"] for i in (0, -1))
    ends = "; ".join(f"{n} {first[n]:.3g} to {last[n]:.3g}" for n in first)
    met = sum(p["met"] for p in found["verified"])
    return f"equivalent optima along {ends} ({met} of {len(found['verified'])} solved points meet the targets): {FILE}"
