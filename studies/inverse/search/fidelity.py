"""Fidelity levels: the engine that explores, an optional engine that confirms, and the reference solver.

Every trial has features from the exploring engine, some also from a higher level. The difference, as a smooth function
of the variables, corrects all other trials (the solver corrects what the confirming engine has corrected), so that the
bias of a model does not bias the optimum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from studies.inverse.objectives.criteria import Assessment, Criteria
from studies.inverse.search.evaluation import Evaluation
from studies.inverse.search.kriging import FeatureTransform, KrigingFit, fit
from studies.inverse.search.trials import TrialHistory, best_and_latest
from studies.inverse.space import SearchSpace

#: Trials under consideration: the best and the latest of those before.
BEST, LATEST = 256, 256
#: Trials that a model is fitted to, best and latest of those.
FITTED = (96, 96)


@dataclass
class FidelityLevel:
    """Trials that were evaluated at a higher fidelity."""

    name: str  #: for messages and folders
    trials: list[int] = field(default_factory=list)  #: positions in the history, each once
    features: list[np.ndarray] = field(default_factory=list)  #: for each criterion (trial, realization, number)
    store_rows: list[tuple[str, int]] = field(default_factory=list)  #: (store, row of its table) of each
    roles: list[tuple[int, str]] = field(default_factory=list)  #: of each, (round, why it was chosen)
    failed: set[int] = field(default_factory=set)  #: trials without a result

    def add(self, trials: Sequence[int], evaluation: Evaluation, roles: Sequence[tuple[int, str]]) -> None:
        """Add results of trials, in the order of the store's table."""
        fresh = [i for i, t in enumerate(trials) if evaluation.usable[i] and t not in self.trials]
        self.failed |= {t for i, t in enumerate(trials) if not evaluation.usable[i]}
        rows = [values[fresh] for values in evaluation.features]
        self.features = [np.concatenate(p) for p in zip(self.features, rows, strict=True)] if self.trials else rows
        self.trials += [trials[i] for i in fresh]
        self.store_rows += [(evaluation.url, i) for i in fresh]
        self.roles += [roles[i] for i in fresh]

    def knows(self, trial: int) -> bool:
        return trial in self.failed or trial in self.trials


@dataclass(frozen=True)
class SearchState:
    """The trials under consideration, corrected by results of higher fidelity."""

    trials: np.ndarray  #: (n,) positions in the history, increasing
    unit: np.ndarray  #: (n, variable) in the unit cube
    #: for each criterion (n, realization, number), corrected; of a verified trial the solver's own
    features: list[np.ndarray]
    assessment: Assessment  #: of those features
    verified: np.ndarray  #: bool (n,)
    trusted: np.ndarray  #: bool (n,): usable, and inside the domain of the engine or verified
    exploring: list[np.ndarray]  #: for each criterion the features of the exploring engine

    def ranked(self, rows: np.ndarray) -> np.ndarray:
        """Rows in the order of their merit, best first."""
        return rows[np.argsort(self.assessment.merit[rows], kind="stable")]

    def candidates(self) -> np.ndarray:
        """Rows that may be verified, best first: trusted, predicted to be feasible, and not verified."""
        return self.ranked(np.flatnonzero(self.trusted & ~self.verified & self.assessment.feasible))

    def verified_optima(self) -> np.ndarray:
        """Rows that are verified and feasible, best first."""
        return self.ranked(np.flatnonzero(self.verified & self.assessment.feasible))

    def best_verified(self) -> int | None:
        """Row of the best verified, feasible trial."""
        rows = self.verified_optima()
        return int(rows[0]) if rows.size else None


