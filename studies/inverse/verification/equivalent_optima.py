"""Identifiability: where variables trade off, the curve of equivalent optima instead of one arbitrary point of it.

A target at one time is one equation: with two variables it is met along a curve. Part of that is exact: mobility and
time enter through their product alone, c(x, t; M) = c(x, M t; 1). The rest (mobility against gradient energy, say) is
traced on the corrected model of the study, and a few points of the curve are solved.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from studies.inverse.config import TIME
from studies.inverse.search.acquisition import batch_seed, polished
from studies.inverse.search.fidelity import FeatureModel, SearchState
from studies.inverse.search.kriging import fit
from studies.inverse.search.runner import StudyRunner
from studies.inverse.search.shared_trajectories import along_trajectory
from sweeps.files import write_json

FILE = "equivalents.json"
STEPS, POOL = 25, 512
#: Times that a few points are solved, the model being corrected by them in between.
PASSES = 3
#: Share of the range of the variable that the curve runs along; a shorter curve is one optimum and its tolerance.
SHORTEST = 0.1
EXACT = (
    "Exact: {scale} and time act through their product alone, so every pair with {scale} x time = {product:.6g} "
    "gives the same microstructure."
)
FIXED_TIME = (
    "At a fixed time {scale} acts as time does (exactly, through {scale} x time), so it can be traded for {others}."
)


def trace(runner: StudyRunner, state: SearchState) -> dict[str, Any] | None:
    """Find, check and write the curve; None where the optimum is a point, or nothing meets the targets."""
    best, criteria, space = state.best_verified(), runner.problem.criteria, runner.problem.space
    if not criteria.all_targets or space.size < 2 or best is None:
        return None
    model = runner.levels.model(state)
    if model is None or not criteria.met(state.assessment.losses[[best]])[0]:
        return None
    return _Tracer(runner, state.unit[best]).trace(model)


@dataclass(frozen=True)
class _Solved:
    """Points that the solver has solved, those on one trajectory after each other."""

    unit: np.ndarray  #: (point, variable)
    features: list[np.ndarray]  #: for each criterion (point, realization, number)
    trajectories: int  #: how many

    def at(self, rows: np.ndarray) -> list[np.ndarray]:
        return [values[rows] for values in self.features]

    def and_more(self, other: _Solved) -> _Solved:
        features = [np.concatenate(pair) for pair in zip(self.features, other.features, strict=True)]
        return _Solved(np.concatenate([self.unit, other.unit]), features, self.trajectories + other.trajectories)


@dataclass(frozen=True)
class _Tracer:
    """Traces the curve through ``best``, a verified optimum (variable,) in the unit cube."""

    runner: StudyRunner
    best: np.ndarray

    @property
    def along(self) -> int:
        """The variable that the curve runs along: the time scale, whose trade is exact, else the first."""
        space = self.runner.problem.space
        return space.names.index(space.time_scale) if space.time_scale in space.names else 0

    def trace(self, model: FeatureModel) -> dict[str, Any] | None:
        exact = len(self.runner.problem.space.scaling) == 2
        curve = self.hyperbola() if exact else self.modelled(model)
        if len(curve) < 3 or np.ptp(curve[:, self.along]) < SHORTEST:
            return None
        verified = []
        if self.runner.problem.study.verify.equivalents:
            solved, chosen = self.checked(model, curve)
            verified = [self.described(solved.unit[row], solved.at(np.array([row]))) for row in chosen]
            # The solved points correct the model, and the curve with it.
            again = curve if exact else self.modelled(_corrected(model, solved))
            curve = again if len(again) >= 3 else curve
        found = {**self.statement(), "curve": self.parameters(curve), "verified": verified}
        write_json(self.runner.folder / FILE, found)
        return found

    def hyperbola(self) -> np.ndarray:
        """The exact curve: time scale x time as at the best point, the other variables as there."""
        space = self.runner.problem.space
        point, other = space.values(self.best[None])[0], space.names.index(TIME)
        product = point[self.along] * point[other]
        low = max(space.low[self.along], product / space.high[other])
        high = min(space.high[self.along], product / space.low[other])
        values = np.repeat(point[None], STEPS, axis=0)
        values[:, self.along] = np.geomspace(low, high, STEPS)
        values[:, other] = np.clip(product / values[:, self.along], space.low[other], space.high[other])
        return space.unit(values)

    def modelled(self, model: FeatureModel) -> np.ndarray:
        """(point, variable) in the unit cube: at values of one variable the others that meet the targets by a model."""
        rng = np.random.default_rng(batch_seed(self.runner.problem.study.sampler.seed, 0))
        size, along, found = len(self.best), self.along, []
        for value in np.linspace(0.0, 1.0, STEPS):
            low, high = np.zeros(size), np.ones(size)
            low[along] = high[along] = value
            pool = rng.random((POOL, size))
            pool[:, along] = value
            point = polished(model, pool[int(np.argmin(model.assess(pool).merit))], low, high)
            if self.hold(model.features(point[None]))[0]:
                found.append(point)
        return self.unbroken(np.array(found).reshape(-1, size))

    def unbroken(self, curve: np.ndarray) -> np.ndarray:
        """The unbroken part that is nearest to the best point."""
        if len(curve) < 2:
            return curve
        breaks = np.flatnonzero(np.diff(curve[:, self.along]) > 1.5 / (STEPS - 1)) + 1
        parts = np.split(curve, breaks)
        return min(parts, key=lambda part: float(np.linalg.norm(part - self.best, axis=1).min()))

    def hold(self, features: list[np.ndarray]) -> np.ndarray:
        """bool (point,): meets every target and every constraint."""
        criteria = self.runner.problem.criteria
        assessment = criteria.assess(features)
        return criteria.met(assessment.losses) & assessment.feasible

    def checked(self, model: FeatureModel, curve: np.ndarray) -> tuple[_Solved, np.ndarray]:
        """Solve a few points of the curve and others on their trajectories; where all miss, correct the model by what
        was solved, trace and solve again. Returns all solved points, and the row of the best for each of the few.
        """
        count, along = self.runner.problem.study.verify.equivalents, self.along
        picks = curve[np.unique(np.linspace(0, len(curve) - 1, count).round().astype(int))]
        solved = self.solve(picks)
        chosen = self.best_of_each(solved)
        for _ in range(PASSES - 1):
            missed = np.flatnonzero(~self.hold(solved.at(chosen)))
            again = self.modelled(_corrected(model, solved)) if missed.size else curve[:0]
            if len(again) < 3:
                break
            # At the same values along the curve, where the correction is known.
            gaps = np.abs(again[:, along][None] - picks[missed][:, along][:, None])
            first, more = len(solved.unit), self.solve(again[gaps.argmin(axis=1)])
            solved = solved.and_more(more)
            fresh = self.best_of_each(more) + first
            merit = self.runner.problem.criteria.assess(solved.features).merit
            chosen[missed] = np.where(merit[fresh] < merit[chosen[missed]], fresh, chosen[missed])
        return solved, chosen

    def solve(self, unit: np.ndarray) -> _Solved:
        """Solve points and those on their trajectories."""
        space = self.runner.problem.space
        groups = along_trajectory(space, space.values(unit))
        values = groups.reshape(-1, space.size)
        evaluation = self.runner.evaluate_in("equivalents", self.runner.problem.reference, values)
        self.runner.counts["verified"] += evaluation.computed
        return _Solved(space.unit(values), evaluation.features, len(groups))

    def best_of_each(self, solved: _Solved) -> np.ndarray:
        """Row of the best point of each trajectory."""
        merit = self.runner.problem.criteria.assess(solved.features).merit.reshape(solved.trajectories, -1)
        best = np.where(np.isfinite(merit), merit, np.inf).argmin(axis=1)
        return np.arange(solved.trajectories) * merit.shape[1] + best

    def parameters(self, unit: np.ndarray) -> list[dict[str, Any]]:
        space = self.runner.problem.space
        return [{"parameters": space.as_dict(row)} for row in space.values(unit)]

    def described(self, unit: np.ndarray, features: list[np.ndarray]) -> dict[str, Any]:
        """A solved point for the file."""
        criteria = self.runner.problem.criteria
        return {
            **self.parameters(unit[None])[0],
            "qois": dict(zip(criteria.labels, criteria.summaries(features)[0].tolist(), strict=True)),
            "objectives": criteria.assess(features).losses[0].tolist(),
            "verified": True,
            "met": bool(self.hold(features)[0]),
        }

    def statement(self) -> dict[str, Any]:
        """What is known about the curve, and the variable that it runs along."""
        space = self.runner.problem.space
        point = space.as_dict(space.values(self.best[None])[0])
        scale, statement, product = space.time_scale, "", None
        if TIME in space.names:
            product = point.get(str(scale), space.scale) * point[TIME]
            statement = EXACT.format(scale=scale, product=product)
        elif scale in space.names:
            statement = FIXED_TIME.format(scale=scale, others=" and ".join(n for n in space.names if n != scale))
        return {"statement": statement, "mobility_x_time": product, "along": space.names[self.along]}


def _corrected(model: FeatureModel, solved: _Solved) -> FeatureModel:
    """The model plus what the solver found to differ from it."""
    known = np.isfinite(model.transform.flatten(solved.features)).all(axis=1)
    off = model.transform.flatten(solved.at(known)) - model.fit(solved.unit[known])
    return replace(model, correction=fit(solved.unit[known], off, corrections=True))


def sentence(found: dict[str, Any] | None) -> str:
    """The curve in one sentence; empty for none."""
    if not found:
        return ""
    first, last = (found["curve"][i]["parameters"] for i in (0, -1))
    ranges = "; ".join(f"{n} {first[n]:.3g} to {last[n]:.3g}" for n in first)
    met = sum(p["met"] for p in found["verified"])
    return (
        f"equivalent optima along {ranges} ({met} of {len(found['verified'])} solved points meet the targets): {FILE}"
    )
