"""What the report reads from a store, and how the sweep's design looks from its coordinates alone."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from solvers.processes.registry import Appearance
from sweeps.plan.description import bracketed
from sweeps.report.appearance import appearance_of, number, parameter_info, parameter_order
from sweeps.store.group import Attributes, PointGroup, dimension_names
from sweeps.store.layout import ESTIMATE, PENDING, STATUS_FLAGS, usable
from sweeps.store.lock import lock_holder
from sweeps.store.store import REFERENCE, UNREADABLE, VERIFICATION, Store

#: Variables up to this size are read whole, once, however many figures show some of their points.
WHOLE_BYTES = 16 * 2**20
#: Of the solver, which is judged by its tolerance; of a learned engine, by its bands.
RESULT_FLAGS = ("within_tolerance", "inside_band")
#: After the name of a quantity: the ends of its band.
BAND = ("_low", "_high")


@dataclass(frozen=True)
class SweepData:
    """An opened store, points in the order of the user's design.

    ``reference`` and ``verification`` are its spot checks' solutions and errors; ``running`` is who was writing to it
    when it was opened.
    """

    url: str
    store: Store
    reference: PointGroup | None
    verification: PointGroup | None
    running: Mapping[str, Any] | None = None

    @property
    def attributes(self) -> Attributes:
        """Of the store."""
        return self.store.attributes

    @cached_property
    def rows(self) -> np.ndarray:
        """(point,) where each point is in the store."""
        return np.argsort(self.store.read("point"), kind="stable")

    @cached_property
    def _whole(self) -> dict[str, np.ndarray]:
        return {}

    def read(self, name: str) -> np.ndarray:
        """A variable as it is in the store; read once."""
        if name not in self._whole:
            self._whole[name] = self.store.read(name)
        return self._whole[name]

    def of_points(self, name: str) -> np.ndarray:
        """A variable (point, ...)."""
        return self.read(name)[self.rows]

    @cached_property
    def config(self) -> dict[str, Any]:
        stored = self.attributes.get("config", {})
        return json.loads(stored) if isinstance(stored, str) else dict(stored)

    @property
    def process(self) -> str:
        return str(self.config.get("process", "cahn_hilliard"))

    @property
    def appearance(self) -> Appearance:
        return appearance_of(self.process)

    @property
    def name(self) -> str:
        return str(self.config.get("name", self.attributes.get("title", "sweep")))

    @property
    def points(self) -> int:
        return len(self.rows)

    @property
    def realizations(self) -> int:
        return int(self.store.array("status").shape[1])

    @cached_property
    def times(self) -> np.ndarray:
        """(time,) stored times."""
        return self.read("time").astype(float)

    @cached_property
    def parameters(self) -> dict[str, np.ndarray]:
        """Parameter name -> (point,)."""
        order = parameter_order(self.process, self.store.parameter_names)
        return {n: self.of_points(n).astype(float) for n in order}

    @cached_property
    def varied(self) -> list[str]:
        """Parameters with more than one value, in the order of the process."""
        return [n for n, v in self.parameters.items() if len(np.unique(v)) > 1]

    @cached_property
    def is_grid(self) -> bool:
        """Whether the points are all combinations of a few values."""
        sizes = [len(np.unique(self.parameters[n])) for n in self.varied]
        if math.prod(sizes) != self.points:
            return False
        rows = np.stack([np.zeros(self.points), *(self.parameters[n] for n in self.varied)], axis=1)
        return len(np.unique(rows, axis=0)) == self.points

    @cached_property
    def status(self) -> np.ndarray:
        """(point, realization) int8."""
        return self.of_points("status")

    @cached_property
    def usable(self) -> np.ndarray:
        """(point, realization) bool: samples with results."""
        return usable(self.status)

    def of_samples(self, name: str) -> np.ndarray:
        """A number for each sample, of those alone that the status says are finished, (finished sample,)."""
        return self.of_points(name)[self.status != PENDING]

    @property
    def flag_name(self) -> str | None:
        """The variable with the results of the spot checks."""
        return next((n for n in RESULT_FLAGS if self.verification is not None and n in self.verification), None)

    @cached_property
    def sample_flags(self) -> np.ndarray | None:
        """Results of the spot checks (checked point, realization), int8: -1 not solved, 0 missed, 1 within; or None."""
        if self.verification is None or self.flag_name is None:
            return None
        return self.verification.read(self.flag_name)

    @cached_property
    def point_flags(self) -> np.ndarray:
        """(checked point,) int8: -1 not solved, 0 missed, 1 passed."""
        if self.verification is None or self.sample_flags is None:
            return np.zeros(0, dtype=np.int8)
        if "passed" in self.verification:
            return self.verification.read("passed")
        return np.asarray(self.sample_flags.min(axis=1))

    @property
    def checked(self) -> int:
        """Points that were solved again."""
        return int((self.point_flags >= 0).sum())

    @property
    def passed(self) -> int:
        return int((self.point_flags == 1).sum())

    @property
    def inside(self) -> dict[str, float]:
        """QoI -> share of the reference's values inside the bands; empty for the solver."""
        return dict(self.verification.attributes.get("inside", {})) if self.verification is not None else {}

    @property
    def learned(self) -> bool:
        """Whether a learned engine made the results."""
        return self.has("trust")

    @property
    def unfinished(self) -> str:
        """How much is there while samples are pending, one sentence; empty where none are."""
        pending, total = self.count("pending"), self.points * self.realizations
        if not pending:
            return ""
        left = float((self.running or {}).get("seconds_left") or 0)
        more = f", about {left:.0f} s to go" if left else ""
        state = f"a run is under way{more}" if self.running else "run the sweep to complete it"
        return f"{total - pending} of {total} samples have results so far; {state}."

    def count(self, *flags: str) -> int:
        return int(np.isin(self.status, [STATUS_FLAGS[f] for f in flags]).sum())

    @cached_property
    def quantities(self) -> list[str]:
        """Names of the quantities that are a number at each time."""
        return [name for name, dims in self._results.items() if len(dims) == 3]

    @cached_property
    def axis_quantities(self) -> dict[str, str]:
        """Quantity with an axis after time -> name of that axis."""
        return {name: dims[3] for name, dims in self._results.items() if len(dims) == 4}

    @cached_property
    def _results(self) -> dict[str, tuple[str, ...]]:
        """Quantities, without the ends of their bands, and their dimensions."""
        found = {name: dimension_names(self.store.array(name)) for name in self.store.array_names}
        ends = {name + suffix for name in found for suffix in BAND}
        apart = {*ends, ESTIMATE}
        return {n: d for n, d in found.items() if d[:3] == ("point", "realization", "time") and n not in apart}

    def has_band(self, name: str) -> bool:
        return all(self.has(name + suffix) for suffix in BAND)

    def has(self, name: str) -> bool:
        return name in self.store

    def label(self, name: str) -> str:
        """Axis label: long name and units."""
        return f"{self.long_name(name)}{self.units(name)}"

    def long_name(self, name: str) -> str:
        return str(self._about(name).get("long_name", name.replace("_", " ")))

    def axis_label(self, name: str) -> str:
        """Axis label of a coordinate after time: long name, name, units."""
        text = str(self._about(name).get("long_name", ""))
        return f"{text} {name}".strip() + self.units(name)

    def parameter_label(self, name: str) -> str:
        """Axis label of a parameter: name, symbol, units."""
        return f"{parameter_info(self.process, name).axis_label}{self.units(name)}"

    def symbol(self, name: str) -> str:
        return parameter_info(self.process, name).symbol

    def units(self, name: str) -> str:
        """Units of a variable in brackets after a space, such as " (length²)"; empty when dimensionless."""
        return bracketed(str(self._about(name).get("units", "1")))

    def _about(self, name: str) -> Attributes:
        return self.store.array(name).attrs

    def values(self, name: str, points: Sequence[int] | np.ndarray, time: int | None = None) -> np.ndarray:
        """A variable of some points as (point, realization, time, ...) or, at one time, (point, realization, ...).

        Samples without results are NaN.
        """
        chosen = np.asarray(points, dtype=int)
        array, at = self.store.array(name), slice(None) if time is None else time
        if array.nbytes <= WHOLE_BYTES:
            values = self.read(name)[self.rows[chosen]][:, :, at].astype(float)
        else:
            values = np.asarray(array.oindex[self.rows[chosen], :, at], dtype=float)
        values[~self.usable[chosen]] = np.nan
        return values

    def point_label(self, point: int) -> str:
        """The varied parameters of a point, such as "M = 0.5, κ = 2"; two digits tell scattered points apart."""
        digits = 3 if self.is_grid else 2
        return ", ".join(f"{self.symbol(n)} = {number(self.parameters[n][point], digits)}" for n in self.varied)


def quantile(values: np.ndarray, level: float, axis: int) -> np.ndarray:
    """Quantile that ignores NaN and is NaN, silently, where there is nothing else."""
    missing = np.isnan(values)
    if not missing.any():
        return np.asarray(np.quantile(values, level, axis=axis))
    empty = missing.all(axis=axis, keepdims=True)
    found = np.nanquantile(np.where(empty, 0.0, values), level, axis=axis)
    return np.where(empty.squeeze(axis), np.nan, found)


def read_store(url: str) -> SweepData:
    """Open a store for reporting, reading nothing large yet; raises InputError if there is no whole sweep's store.

    A run may be writing to it. The status is read first: what it says is finished was written before.
    """
    store, running = Store.open(url), lock_holder(url)
    data = SweepData(url, store, _group(store, REFERENCE), _group(store, VERIFICATION), running)
    data.read("status")
    return data


def _group(store: Store, name: str) -> PointGroup | None:
    """The spot checks' solutions or errors; None where there are none, or a run is just putting new ones in place."""
    try:
        return store.subgroup(name)
    except UNREADABLE:
        if lock_holder(store.url) is None:
            raise
        return None
