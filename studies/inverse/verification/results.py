"""The results of a study: ``best.json``, which holds verified points only, and ``verified.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from solvers.errors import InputError
from studies.inverse.search.acquisition import known_front
from studies.inverse.search.evaluation import INSIDE, read_points
from studies.inverse.search.fidelity import SearchState
from studies.inverse.search.runner import StudyRunner
from studies.inverse.search.shared_trajectories import on_trajectory
from sweeps.files import write_json

BEST, VERIFIED = "best.json", "verified.json"


def check_feasible(runner: StudyRunner, state: SearchState) -> None:
    """Raise InputError where no trial meets the constraints, or none is inside the engine's domain."""
    trusted, count = state.trusted, len(runner.history)
    if not count or not trusted.any():
        raise InputError(
            f"variables: found no trial of {count} that the engine can be trusted with, allowed a box inside "
            "its domain, or `outside: solver`"
        )
    violations = state.assessment.violations[trusted]
    if (violations <= 0).all(axis=1).any():
        return
    nearest = int(np.argmin(np.maximum(violations, 0.0).sum(axis=1)))
    worst = int(np.argmax(violations[nearest]))
    criteria = runner.problem.criteria
    criterion = criteria.constraints[worst]
    features = state.features[len(criteria.objectives) + worst]
    value = float(criterion.loss.summary(features[trusted])[nearest])
    constraint = runner.problem.study.constraints[worst]
    limits = [f"{n} {v:g}" for n, v in (("min", constraint.min), ("max", constraint.max)) if v is not None]
    raise InputError(
        f"{criterion.key}: found no trial of {count} that meets it (nearest: {criterion.label} = {value:.4g}), "
        f"allowed {' and '.join(limits)}; widen the variables or the limit"
    )


class ResultWriter:
    """Describes points that the solver has solved, and writes them, for a runner that has ended and its final state."""

    def __init__(self, runner: StudyRunner, state: SearchState) -> None:
        self._runner, self._state = runner, state
        #: (batch, row) -> Optuna's number
        self._numbers = {(t.batch, t.row): t.number for t in runner.journal.finished()}

    def write(self) -> list[dict[str, Any]]:
        """Write both files; returns the content of ``best.json``."""
        best = [self._point(row) for row in self._best_rows()]
        write_json(self._runner.folder / BEST, best)
        verified = self._runner.levels.verified
        rows = np.searchsorted(self._state.trials, verified.trials)
        points = [
            {"round": number, "role": role, **self._point(int(row))}
            for row, (number, role) in zip(rows, verified.roles, strict=True)
        ]
        write_json(self._runner.folder / VERIFIED, points)
        return best

    def _best_rows(self) -> list[int]:
        """Verified, feasible points: the best few, each of another trajectory, or the front."""
        problem, state = self._runner.problem, self._state
        if problem.criteria.is_pareto:
            return known_front(state, only_verified=True).tolist()
        left = state.verified_optima()
        kept: list[int] = []
        while len(left) and len(kept) < problem.study.verify.top:
            points = self._runner.history.points[state.trials[left]]
            kept.append(int(left[0]))
            left = left[~on_trajectory(problem.space, points, points[0])]
        return kept

    def _point(self, row: int) -> dict[str, Any]:
        """A verified point: the solver's results beside the predictions of the exploring engine."""
        runner, state = self._runner, self._state
        problem, criteria = runner.problem, runner.problem.criteria
        trial, losses = int(state.trials[row]), state.assessment.losses[row]
        url, store_row = runner.levels.verified.store_rows[runner.levels.verified.trials.index(trial)]
        predicted, found = (
            criteria.summaries([v[[row]] for v in values])[0].tolist() for values in (state.exploring, state.features)
        )
        return {
            "parameters": problem.space.as_dict(runner.history.points[trial]),
            "qois": dict(zip(criteria.labels, found, strict=True)),
            "objectives": (criteria.signs * losses).tolist(),
            "verified": True,
            "within_band": self._inside_bands(row),
            "predicted": dict(zip(criteria.labels, predicted, strict=True)),
            "met": bool(criteria.met(losses[None])[0]),
            "trial": self._numbers.get(runner.history.batch_rows[trial]),
            "store": str(Path(url)),
            "row": store_row,
            "feasible": bool(state.assessment.feasible[row]),
        }

    def _inside_bands(self, row: int) -> bool:
        """Whether the solver's values lie inside the bands of the exploring engine, or within the tolerance of one
        without bands: for every criterion, for at least the share INSIDE of the starts.
        """
        runner, trial = self._runner, int(self._state.trials[row])
        own_row = np.array([runner.history.batch_rows[trial][1]])
        own = read_points(runner.history.urls[trial], runner.problem.criteria, rows=own_row)
        tolerance = getattr(runner.problem.exploring.engine, "tolerance", None) or 0.0
        good = True
        for i, values in enumerate(self._state.features):
            solved = values[[row]]
            if own.low is not None and own.high is not None:
                inside = (own.low[i] <= solved) & (solved <= own.high[i])
            else:
                inside = np.abs(own.features[i] - solved) <= tolerance * np.abs(solved)
            good &= bool(inside.mean() >= INSIDE)
        return good
