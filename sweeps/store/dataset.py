"""A store as an xarray Dataset: lazy, in the order of the design, or with one axis for each parameter."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr

from solvers.errors import InputError
from sweeps.store.locations import location
from sweeps.store.store import open_store

# Bytes to a dask chunk, about: many small batches make many small tasks.
CHUNK_BYTES = 64 * 2**20


def open_sweep(path: str, unstack: bool = False) -> xr.Dataset:
    """Open a store.

    Args:
        path: of the store, or any fsspec URL.
        unstack: give a grid design one axis for each varied parameter, in the order of its file, instead of
            ``point``.

    Returns:
        A Dataset of dask arrays; nothing is read before it is asked for. Points are in the order of the
        design: ``ds.isel(point=7)`` is row 7.

    Raises:
        InputError: if there is no store, it is damaged, or ``unstack`` is asked of another design than a
            grid.
    """
    root = open_store(str(path))
    axes: Any = root.attrs.get("design_axes") or {}
    if unstack and not axes:
        raise InputError(f"{path}: unstack needs a grid design with a varied parameter; this store has none")
    try:
        ds = xr.open_zarr(location(str(path)), consolidated=None, chunks=None)
        order = np.argsort(ds["point"].values, kind="stable")
        ds = ds.assign({name: _ordered(ds[name], root[name], order) for name in ds.data_vars}).assign_coords(
            {name: ds[name].variable.load()[order] for name in ds.coords if ds[name].dims == ("point",)}
        )
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: the store is damaged: {error}") from None
    return _unstacked(ds, {str(n): int(c) for n, c in axes.items()}) if unstack else ds


def _ordered(lazy: xr.DataArray, array: Any, order: np.ndarray) -> xr.Variable:
    """A variable as a dask array, its points in the order of the design.

    Chunks take whole objects where an object can only be read whole. Of a sharded one single points can be read, so
    points are put in order before chunks are cut, and no task waits for the shards of others.
    """
    variable = lazy.variable
    if "point" not in variable.dims:
        return variable.chunk()
    in_order = bool((np.diff(order) > 0).all())
    rows = (array.shards or array.chunks)[0]
    points = rows * max(1, int(CHUNK_BYTES * len(order) / max(1, variable.nbytes * rows)))
    if in_order or array.shards:
        return (variable if in_order else variable.isel(point=order)).chunk({"point": points})
    return variable.chunk({"point": points}).isel(point=order)


def _unstacked(ds: xr.Dataset, axes: dict[str, int]) -> xr.Dataset:
    """(point, ...) -> (mobility, kappa, ..., ...), the first parameter of the design slowest."""
    shape, names = tuple(axes.values()), tuple(axes)
    grid = np.arange(math.prod(shape)).reshape(shape)
    variables: dict[str, Any] = {}
    coordinates: dict[str, Any] = {}
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
        new = xr.Variable((*names, *variable.dims[1:]), _split(variable.data, shape), variable.attrs)
        target["design_row" if name == "point" else name] = new
    return xr.Dataset(variables, coordinates, ds.attrs)


def _split(data: Any, shape: tuple[int, ...]) -> Any:
    assert data.shape[0] == math.prod(shape)
    return data.reshape((*shape, *data.shape[1:]))
