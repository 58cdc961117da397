"""Initial conditions from files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from solvers.errors import InputError
from solvers.grids.grid import Grid


def from_file(path: str | Path, variable: str | None, grid: Grid) -> torch.Tensor:
    """Fields from a ``.npy``, NetCDF (``.nc``) or Zarr (``.zarr``) file.

    Args:
        path: the file or store.
        variable: its variable, for NetCDF and Zarr; may be left out where there is only one.
        grid: the grid that the last axes must match.

    Returns:
        (sample, *shape) as stored (floats as float64, integers as int64); one sample where the file has no further
        axis, else all further axes flattened.

    Raises:
        InputError: for a missing or unreadable file, an unknown variable, another shape, NaN or infinity.
    """
    source = Path(path)
    if not source.exists():
        raise InputError(f"{source}: no such file")
    try:
        values = np.load(source, allow_pickle=False) if source.suffix == ".npy" else _variable(source, variable)
    except (OSError, EOFError, ValueError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{source}: cannot be read: {str(error).splitlines()[0]}") from error
    if values.ndim < grid.ndim or values.shape[-grid.ndim :] != grid.shape:
        raise InputError(f"{source}: last axes {grid.shape} expected, to match the grid, but found {values.shape}")
    if values.dtype.kind not in "fiu":
        raise InputError(f"{source}: numbers expected, but found {values.dtype}")
    if not np.isfinite(values).all():
        raise InputError(f"{source}: finite values expected, but found NaN or infinity")
    kind = np.float64 if values.dtype.kind == "f" else np.int64
    return torch.from_numpy(np.ascontiguousarray(values, dtype=kind).reshape(-1, *grid.shape))


def _variable(source: Path, name: str | None) -> np.ndarray:
    import xarray as xr

    if source.suffix == ".zarr":
        _refuse_pickles(source)
    opened = xr.open_zarr(source) if source.suffix == ".zarr" else xr.open_dataset(source, engine="h5netcdf")
    with opened as dataset:
        names = [str(n) for n in dataset.data_vars]
        if name is None and len(names) == 1:
            name = names[0]
        if name not in names:
            raise InputError(f"{source}: variable {name!r} not found; there are: {', '.join(names) or 'none'}")
        return dataset[name].to_numpy()


def _refuse_pickles(source: Path) -> None:
    """Refuse a Zarr store of the second format with a codec that unpickles: reading it would run what is in it.

    Raises:
        InputError: naming the store.
    """
    for name in (".zarray", ".zmetadata"):
        for about in sorted(source.rglob(name)):
            if _names_pickle(json.loads(about.read_bytes())):
                raise InputError(f"{source}: numbers expected, but it holds pickled objects and was not opened")


def _names_pickle(value: Any) -> bool:
    if isinstance(value, dict):
        return "pickle" in str(value.get("id", "")).lower() or any(_names_pickle(v) for v in value.values())
    return isinstance(value, list) and any(_names_pickle(v) for v in value)
