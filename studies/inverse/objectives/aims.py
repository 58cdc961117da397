"""What is wanted of features: a loss, smaller is better, and how far from perfect still counts as met."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


class Aim(Protocol):
    """Judges features (point, realization, number)."""

    @property
    def is_target(self) -> bool:
        """Whether 0 is the best possible loss."""
        ...

    def loss(self, features: np.ndarray) -> np.ndarray:
        """float64 (point,), in the quantity's units."""
        ...

    def summary(self, features: np.ndarray) -> np.ndarray:
        """float64 (point,): the quantity as reported."""
        ...

    def allowed(self, loss: float) -> float:
        """How much the loss may be off, at that loss."""
        ...


def over_starts(values: np.ndarray, robust: Any) -> np.ndarray:
    """(point, realization) losses to (point,): their mean, the worst, or what holds for a share of the starts."""
    if robust == "mean":
        return values.mean(axis=1)
    if robust == "worst":
        return values.max(axis=1)
    return np.quantile(values, robust.quantile, axis=1)


@dataclass(frozen=True)
class TargetAim:
    """|q - target|: of the mean over starts, of the worst start, or for a share of them."""

    target: float
    tolerance: float
    robust: Any = "mean"
    is_target: bool = True

    def loss(self, features: np.ndarray) -> np.ndarray:
        """See :class:`Aim`."""
        values = features[:, :, 0]
        if self.robust == "mean":
            return np.abs(values.mean(axis=1) - self.target)
        return over_starts(np.abs(values - self.target), self.robust)

    def summary(self, features: np.ndarray) -> np.ndarray:
        """The mean over starts."""
        return features[:, :, 0].mean(axis=1)

    def allowed(self, loss: float) -> float:  # noqa: ARG002
        """See :class:`Aim`."""
        return self.tolerance * (abs(self.target) or 1.0)


@dataclass(frozen=True)
class DirectionAim:
    """The quantity itself to minimize, its negative to maximize."""

    sign: float
    tolerance: float
    robust: Any = "mean"
    is_target: bool = False

    def loss(self, features: np.ndarray) -> np.ndarray:
        """See :class:`Aim`."""
        return over_starts(self.sign * features[:, :, 0], self.robust)

    def summary(self, features: np.ndarray) -> np.ndarray:
        """As judged: with `worst` the worst start's."""
        return self.sign * self.loss(features)

    def allowed(self, loss: float) -> float:
        """See :class:`Aim`."""
        return self.tolerance * abs(loss)


@dataclass(frozen=True)
class CurveAim:
    """Relative L2 distance to a curve (number,), or to several statistics by the root mean square of theirs.

    Attributes:
        target: (number,).
        weights: (number,) of the squares.
        parts: [start, stop) of each statistic.
    """

    target: np.ndarray
    weights: np.ndarray
    parts: tuple[tuple[int, int], ...]
    tolerance: float
    robust: Any = "mean"
    is_target: bool = True

    def _distance(self, features: np.ndarray) -> np.ndarray:
        total = np.zeros(features.shape[:-1])
        for start, stop in self.parts:
            weight, wanted = self.weights[start:stop], self.target[start:stop]
            off = (weight * (features[..., start:stop] - wanted) ** 2).sum(-1)
            total += off / (weight * wanted**2).sum()
        return np.sqrt(total / len(self.parts))

    def loss(self, features: np.ndarray) -> np.ndarray:
        """Of the curve averaged over starts, or over starts of each one's distance."""
        if self.robust == "mean":
            return self._distance(features.mean(axis=1))
        return over_starts(self._distance(features), self.robust)

    def summary(self, features: np.ndarray) -> np.ndarray:
        """The distance."""
        return self.loss(features)

    def allowed(self, loss: float) -> float:  # noqa: ARG002
        """See :class:`Aim`."""
        return self.tolerance


@dataclass(frozen=True)
class LimitAim:
    """A constraint: how far outside its limits, relative to them; 0 or less is inside."""

    low: float | None
    high: float | None
    robust: Any = "mean"
    is_target: bool = False

    def loss(self, features: np.ndarray) -> np.ndarray:
        """See :class:`Aim`."""
        values = features[:, :, 0]
        size = max(abs(v) for v in (self.low, self.high) if v is not None) or 1.0
        if self.robust == "mean":
            values = values.mean(axis=1, keepdims=True)
        over = np.maximum(
            -np.inf if self.high is None else values - self.high, -np.inf if self.low is None else self.low - values
        )
        return over_starts(over / size, "mean" if self.robust == "mean" else self.robust)

    def summary(self, features: np.ndarray) -> np.ndarray:
        """The mean over starts."""
        return features[:, :, 0].mean(axis=1)

    def allowed(self, loss: float) -> float:  # noqa: ARG002
        """See :class:`Aim`."""
        return 0.0


@dataclass(frozen=True)
class Term:
    """An objective or a constraint: what is read, and what is wanted of it."""

    label: str
    key: str
    feature: Any
    aim: Any
    units: str = "1"
    long_name: str = ""
