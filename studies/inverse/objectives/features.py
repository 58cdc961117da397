"""Features: the numbers of a finished point that objectives and constraints are computed from.

A feature is (point, realization, number): one number for a scalar quantity, many for a curve. The models of a study
predict features rather than losses, because a distance to a curve or the worst of several starts is less smooth than
the quantity itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from solvers.grids.grid import Grid

if TYPE_CHECKING:
    import torch

    from studies.inverse.objectives.point_view import PointView

FieldStatistic = Callable[["torch.Tensor", Grid], "torch.Tensor"]


class Feature(ABC):
    """Reads numbers of points."""

    size: int  #: how many numbers
    times: tuple[int, ...] = ()  #: positions in the stored times that it reads; empty where it needs fields
    field_times: tuple[float, ...] = ()  #: times at which it needs fields; empty for what sweeps store

    @abstractmethod
    def read(self, view: PointView, end: str = "") -> np.ndarray:
        """float64 (point, realization, number); ``end`` is ``_low`` or ``_high`` for the end of a band."""


@dataclass(frozen=True)
class QoiFeature(Feature):
    """A quantity that sweeps store."""

    qoi: str  #: its name in the store
    times: tuple[int, ...]  #: positions in the stored times
    reduce: str = "mean"  #: over them: mean, min, max or slope (per time)
    components: tuple[int, ...] | None = None  #: positions on the quantity's further axis; None where it has none

    @property
    def size(self) -> int:  # type: ignore[override]
        return 1 if self.components is None else len(self.components)

    def read(self, view: PointView, end: str = "") -> np.ndarray:
        values, times = view.get(self.qoi + end), list(self.times)
        numbers = [values] if self.components is None else [values[..., i] for i in self.components]
        return np.stack([reduced(v[:, :, times], view.times[times], self.reduce) for v in numbers], axis=-1)


def reduced(window: np.ndarray, times: np.ndarray, how: str) -> np.ndarray:
    """(point, realization, time) -> (point, realization); slope is that of the least-squares line."""
    if how == "slope":
        centred = times - times.mean()
        return (window * centred).sum(-1) / (centred**2).sum()
    return getattr(window, how)(axis=-1)


@dataclass(frozen=True)
class FieldFeature(Feature):
    """Statistics of the field at one time; engines have no bands of them."""

    time: float  #: at which fields are kept
    grid: Grid  #: of the fields
    statistic: FieldStatistic = field(repr=False)  #: (batch, y, x) and a grid to (batch, number)
    size: int = 1  #: how many numbers

    @property
    def field_times(self) -> tuple[float, ...]:  # type: ignore[override]
        return (self.time,)

    def read(self, view: PointView, end: str = "") -> np.ndarray:
        """See :class:`Feature`; bands are infinite."""
        import torch

        fields = view.field(self.time)
        shape = fields.shape[:2]
        if end:
            return np.full((*shape, self.size), -np.inf if end == "_low" else np.inf)
        values = self.statistic(torch.from_numpy(fields.astype(np.float64)).flatten(0, 1), self.grid)
        return values.numpy().reshape(*shape, -1)
