"""What a study reads off finished points: numbers per point and realization, before any of them is judged.

A feature is (point, realization, number): one number for a scalar quantity, many for a curve. Models of the study work
on features, so that a distance to a curve or a worst case over starts is as smooth for them as the quantity itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch

from solvers.grids.grid import Grid
from sweeps.store.store import open_store, read


class PointView:
    """Points of a store in the order of their table.

    Args:
        url: of a finished store.
        rows: of the table; None takes all.
        group: ``reference`` for spot checks.
    """

    def __init__(self, url: str, rows: np.ndarray | None = None, group: str = "") -> None:
        root = open_store(url)
        self.root: Any = root[group] if group else root
        order = np.argsort(read(self.root, "point"), kind="stable")
        self.order = order if rows is None else order[rows]
        self.times = read(self.root, "time")

    def __contains__(self, name: str) -> bool:
        return name in self.root

    def get(self, name: str) -> np.ndarray:
        """A variable as (point, ...)."""
        return read(self.root, name)[self.order]

    def field(self, time: float) -> np.ndarray:
        """(point, realization, y, x) at a kept time."""
        dim = "time_field" if "time_field" in self.root else "time"
        index = int(np.abs(read(self.root, dim) - time).argmin())
        return np.asarray(self.root["field"][:, :, index])[self.order]


class Feature(Protocol):
    """Reads (point, realization, number)."""

    @property
    def field_times(self) -> tuple[float, ...]:
        """Times at which it needs fields; empty for what sweeps store."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """What the numbers are, for tables."""
        ...

    def read(self, view: PointView, end: str = "") -> np.ndarray:
        """float64 (point, realization, number); ``end`` is ``_low`` or ``_high`` for a band."""
        ...


@dataclass(frozen=True)
class ScalarFeature:
    """One number of a stored quantity.

    Attributes:
        qoi: its name in the store.
        times: positions in the stored times.
        reduce: over them: mean, min, max or slope (per time).
        component: position on a further axis, such as a quantile.
    """

    qoi: str
    times: tuple[int, ...]
    reduce: str = "mean"
    component: int | None = None
    field_times: tuple[float, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """See :class:`Feature`."""
        return (self.qoi,)

    def read(self, view: PointView, end: str = "") -> np.ndarray:
        """See :class:`Feature`."""
        values = view.get(self.qoi + end)
        if self.component is not None:
            values = values[..., self.component]
        window = values[:, :, list(self.times)]
        return reduced(window, view.times[list(self.times)], self.reduce)[:, :, None]


def reduced(window: np.ndarray, times: np.ndarray, how: str) -> np.ndarray:
    """(point, realization, time) -> (point, realization); slope is that of the least-squares line."""
    if how == "slope":
        centred = times - times.mean()
        return (window * centred).sum(-1) / (centred**2).sum()
    return getattr(window, how)(axis=-1)


@dataclass(frozen=True)
class CurveFeature:
    """A stored curve at one time, such as S(k), at some of its abscissae."""

    qoi: str
    time: int
    inside: tuple[int, ...]
    field_times: tuple[float, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """See :class:`Feature`."""
        return tuple(f"{self.qoi}[{i}]" for i in self.inside)

    def read(self, view: PointView, end: str = "") -> np.ndarray:
        """See :class:`Feature`."""
        return view.get(self.qoi + end)[:, :, self.time][:, :, list(self.inside)]


FieldStatistic = Callable[[torch.Tensor, Grid], torch.Tensor]


@dataclass(frozen=True)
class FieldFeature:
    """Statistics of the field at one time; it has no bands.

    Attributes:
        time: at which fields are kept.
        grid: of the fields.
        statistic: (batch, y, x) and a grid to (batch, number).
        names: of the numbers.
    """

    time: float
    grid: Grid
    statistic: FieldStatistic = field(repr=False)
    names: tuple[str, ...] = ("value",)

    @property
    def field_times(self) -> tuple[float, ...]:
        """See :class:`Feature`."""
        return (self.time,)

    def read(self, view: PointView, end: str = "") -> np.ndarray:
        """See :class:`Feature`; bands are infinite."""
        fields = view.field(self.time)
        shape = fields.shape[:2]
        if end:
            return np.full((*shape, len(self.names)), -np.inf if end == "_low" else np.inf)
        values = self.statistic(torch.from_numpy(fields.astype(np.float64)).flatten(0, 1), self.grid)
        return values.numpy().reshape(*shape, -1)
