"""The status table: status, error, computing time and engine of every sample, kept in memory, written in blocks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from sweeps.store.layout import DIVERGED, FAILED, OVER_TOLERANCE, PENDING, finished, usable
from sweeps.store.locations import cannot_write

if TYPE_CHECKING:
    from sweeps.execution.batch_task import BatchOutcome
    from sweeps.plan.plan import Plan
    from sweeps.store.group import PointGroup

# Between two writes at most this long passes: what a killed driver may have to compute again.
FLUSH_SECONDS = 1.0
# status is written last: once it says done, all else is on disk.
NAMES = ("error", "wall_s", "engine", "status")


class StatusTable:
    """Status and the like of every sample, (point, realization), in storage order.

    Only one driver may have one open on a store (:mod:`sweeps.store.lock`). :meth:`touch` rows of ``values`` that you
    change.
    """

    def __init__(self, group: PointGroup) -> None:
        self._url = group.url
        self._arrays = {name: group.array(name) for name in NAMES}
        self.values = {name: np.array(array[:]) for name, array in self._arrays.items()}
        self._rows = int(self._arrays["status"].chunks[0])
        self._dirty: set[int] = set()
        self._written = time.monotonic()

    @property
    def status(self) -> np.ndarray:
        """int8 (point, realization)."""
        return self.values["status"]

    @property
    def finished(self) -> np.ndarray:
        """bool (point, realization), see :func:`sweeps.store.layout.finished`."""
        return finished(self.status)

    @property
    def usable(self) -> np.ndarray:
        """bool (point, realization), see :func:`sweeps.store.layout.usable`."""
        return usable(self.status)

    def record(self, outcome: BatchOutcome) -> None:
        """Take over what a finished batch reports, and write it when the last write is long enough ago."""
        rows = np.arange(outcome.start, outcome.stop)[outcome.computed]
        values = self.values
        values["status"][rows] = outcome.status[outcome.computed]
        values["error"][rows] = ""
        for (row, realization), text in outcome.errors.items():
            values["error"][outcome.start + row, realization] = text
        values["wall_s"][rows] = outcome.wall_s / max(1, len(rows) * self.status.shape[1])
        values["engine"][rows] = outcome.engine
        for (row, realization), text in outcome.engine_of.items():
            values["engine"][outcome.start + row, realization] = text
        self.touch(rows)
        if time.monotonic() - self._written > FLUSH_SECONDS:
            self.flush()

    def reset(self, rows: np.ndarray) -> None:
        """Mark points as pending, on disk at once."""
        self.values["status"][rows] = PENDING
        self.values["error"][rows] = ""
        self.values["wall_s"][rows] = np.nan
        self.values["engine"][rows] = ""
        self.touch(rows)
        self.flush()

    def mark(self, rows: np.ndarray, status: int) -> None:
        """Set the status of points, on disk at once."""
        self.values["status"][rows] = status
        self.touch(rows)
        self.flush()

    def failures(self, plan: Plan) -> tuple[str, ...]:
        found = np.argwhere(np.isin(self.status, (FAILED, DIVERGED)))
        return tuple(
            f"{point_name(plan, int(row))} realization {realization}: {self.values['error'][row, realization]}"
            for row, realization in found
        )

    def over_tolerance(self, plan: Plan) -> tuple[str, ...]:
        """Samples whose measured error exceeds the tolerance, a line each."""
        texts = self.values["error"]
        return tuple(
            f"{point_name(plan, row)} realization {realization}: {texts[row, realization]}"
            for row, realization in np.argwhere(usable(self.status)).tolist()
            if texts[row, realization].startswith(OVER_TOLERANCE)
        )

    def flush(self) -> None:
        """Write what changed; raises InputError if it cannot be written, and keeps it for the next time."""
        try:
            for block in sorted(self._dirty):
                rows = slice(block * self._rows, (block + 1) * self._rows)
                for name in NAMES:
                    self._arrays[name][rows] = self.values[name][rows]
        except OSError as error:
            raise cannot_write(self._url, error) from None
        self._dirty.clear()
        self._written = time.monotonic()

    def touch(self, rows: np.ndarray) -> None:
        """Have rows written with the next :meth:`flush`."""
        self._dirty.update(np.unique(np.asarray(rows) // self._rows).tolist())


def point_name(plan: Plan, row: int) -> str:
    """A point as users know it: its row in the design and its parameters."""
    values = ", ".join(f"{name} {v[row]:.6g}" for name, v in plan.parameters.items())
    return f"point {int(plan.design_index[row])} ({values})"
