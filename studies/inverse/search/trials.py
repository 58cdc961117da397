"""The trials of a study in memory, a few hundred bytes each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from studies.inverse.search.evaluation import Evaluation


@dataclass
class TrialHistory:
    """Trials in the order in which they ended, with the results of the exploring engine."""

    points: np.ndarray  #: (trial, variable)
    features: list[np.ndarray]  #: for each criterion (trial, realization, number); anything where not usable
    usable: np.ndarray  #: bool (trial,), has features
    inside: np.ndarray  #: bool (trial,), inside the engine's domain
    urls: list[str] = field(default_factory=list)  #: the store of each
    sources: list[str] = field(default_factory=list)  #: what proposed each
    batch_rows: list[tuple[int, int]] = field(default_factory=list)  #: (batch, row) of each
    #: trial -> what the sampler stored with it, where it did
    attributes: dict[int, Mapping[str, object]] = field(default_factory=dict)

    @classmethod
    def empty(cls, variables: int, shapes: Sequence[tuple[int, int]]) -> TrialHistory:
        """No trials; ``shapes`` are (realization, number) of each criterion's features."""
        none = np.empty(0, dtype=bool)
        return cls(np.empty((0, variables)), [np.empty((0, *shape)) for shape in shapes], none, none)

    def __len__(self) -> int:
        return len(self.points)

    def add(
        self,
        points: np.ndarray,
        evaluation: Evaluation,
        batch_rows: Sequence[tuple[int, int]],
        source: str,
        attributes: Sequence[Mapping[str, object]] = (),
    ) -> None:
        """Append trials; arguments as the attributes of the same name."""
        first = len(self)
        self.attributes |= {first + i: own for i, own in enumerate(attributes) if own}
        self.points = np.concatenate([self.points, points])
        self.features = [np.concatenate(pair) for pair in zip(self.features, evaluation.features, strict=True)]
        self.usable = np.concatenate([self.usable, evaluation.usable])
        self.inside = np.concatenate([self.inside, evaluation.trusted])
        self.urls += [evaluation.url] * len(points)
        self.sources += [source] * len(points)
        self.batch_rows += batch_rows

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(realization, number) of each criterion's features."""
        return [(values.shape[1], values.shape[2]) for values in self.features]

    @property
    def warm(self) -> np.ndarray:
        """bool (trial,): from ``warm_start``."""
        return np.array([batch < 0 for batch, _ in self.batch_rows], dtype=bool)


def best_and_latest(merit: np.ndarray, best: int, latest: int) -> np.ndarray:
    """Positions of the best and of the latest trials, increasing; all of them where they are few."""
    count = len(merit)
    if count <= best + latest:
        return np.arange(count)
    ranked = np.argsort(merit[: count - latest], kind="stable")[:best]
    return np.concatenate([np.sort(ranked), np.arange(count - latest, count)])
