"""The trials of a study in memory: arrays that grow, a few hundred bytes a trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from studies.inverse.search.evaluation import Evaluation

GROWTH = 1.5


class _GrowingArray:
    """An array to append to."""

    def __init__(self, shape: tuple[int, ...], dtype: type) -> None:
        self._values: np.ndarray = np.empty((64, *shape), dtype=dtype)
        self.count = 0

    def add(self, rows: np.ndarray) -> None:
        need = self.count + len(rows)
        if need > len(self._values):
            size = max(need, int(GROWTH * len(self._values)))
            grown = np.empty((size, *self._values.shape[1:]), dtype=self._values.dtype)
            grown[: self.count] = self._values[: self.count]
            self._values = grown
        self._values[self.count : need] = rows
        self.count = need

    @property
    def values(self) -> np.ndarray:
        return self._values[: self.count]


@dataclass
class TrialHistory:
    """Trials in the order in which they ended, with the results of the exploring engine.

    Args:
        variables: how many.
        shapes: of each criterion's features, (realization, number).
    """

    variables: int
    shapes: Sequence[tuple[int, int]]
    attributes: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    sources: list[str] = field(default_factory=list)
    batch_rows: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._points = _GrowingArray((self.variables,), float)
        self._features = [_GrowingArray(shape, float) for shape in self.shapes]
        self._usable, self._inside = _GrowingArray((), bool), _GrowingArray((), bool)
        self._urls: list[str] = []
        self._url = _GrowingArray((), np.int32)

    def __len__(self) -> int:
        return self._points.count

    def add(
        self,
        points: np.ndarray,
        evaluation: Evaluation,
        batch_rows: Sequence[tuple[int, int]],
        source: str,
        attributes: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Append trials.

        Args:
            points: (trial, variable).
            evaluation: on the exploring engine.
            batch_rows: (batch, row) of each.
            source: what proposed them.
            attributes: for each what the sampler stored; empty for nothing.
        """
        first = len(self)
        self.attributes |= {first + i: own for i, own in enumerate(attributes) if own}
        self._points.add(points)
        for rows, values in zip(self._features, evaluation.features, strict=True):
            rows.add(values)
        self._usable.add(evaluation.usable)
        self._inside.add(evaluation.trusted)
        self._urls.append(evaluation.url)
        self._url.add(np.full(len(points), len(self._urls) - 1))
        self.batch_rows += batch_rows
        self.sources += [source] * len(points)

    @property
    def points(self) -> np.ndarray:
        """(trial, variable)."""
        return self._points.values

    @property
    def features(self) -> list[np.ndarray]:
        """For each criterion (trial, realization, number); anything where not usable."""
        return [rows.values for rows in self._features]

    @property
    def usable(self) -> np.ndarray:
        """bool (trial,): has features."""
        return self._usable.values

    @property
    def inside(self) -> np.ndarray:
        """bool (trial,): inside the engine's domain."""
        return self._inside.values

    @property
    def warm(self) -> np.ndarray:
        """bool (trial,): from ``warm_start``."""
        return np.array([batch < 0 for batch, _ in self.batch_rows], dtype=bool)

    def url(self, trial: int) -> str:
        """The store of a trial."""
        return self._urls[int(self._url.values[trial])]


def best_and_latest(merit: np.ndarray, best: int, latest: int) -> np.ndarray:
    """Positions of the best and of the latest trials, increasing; all of them where they are few."""
    count = len(merit)
    if count <= best + latest:
        return np.arange(count)
    ranked = np.argsort(merit[: count - latest], kind="stable")[:best]
    return np.concatenate([np.sort(ranked), np.arange(count - latest, count)])
