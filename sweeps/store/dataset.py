"""Reading a store: as an xarray Dataset, lazy, or as the table of its finished samples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from solvers.errors import InputError
from solvers.qois.registry import qois_of
from sweeps.store.group import Array, object_shape
from sweeps.store.layout import usable
from sweeps.store.locations import location
from sweeps.store.store import UNREADABLE, Store

# Bytes to a dask chunk, about: many small batches make many small tasks.
CHUNK_BYTES = 64 * 2**20


def open_sweep(path: str, unstack: bool = False) -> xr.Dataset:
    """Open a store as a Dataset of dask arrays; nothing is read before it is asked for.

    Points are in the order of the design: ``ds.isel(point=7)`` is row 7.

    Args:
        path: of the store, or any fsspec URL.
        unstack: give a grid design one axis for each varied parameter, in the order of its file, instead of ``point``.

    Raises:
        InputError: if there is no store, it is damaged, or ``unstack`` is asked of another design than a grid.
    """
    store = Store.open(str(path))
    axes = store.attributes.get("design_axes") or {}
    if unstack and not axes:
        raise InputError(f"{path}: unstack needs a grid design with a varied parameter; this store has none")
    try:
        ds = xr.open_zarr(location(str(path)), consolidated=None, chunks=None)
        order = np.argsort(ds["point"].values, kind="stable")
        ds = ds.assign(
            {name: _ordered(ds[name], store.array(str(name)), order) for name in ds.data_vars}
        ).assign_coords({name: ds[name].variable.load()[order] for name in ds.coords if ds[name].dims == ("point",)})
    except UNREADABLE as error:
        raise InputError(f"{path}: the store is damaged: {error}") from None
    return _unstacked(ds, {str(n): int(c) for n, c in axes.items()}) if unstack else ds


def _ordered(lazy: xr.DataArray, array: Array, order: np.ndarray) -> xr.Variable:
    """A variable as a dask array, its points in the order of the design.

    Chunks take whole objects where an object can only be read whole. Of a sharded one single points can be read, so
    points are put in order before chunks are cut, and no task waits for the shards of others.
    """
    variable = lazy.variable
    if "point" not in variable.dims:
        return variable.chunk()
    in_order = bool((np.diff(order) > 0).all())
    rows = object_shape(array)[0]
    points = rows * max(1, int(CHUNK_BYTES * len(order) / max(1, variable.nbytes * rows)))
    if in_order or array.shards:
        return (variable if in_order else variable.isel(point=order)).chunk({"point": points})
    return variable.chunk({"point": points}).isel(point=order)


def _unstacked(ds: xr.Dataset, axes: dict[str, int]) -> xr.Dataset:
    """(point, ...) -> (mobility, kappa, ..., ...), the first parameter of the design slowest."""
    shape, names = tuple(axes.values()), tuple(axes)
    grid = np.arange(math.prod(shape)).reshape(shape)
    variables: dict[str, xr.Variable] = {}
    coordinates: dict[str, xr.Variable] = {}
    for i, name in enumerate(names):
        line = grid[tuple(slice(None) if j == i else 0 for j in range(len(names)))]
        coordinates[name] = xr.Variable((name,), ds[name].values[line], ds[name].attrs)
    for name, variable in ((str(n), v) for n, v in ds.variables.items()):
        if name in names:
            continue
        target = coordinates if name in ds.coords else variables
        if "point" not in variable.dims:
            target[name] = variable
            continue
        new = xr.Variable(
            (*names, *variable.dims[1:]), variable.data.reshape((*shape, *variable.shape[1:])), variable.attrs
        )
        target["design_row" if name == "point" else name] = new
    return xr.Dataset(variables, coordinates, ds.attrs)


@dataclass(frozen=True)
class FinishedSamples:
    """The samples of a store that have results, in storage order; nothing is read before it is asked for.

    ``point`` and ``realization``, int64 (sample,), are where they are in the store.
    """

    store: Store
    point: np.ndarray
    realization: np.ndarray

    def __len__(self) -> int:
        return len(self.point)

    @property
    def config(self) -> dict[str, Any]:
        return self.store.config

    @property
    def process(self) -> str:
        return str(self.config["process"])

    @property
    def engine(self) -> str:
        """Kind of the engine that computed them."""
        return str(self.config["engine"]["kind"])

    @property
    def times(self) -> np.ndarray:
        """Times of the quantities, (time,)."""
        return self.store.read("time").astype(np.float64)

    @property
    def field_times(self) -> np.ndarray:
        """Times of the fields, (frame,); empty where none were kept."""
        if "field" not in self.store:
            return np.zeros(0)
        return self.store.read("time_field").astype(np.float64) if "time_field" in self.store else self.times

    @property
    def quantities(self) -> tuple[str, ...]:
        """Names of the quantities of interest in the store."""
        return tuple(name for name in qois_of(self.process) if name in self.store)

    def parameters(self) -> dict[str, np.ndarray]:
        """Name -> float64 (sample,): parameters of the process and numbers of its start (``amplitude``, ``grains``)."""
        found = {n: self.store.read(n).astype(np.float64)[self.point] for n in self.store.parameter_names}
        numbers = {n: v for n, v in self.config["initial"].items() if isinstance(v, int | float) and n not in found}
        return found | {n: np.full(len(self), float(v)) for n, v in numbers.items()}

    def coordinate(self, name: str) -> np.ndarray:
        """Values along the axis after time of a quantity, such as ``k`` and ``quantile``."""
        return self.store.read(name).astype(np.float64)

    def quantity(self, name: str) -> np.ndarray:
        """A variable over samples, such as a quantity or its band: (sample, time[, extra]); ``trust``: (sample,)."""
        return self.store.read(name)[self.point, self.realization]

    def fields(self, name: str = "field", frame: int | slice = slice(None), dtype: str | None = None) -> np.ndarray:
        """Fields, or grain labels: (sample, frame, y, x) for a slice of ``field_times``, else (sample, y, x).

        Beside the result one object of the store at a time is in memory. ``dtype`` is that of the store by default.
        """
        array = self.store.array(name)
        frames = np.arange(array.shape[2])[frame]
        found = np.empty((len(self), *np.shape(frames), *array.shape[3:]), dtype=dtype or array.dtype)
        rows = object_shape(array)[0]
        for number in np.unique(self.point // rows):
            here = np.flatnonzero(self.point // rows == number)
            block = np.asarray(array[number * rows : (number + 1) * rows, :, frame])
            found[here] = block[self.point[here] - number * rows, self.realization[here]]
        return found


def finished_samples(url: str) -> FinishedSamples:
    """The samples of a store that are done or verified and, of a learned engine, inside its domain.

    Raises:
        InputError: if there is no store, it is damaged or has no finished sample.
    """
    store = Store.open(str(url))
    try:
        good = usable(store.read("status"))
        if "trust" in store:
            good &= store.read("trust") > 0.5
    except UNREADABLE as error:
        raise InputError(f"{url}: the store is damaged: {error}") from None
    if not good.any():
        raise InputError(f"{url}: no finished sample; run the sweep first")
    return FinishedSamples(store, *np.nonzero(good))
