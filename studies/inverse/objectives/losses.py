"""Losses of features, smaller is better: distance to a target or a curve, a direction, violation of a limit.

Features are (point, realization, number); realizations are random starts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from studies.inverse.config import Robust


class Loss(ABC):
    """A loss of features."""

    is_target: ClassVar[bool] = False  #: whether 0 is the best possible loss
    sign: float = 1.0  #: -1 where the quantity is to be large, so that the loss is its negative

    @abstractmethod
    def __call__(self, features: np.ndarray) -> np.ndarray:
        """float64 (point,)."""

    def summary(self, features: np.ndarray) -> np.ndarray:
        """float64 (point,): the quantity as reported, here its mean over realizations."""
        return np.asarray(features[:, :, 0].mean(axis=1))

    def allowed(self, loss: float) -> float:  # noqa: ARG002
        """Difference from ``loss`` within which another loss counts as the same."""
        return 0.0


def over_realizations(values: np.ndarray, robust: Robust) -> np.ndarray:
    """(point, realization) losses to (point,): their mean, the worst, or a quantile."""
    if robust == "mean":
        return values.mean(axis=1)
    if robust == "worst":
        return values.max(axis=1)
    return np.quantile(values, robust.quantile, axis=1)


@dataclass(frozen=True)
class TargetLoss(Loss):
    """|q - target| in units of the quantity: of the mean over realizations, of the worst one, or a quantile of them."""

    target: float
    tolerance: float
    robust: Robust = "mean"
    is_target: ClassVar[bool] = True

    def __call__(self, features: np.ndarray) -> np.ndarray:
        values = features[:, :, 0]
        if self.robust == "mean":
            return np.abs(values.mean(axis=1) - self.target)
        return over_realizations(np.abs(values - self.target), self.robust)

    def allowed(self, loss: float) -> float:  # noqa: ARG002
        return self.tolerance * (abs(self.target) or 1.0)


@dataclass(frozen=True)
class DirectionLoss(Loss):
    """The quantity itself to minimize (sign 1), its negative to maximize (sign -1)."""

    sign: float = field()
    tolerance: float
    robust: Robust = "mean"

    def __call__(self, features: np.ndarray) -> np.ndarray:
        return over_realizations(self.sign * features[:, :, 0], self.robust)

    def summary(self, features: np.ndarray) -> np.ndarray:
        """The quantity as the loss takes it: with `worst` that of the worst realization."""
        return self.sign * self(features)

    def allowed(self, loss: float) -> float:
        return self.tolerance * abs(loss)


@dataclass(frozen=True)
class CurveLoss(Loss):
    """Relative L2 distance to a curve (number,); of several statistics the root mean square of their distances."""

    target: np.ndarray  #: (number,)
    weights: np.ndarray  #: (number,) of the squares
    parts: tuple[tuple[int, int], ...]  #: [start, stop) of each statistic
    tolerance: float
    robust: Robust = "mean"
    is_target: ClassVar[bool] = True

    def _distance(self, features: np.ndarray) -> np.ndarray:
        total = np.zeros(features.shape[:-1])
        for start, stop in self.parts:
            weight, wanted = self.weights[start:stop], self.target[start:stop]
            off = (weight * (features[..., start:stop] - wanted) ** 2).sum(-1)
            total += off / (weight * wanted**2).sum()
        return np.sqrt(total / len(self.parts))

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Distance of the curve averaged over realizations, or the distances of single ones combined."""
        if self.robust == "mean":
            return self._distance(features.mean(axis=1))
        return over_realizations(self._distance(features), self.robust)

    def summary(self, features: np.ndarray) -> np.ndarray:
        return self(features)

    def allowed(self, loss: float) -> float:  # noqa: ARG002
        return self.tolerance


@dataclass(frozen=True)
class LimitLoss(Loss):
    """Violation of limits, relative to the larger of them; 0 or less is inside."""

    low: float | None
    high: float | None
    robust: Robust = "mean"

    def __call__(self, features: np.ndarray) -> np.ndarray:
        values = features[:, :, 0]
        size = max(abs(v) for v in (self.low, self.high) if v is not None) or 1.0
        if self.robust == "mean":
            values = values.mean(axis=1, keepdims=True)
        over = np.maximum(
            -np.inf if self.high is None else values - self.high, -np.inf if self.low is None else self.low - values
        )
        return over_realizations(over / size, self.robust)