@dataclass(frozen=True)
class FeatureModel:
    """Features as a function on the unit cube."""

    criteria: Criteria
    fit: KrigingFit
    transform: FeatureTransform
    shapes: list[tuple[int, int]]  #: (realization, number) of each criterion's features
    sites: np.ndarray  #: (site, variable) that it was fitted to
    correction: KrigingFit | None = None  #: added to the fit

    def features(self, unit: np.ndarray) -> list[np.ndarray]:
        """For each criterion (point, realization, number)."""
        flat = self.fit(unit) if self.correction is None else self.fit(unit) + self.correction(unit)
        return self.transform.unflatten(flat, self.shapes)

    def assess(self, unit: np.ndarray) -> Assessment:
        return self.criteria.assess(self.features(unit))


class FidelityLevels:
    """The fidelity levels of a study, above the ``history`` of trials on the exploring engine.

    With ``confirms`` there is one between that engine and the solver.
    """

    def __init__(self, space: SearchSpace, criteria: Criteria, history: TrialHistory, confirms: bool) -> None:
        self.space, self.criteria, self.history = space, criteria, history
        self.confirmed = FidelityLevel("confirmed") if confirms else None
        self.verified = FidelityLevel("verified")
        self._considered = np.empty(0, dtype=np.int64)
        self._seen = 0

    @property
    def higher(self) -> list[FidelityLevel]:
        """Levels above the exploring engine, lowest first."""
        return [self.verified] if self.confirmed is None else [self.confirmed, self.verified]

    def state(self) -> SearchState:
        """The state of the search now; the number of trials under consideration is bounded."""
        fresh = np.arange(self._seen, len(self.history))
        known = np.array([t for level in self.higher for t in level.trials], dtype=np.int64)
        index = np.unique(np.concatenate([self._considered, fresh[self.history.usable[fresh]], known]))
        self._seen = len(self.history)
        state = self._state_of(index)
        merit = np.where(state.trusted, state.assessment.merit, np.inf)
        self._considered = index[best_and_latest(merit, BEST, LATEST)]
        return state

    def _state_of(self, index: np.ndarray) -> SearchState:
        unit = self.space.unit(self.history.points[index])
        exploring = [values[index] for values in self.history.features]
        features = self._corrected(index, unit, exploring) if len(index) else exploring
        verified = np.isin(index, self.verified.trials)
        trusted = (self.history.inside[index] | verified) & ~np.isin(index, list(self.verified.failed))
        return SearchState(index, unit, features, self.criteria.assess(features), verified, trusted, exploring)

    def _corrected(self, index: np.ndarray, unit: np.ndarray, exploring: Sequence[np.ndarray]) -> list[np.ndarray]:
        levels = [level for level in self.higher if level.trials]
        known = [np.concatenate([v, *(level.features[i] for level in levels)]) for i, v in enumerate(exploring)]
        transform = FeatureTransform.of(known)
        flat = transform.flatten(exploring)
        for level in levels:
            here = np.searchsorted(index, level.trials)
            results = transform.flatten(level.features)
            flat = flat + fit(unit[here], results - flat[here], corrections=True)(unit)
            flat[here] = results
        return transform.unflatten(flat, self.history.shapes)

    def model(self, state: SearchState, around: int | None = None) -> FeatureModel | None:
        """A smooth model of the corrected features, of all or around a row; None with too few trials."""
        index = np.flatnonzero(state.trusted)
        # Points that coincide add nothing to the fit.
        _, first = np.unique(state.unit[index].round(9), axis=0, return_index=True)
        index = index[np.sort(first)]
        need = 2 * self.space.size + 2
        if len(index) < need:
            return None
        if around is None:
            kept = index[best_and_latest(state.assessment.merit[index], *FITTED)]
        else:
            distance = np.linalg.norm(state.unit[index] - state.unit[around], axis=1)
            kept = index[np.argsort(distance, kind="stable")[: need + 2]]
        features, sites = [values[kept] for values in state.features], state.unit[kept]
        transform = FeatureTransform.of(features)
        fitted = fit(sites, transform.flatten(features))
        return FeatureModel(self.criteria, fitted, transform, list(self.history.shapes), sites)
