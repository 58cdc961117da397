"""Initial conditions from files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from solvers.errors import InputError
from solvers.frame_readers import READERS, reader_of
from solvers.grids.grid import Grid


def from_file(path: str | Path, variable: str | None, grid: Grid) -> torch.Tensor:
    """Fields (sample, *shape) from a ``.npy``, NetCDF or Zarr file, or another of :mod:`solvers.frame_readers`.

    They are as stored (floats as float64, integers as int64), all axes before the grid's flattened.

    Args:
        path: the file or store.
        variable: its variable, for NetCDF and Zarr; may be left out where there is only one.
        grid: the grid that the last axes must match.

    Raises:
        InputError: for a missing or unreadable file, an unknown variable, another shape, NaN or infinity.
    """
    source = Path(path)
    if not source.exists():
        raise InputError(f"{source}: no such file")
    try:
        values = _values(source, variable)
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


def _values(source: Path, name: str | None) -> np.ndarray:
    # Files of other names may be NetCDF too.
    reader = reader_of(source) or READERS["netcdf"]
    if reader.pictures:
        raise ValueError("grey values are no field")
    names = list(reader.dims_by_variable(source))
    if reader.variables is None:
        return reader.stored(source).values
    if name is None and len(names) == 1:
        name = names[0]
    if name not in names:
        raise InputError(f"{source}: variable {name!r} not found; there are: {', '.join(names) or 'none'}")
    return reader.stored(source, name).values
