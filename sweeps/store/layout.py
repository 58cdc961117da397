"""What a sweep's store holds: dimensions, variables, units, chunks. No input or output here.

One batch of points is one task and one object (chunk, or shard of chunks) of every variable that workers write, so two
writers never meet in an object. Status, errors and times are written by the driver alone, many batches to an object.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from solvers.processes.registry import process_named
from solvers.qois.registry import extra_axes, extra_coordinates, qois_of
from sweeps.plan.batches import cut

if TYPE_CHECKING:
    from sweeps.plan.plan import Plan

STATUS_FLAGS = {"pending": 0, "done": 1, "failed": 2, "diverged": 3, "verified": 4}
PENDING, DONE, FAILED, DIVERGED, VERIFIED = STATUS_FLAGS.values()

#: The solver's measured error, beside its results.
ESTIMATE = "error_estimate"
#: How the text in ``error`` of a sample begins whose measured error exceeds the tolerance.
OVER_TOLERANCE = "estimated error"

# Chunks of fields: large enough that a store of 100 GB has 10^5 of them, small enough to read a few frames
# cheaply.
INNER_CHUNK_BYTES = 2**20
# Points to an object of the status variables: rewritten whole when one of its batches ends.
STATUS_POINTS = 8192


def finished(status: np.ndarray) -> np.ndarray:
    """Which samples need no computing: done, verified, diverged (failed ones are tried again)."""
    return np.isin(status, (DONE, VERIFIED, DIVERGED))


def usable(status: np.ndarray) -> np.ndarray:
    """Which samples have results: done, verified."""
    return np.isin(status, (DONE, VERIFIED))


@dataclass(frozen=True)
class Variable:
    """One array of the store.

    Attributes:
        dtype: numpy dtype name, or ``"str"``.
        fill: value where nothing was written.
        chunks, shards: along ``dims``; shards None where a chunk is an object.
        attributes: units, long_name and more.
    """

    dims: tuple[str, ...]
    dtype: str
    fill: float | str
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None
    attributes: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """The sizes that fix a store.

    Attributes:
        points, realizations: counts.
        times: stored times, (time,).
        field_index: positions in ``times`` at which fields are kept; empty with ``retain: qoi``.
        shape: cells (y, x).
        extra: lengths of the extra axes of QoIs, such as ``k`` and ``quantile``.
        batch: points to a batch.
        learned: whether the engine adds bands, trust and counters.
        estimates: whether the engine measures its error; stores written by earlier versions do not have it.
    """

    process: str
    points: int
    realizations: int
    times: np.ndarray
    field_index: np.ndarray
    shape: tuple[int, int]
    extra: dict[str, int]
    batch: int
    learned: bool = False
    estimates: bool = True

    @property
    def time_field_dim(self) -> str:
        """Axis of the kept fields: ``time`` when all are kept, else ``time_field``."""
        return "time" if len(self.field_index) == len(self.times) else "time_field"

    @property
    def sizes(self) -> dict[str, int]:
        sizes = {"point": self.points, "realization": self.realizations, "time": len(self.times)}
        sizes.update(self.extra)
        if len(self.field_index):
            sizes.update({self.time_field_dim: len(self.field_index), "y": self.shape[0], "x": self.shape[1]})
        return sizes

    @property
    def batches(self) -> np.ndarray:
        """int64 (batch, 2): [start, stop) of every batch in storage order."""
        return cut(self.points, self.batch)

    def results(self) -> dict[str, Variable]:
        """The variables that workers write: QoIs, fields where they are kept, and what an engine says of its errors."""
        qois = self._qois()
        if not self.learned:
            return {**self._fields(), **qois, **(self._estimates() if self.estimates else {})}
        return {**self._fields(), **qois, **_bands(qois), **self._trust()}

    def status_variables(self) -> dict[str, Variable]:
        """The variables that the driver writes while points finish."""
        rows = self.batch * max(1, STATUS_POINTS // self.batch)
        chunks = (min(rows, self.points), self.realizations)
        flags = {"flag_values": list(STATUS_FLAGS.values()), "flag_meanings": " ".join(STATUS_FLAGS)}
        return {
            "status": _of_samples(chunks, "int8", PENDING, "state of the sample", flags=flags),
            "error": _of_samples(chunks, "str", "", "why the sample failed, or is not to be trusted"),
            "wall_s": _of_samples(chunks, "float32", np.nan, "computing time of the sample", units="s"),
            "engine": _of_samples(chunks, "str", "", "engine that computed the sample"),
        }

    def _qois(self) -> dict[str, Variable]:
        found = {}
        for name, info in qois_of(self.process).items():
            dims = ("point", "realization", "time") + ((info.extra_dim,) if info.extra_dim else ())
            chunks = (self.batch, *(self.sizes[d] for d in dims[1:]))
            attributes = {"long_name": info.long_name, "units": info.units}
            found[name] = Variable(dims, "float64", np.nan, chunks, None, attributes)
        return found

    def _estimates(self) -> dict[str, Variable]:
        dims = ("point", "realization", "time")
        chunks = (self.batch, self.realizations, len(self.times))
        what = "estimated relative L2 error against the converged equation"
        return {ESTIMATE: Variable(dims, "float32", np.nan, chunks, None, {"long_name": what, "units": "1"})}

    def _trust(self) -> dict[str, Variable]:
        chunks = (self.batch, self.realizations)
        rises = "frames at which the free energy is above that of the one before"
        found = {
            "trust": _of_samples(chunks, "float32", np.nan, "1 inside the model's domain, 0 outside"),
            "energy_rises": _of_samples(chunks, "int32", -1, rises),
        }
        if process_named(self.process).conserves_mean:
            what = "largest change of the mean from its first value, over half the distance of the two phases"
            found["mass_drift"] = _of_samples(chunks, "float64", np.nan, what)
        return found

    def _fields(self) -> dict[str, Variable]:
        if not len(self.field_index):
            return {}
        dims = ("point", "realization", self.time_field_dim, "y", "x")
        chunks, shards = self._field_chunks()
        return {
            info.name: Variable(
                dims, info.dtype, info.fill, chunks, shards, {"long_name": info.long_name, "units": info.units}
            )
            for info in process_named(self.process).fields
        }

    def _field_chunks(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Chunk and shard of a field: a shard is one batch, a chunk some times of one point or several points."""
        frames = len(self.field_index)
        block = 4 * math.prod(self.shape) * self.realizations
        slabs = math.ceil(frames / max(1, INNER_CHUNK_BYTES // block))
        # Even slabs, so that the last one is not mostly padding.
        slab = math.ceil(frames / min(slabs, frames))
        points = 1
        if slabs <= 1:
            room = max(1, INNER_CHUNK_BYTES // (block * frames))
            points = max(d for d in range(1, self.batch + 1) if self.batch % d == 0 and d <= room)
        rest = (self.realizations, slab, *self.shape)
        padded = slab * math.ceil(frames / slab)
        return (points, *rest), (self.batch, self.realizations, padded, *self.shape)


def _of_samples(
    chunks: tuple[int, ...],
    dtype: str,
    fill: float | str,
    long_name: str,
    units: str = "1",
    flags: Mapping[str, object] | None = None,
) -> Variable:
    """A variable of one value a sample."""
    attributes = {"long_name": long_name, "units": units, **(flags or {})}
    return Variable(("point", "realization"), dtype, fill, chunks, None, attributes)


def layout_of(plan: Plan, extra: dict[str, int] | None = None) -> Layout:
    """The layout of a plan's store; ``extra`` are the lengths of the extra axes, which take torch to find, if known."""
    config = plan.config
    if extra is None:
        extra = {name: len(v) for name, v in extra_coordinates(config.process, config.grid.build()).items()}
    return Layout(
        process=config.process,
        points=len(plan.keys),
        realizations=config.realizations.count,
        times=config.time_values(),
        field_index=config.field_time_indices(),
        shape=config.grid.shape,
        extra=extra,
        batch=int(plan.batches[0, 1] - plan.batches[0, 0]),
        learned=plan.has_bands,
    )


def _bands(qois: dict[str, Variable]) -> dict[str, Variable]:
    """``<qoi>_low`` and ``<qoi>_high`` of every QoI."""
    found = {}
    for name, variable in qois.items():
        for end, word in (("low", "lower"), ("high", "upper")):
            about = {**variable.attributes, "long_name": f"{variable.attributes['long_name']}, {word} end of the band"}
            found[f"{name}_{end}"] = replace(variable, attributes=about)
    return found


def coordinate_variables(plan: Plan, layout: Layout) -> dict[str, tuple[Variable, np.ndarray]]:
    """What names rows and columns, with its values: parameters, keys, design index, times, cells, k, quantile."""
    process, grid = process_named(layout.process), plan.config.grid
    found: dict[str, tuple[Variable, np.ndarray]] = {}

    def add(name: str, dim: str, values: np.ndarray, units: str, long_name: str) -> None:
        text = values.dtype.kind in "SU"
        about = {"units": units, "long_name": long_name}
        dtype = "str" if text else values.dtype.name
        found[name] = Variable((dim,), dtype, "" if text else 0, (max(1, len(values)),), None, about), values

    for name, values in plan.parameters.items():
        info = process.parameter(name)
        add(name, "point", values, info.units, info.long_name)
    add("key", "point", plan.keys, "1", "hash of all that determines it")
    add("point", "point", plan.design_index, "1", "row of the design")
    add("realization", "realization", np.arange(layout.realizations), "1", "number of the random start")
    add("time", "time", layout.times, "time", "time")
    axes = extra_axes(layout.process)
    for name, tensor in extra_coordinates(layout.process, grid.build()).items():
        add(name, name, tensor.numpy(), axes[name].units, axes[name].long_name)
    if len(layout.field_index):
        if layout.time_field_dim != "time":
            times = layout.times[layout.field_index]
            add("time_field", "time_field", times, "time", "times at which fields are kept")
        for name, cells in zip(("y", "x"), layout.shape, strict=True):
            add(name, name, (np.arange(cells) + 0.5) * grid.spacing, "length", f"cell centre along {name}")
    return found


def empty_shard(layout: Layout, rows: int) -> dict[str, np.ndarray]:
    """Arrays for ``rows`` points, filled as if nothing had been computed."""
    sizes = {**layout.sizes, "point": rows}
    return {name: np.full([sizes[d] for d in v.dims], v.fill, dtype=v.dtype) for name, v in layout.results().items()}
