"""A store as an xarray Dataset: lazy, in the order of the design, or with one axis for each parameter."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr

from solvers.errors import InputError
from sweeps.store import local_path, open_store

# Points to a dask chunk at least: many small batches make many small tasks.
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
    location = local_path(str(path)) or str(path)
    try:
        lazy = xr.open_zarr(location, consolidated=None, chunks=None)
        ds = lazy.chunk({name: _chunks(lazy, root, name) for name in lazy.sizes})
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: the store is damaged: {error}") from None
    order = np.argsort(np.asarray(ds["point"].values), kind="stable")
    if unstack:
        return _unstacked(ds, order, {str(n): int(c) for n, c in axes.items()})
    return ds if np.array_equal(order, np.arange(len(order))) else ds.isel(point=order)


def _chunks(lazy: xr.Dataset, root: Any, dim: str) -> int:
    """Whole batches along point, everything along the rest."""
    if dim != "point":
        return lazy.sizes[dim]
    batch = int(root["free_energy"].chunks[0])
    largest = max(v.nbytes / max(1, lazy.sizes["point"]) for v in lazy.variables.values() if "point" in v.dims)
    return batch * max(1, int(CHUNK_BYTES / max(1.0, largest * batch)))


def _unstacked(ds: xr.Dataset, order: np.ndarray, axes: dict[str, int]) -> xr.Dataset:
    """(point, ...) -> (mobility, kappa, ..., ...), the first parameter of the design slowest."""
    shape, names = tuple(axes.values()), tuple(axes)
    grid = order.reshape(shape)
    variables: dict[str, Any] = {}
    coordinates: dict[str, Any] = {}
    for i, name in enumerate(names):
        line = grid[tuple(slice(None) if j == i else 0 for j in range(len(names)))]
        coordinates[name] = xr.Variable((name,), ds[name].values[line], ds[name].attrs)
    ordered = ds.isel(point=order)
    for name, variable in ((str(n), v) for n, v in ordered.variables.items()):
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
