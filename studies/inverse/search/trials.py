"""The trials of a study in the driver: arrays that grow, a few hundred bytes a trial, and a window for the samplers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

GROWTH = 1.5


class _Rows:
    """An array to append to."""

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self._values = np.empty((64, *shape), dtype=dtype)
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
class History:
    """Trials in the order in which they were told.

    Args:
        variables: how many.
        terms: numbers of each term's features, (realization, number).
    """

    variables: int
    terms: Sequence[tuple[int, int]]
    attributes: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    sources: list[str] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._points = _Rows((self.variables,), np.float64)
        self._features = [_Rows(shape, np.float64) for shape in self.terms]
        self._flags = {name: _Rows((), bool) for name in ("usable", "inside")}
        self._url = _Rows((), np.int32)

    def __len__(self) -> int:
        return self._points.count

    def add(
        self,
        points: np.ndarray,
        features: Sequence[np.ndarray],
        usable: np.ndarray,
        inside: np.ndarray,
        places: Sequence[tuple[int, int]],
        sources: Sequence[str],
        attributes: Sequence[Mapping[str, Any]],
        url: str,
    ) -> None:
        """Append trials.

        Args:
            points: (trial, variable).
            features: for each term (trial, realization, number); anything where not usable.
            usable: bool (trial,), has features.
            inside: bool (trial,), to be believed: inside the engine's domain.
            places: (batch, row) of each.
            sources: who proposed each.
            attributes: what the sampler left.
            url: the store that holds them.
        """
        first = len(self)
        for i, own in enumerate(attributes):
            if own:
                self.attributes[first + i] = own
        self._points.add(points)
        for rows, values in zip(self._features, features, strict=True):
            rows.add(values)
        self._flags["usable"].add(usable)
        self._flags["inside"].add(inside)
        self.urls.append(url)
        self._url.add(np.full(len(points), len(self.urls) - 1))
        self.places += places
        self.sources += sources

    @property
    def points(self) -> np.ndarray:
        """(trial, variable)."""
        return self._points.values

    @property
    def features(self) -> list[np.ndarray]:
        """For each term (trial, realization, number)."""
        return [rows.values for rows in self._features]

    @property
    def usable(self) -> np.ndarray:
        """bool (trial,)."""
        return self._flags["usable"].values

    @property
    def inside(self) -> np.ndarray:
        """bool (trial,)."""
        return self._flags["inside"].values

    @property
    def warm(self) -> np.ndarray:
        """bool (trial,): from ``warm_start``."""
        return np.array([batch < 0 for batch, _ in self.places], dtype=bool)

    def url(self, trial: int) -> str:
        """The store of a trial."""
        return self.urls[int(self._url.values[trial])]


def window(merit: np.ndarray, best: int, latest: int) -> np.ndarray:
    """Positions of the best and of the latest trials, increasing: what a sampler gets to see.

    Samplers take longer the more they see; with a window the time for a trial does not grow with their number.
    """
    count = len(merit)
    if count <= best + latest:
        return np.arange(count)
    recent = np.arange(count - latest, count)
    ranked = np.argsort(merit[: count - latest], kind="stable")[:best]
    return np.concatenate([np.sort(ranked), recent])
