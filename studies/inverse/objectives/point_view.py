"""What features read: points of a store in the order of their table."""

from __future__ import annotations

import numpy as np

from sweeps.store.group import PointGroup
from sweeps.store.store import Store


class PointView:
    """Points of a finished store in the order of their table, or some ``rows`` of that.

    ``group`` is ``reference`` for spot checks.
    """

    def __init__(self, url: str, rows: np.ndarray | None = None, group: str = "") -> None:
        store = Store.open(url)
        points: PointGroup | None = store.subgroup(group) if group else store
        if points is None:
            raise KeyError(group)
        self.points = points
        order = np.argsort(points.read("point"), kind="stable")
        self.order = order if rows is None else order[rows]
        self.times = points.read("time")

    def __contains__(self, name: str) -> bool:
        return name in self.points

    def get(self, name: str) -> np.ndarray:
        """A variable as (point, ...)."""
        return self.points.read(name)[self.order]

    def field_times(self) -> np.ndarray:
        """Times at which fields are kept."""
        return self.points.read("time_field" if "time_field" in self.points else "time")

    def field(self, time: float) -> np.ndarray:
        """(point, realization, y, x) at a kept time."""
        index = int(np.abs(self.field_times() - time).argmin())
        return np.asarray(self.points.array("field")[:, :, index])[self.order]
