"""What the rungs say, and what they teach about each other.

Every trial has features from the rung that explores. Some trials also have them from a higher rung: the confirming
engine, the reference solver. The difference, a smooth function of the variables, corrects all other trials (nested:
the solver corrects what the confirmation has corrected), so that a bias of a model moves the search instead of its
result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from studies.inverse.objectives.merit import Judge, Judgement
from studies.inverse.search.kriging import Fit, Scale, fit
from studies.inverse.search.space import Space
from studies.inverse.search.trials import History, window

#: Trials that are looked at: the best and the latest of those looked at before.
BEST, LATEST = 256, 256
#: Trials that a model is fitted to, best and latest of those.
FITTED = (96, 96)


@dataclass
class Rung:
    """Trials that a higher rung has evaluated.

    Attributes:
        name: for messages.
        trials: positions in the history, each once.
        features: for each term (trial, realization, number).
        places: (store, row of its table) of each.
        roles: of each, (round, why it was chosen).
        failed: trials without a result.
    """

    name: str
    trials: list[int] = field(default_factory=list)
    features: list[np.ndarray] = field(default_factory=list)
    places: list[tuple[str, int]] = field(default_factory=list)
    roles: list[tuple[int, str]] = field(default_factory=list)
    failed: set[int] = field(default_factory=set)

    def add(
        self,
        trials: Sequence[int],
        features: Sequence[np.ndarray],
        usable: np.ndarray,
        url: str,
        roles: Sequence[tuple[int, str]],
    ) -> None:
        """Take in what a store says of trials, in the order of its table; what failed is remembered as such."""
        fresh = [i for i, t in enumerate(trials) if usable[i] and t not in self.trials]
        self.failed |= {t for i, t in enumerate(trials) if not usable[i]}
        rows = [values[fresh] for values in features]
        self.features = (
            [np.concatenate(pair) for pair in zip(self.features, rows, strict=True)] if self.trials else rows
        )
        self.trials += [trials[i] for i in fresh]
        self.places += [(url, i) for i in fresh]
        self.roles += [roles[i] for i in fresh]

    def knows(self, trial: int) -> bool:
        """Whether a trial was tried on this rung."""
        return trial in self.failed or trial in self.trials


@dataclass(frozen=True)
class Standing:
    """The trials that are looked at, corrected by what higher rungs said.

    Attributes:
        trials: (n,) positions in the history, increasing.
        unit: (n, variable) in the unit cube.
        features: for each term (n, realization, number), corrected; of a verified trial the solver's own.
        judged: of those features.
        verified: bool (n,).
        believed: bool (n,): usable, and inside the domain of the engine or verified.
        exploring: for each term, as the exploring rung said it.
    """

    trials: np.ndarray
    unit: np.ndarray
    features: list[np.ndarray]
    judged: Judgement
    verified: np.ndarray
    believed: np.ndarray
    exploring: list[np.ndarray]


@dataclass(frozen=True)
class Model:
    """Features as a function of the unit cube, and what the judge says of them.

    Attributes:
        sites: (site, variable) that it was fitted to.
        more: a correction on top.
    """

    judge: Judge
    fit: Fit
    scale: Scale
    shapes: list[tuple[int, int]]
    sites: np.ndarray
    more: Fit | None = None

    def features(self, unit: np.ndarray) -> list[np.ndarray]:
        """For each term (point, realization, number)."""
        return self.scale.split(self.flat(unit), self.shapes)

    def flat(self, unit: np.ndarray) -> np.ndarray:
        """(point, number) of all terms, on the scale of the model."""
        return self.fit(unit) if self.more is None else self.fit(unit) + self.more(unit)

    def judged(self, unit: np.ndarray) -> Judgement:
        """The judgement of points (point, variable)."""
        return self.judge(self.features(unit))


class Ladder:
    """Keeps the rungs of a study.

    Args:
        space: of the variables.
        judge: of features.
        history: trials on the exploring rung.
        confirms: whether there is a rung between exploring and the solver.
    """

    def __init__(self, space: Space, judge: Judge, history: History, confirms: bool) -> None:
        self.space, self.judge, self.history = space, judge, history
        self.confirmed = Rung("confirmed") if confirms else None
        self.verified = Rung("verified")
        self._alive = np.empty(0, dtype=np.int64)
        self._seen = 0
        self.corrections: list[Fit] = []

    @property
    def rungs(self) -> list[Rung]:
        """Above the exploring one, lowest first."""
        return [self.verified] if self.confirmed is None else [self.confirmed, self.verified]

    def standing(self) -> Standing:
        """How trials stand now; the number looked at is bounded."""
        fresh = np.arange(self._seen, len(self.history))
        known = [t for rung in self.rungs for t in rung.trials]
        index = np.unique(
            np.concatenate([self._alive, fresh[self.history.usable[fresh]], np.array(known, dtype=np.int64)])
        )
        self._seen = len(self.history)
        standing = self._judged(index)
        merit = np.where(standing.believed, standing.judged.merit, np.inf)
        kept = window(merit, BEST, LATEST)
        self._alive = index[kept]
        return standing

    def _judged(self, index: np.ndarray) -> Standing:
        unit = self.space.unit(self.history.points[index])
        exploring = [values[index] for values in self.history.features]
        features = self._corrected(index, unit, exploring) if len(index) else exploring
        verified = np.isin(index, self.verified.trials)
        believed = (self.history.inside[index] | verified) & ~np.isin(index, list(self.verified.failed))
        return Standing(index, unit, features, self.judge(features), verified, believed, exploring)

    def _corrected(self, index: np.ndarray, unit: np.ndarray, exploring: Sequence[np.ndarray]) -> list[np.ndarray]:
        known = [rung for rung in self.rungs if rung.trials]
        scale = Scale.of([np.concatenate([v, *(r.features[i] for r in known)]) for i, v in enumerate(exploring)])
        flat = scale.flat(exploring)
        self.corrections = []
        for rung in known:
            here = np.searchsorted(index, rung.trials)
            said = scale.flat(rung.features)
            correction = fit(unit[here], said - flat[here], corrections=True)
            flat = flat + correction(unit)
            flat[here] = said
            self.corrections.append(correction)
        return scale.split(flat, [v.shape[1:] for v in exploring])

    def model(self, standing: Standing, around: int | None = None) -> Model | None:
        """A smooth model of the corrected features; None with too few trials.

        Args:
            standing: of the trials.
            around: a row near which alone the model is to hold.
        """
        index = np.flatnonzero(standing.believed)
        # Points that coincide in the variables say nothing twice.
        _, first = np.unique(standing.unit[index].round(9), axis=0, return_index=True)
        index = index[np.sort(first)]
        need = 2 * self.space.size + 2
        if len(index) < need:
            return None
        if around is None:
            kept = index[window(standing.judged.merit[index], *FITTED)]
        else:
            distance = np.linalg.norm(standing.unit[index] - standing.unit[around], axis=1)
            kept = index[np.argsort(distance, kind="stable")[: need + 2]]
        features = [values[kept] for values in standing.features]
        scale = Scale.of(features)
        shapes = [(int(v.shape[1]), int(v.shape[2])) for v in features]
        return Model(self.judge, fit(standing.unit[kept], scale.flat(features)), scale, shapes, standing.unit[kept])

    def candidates(self, standing: Standing) -> np.ndarray:
        """Rows of the standing that may be verified, best first: believed, feasible as far as is known, not
        verified.
        """
        rows = np.flatnonzero(standing.believed & ~standing.verified & standing.judged.feasible)
        return rows[np.argsort(standing.judged.merit[rows], kind="stable")]

    def best_verified(self, standing: Standing) -> int | None:
        """Row of the best verified, feasible trial."""
        rows = np.flatnonzero(standing.verified & standing.judged.feasible)
        return int(rows[np.argmin(standing.judged.merit[rows])]) if rows.size else None
