"""Sweep stores made by hand, in the layout of :mod:`sweeps.store`, from the variables that a test is about."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sweeps.store.store import FORMAT, FORMAT_VERSION, REQUIRED


def write_sweep(path: Path, ds: xr.Dataset, config: Mapping[str, Any]) -> Path:
    """Write a dataset with ``status`` and parameters on ``point`` as a store; what else a store must have is added."""
    parameters = [str(name) for name in ds.coords if ds[name].dims == ("point",) and name not in ("point", "key")]
    points = np.arange(ds.sizes["point"])
    ds = ds.assign_coords(point=points, key=("point", points))
    empty = xr.zeros_like(ds["status"], dtype=np.float64).drop_attrs()
    ds = ds.assign({name: empty for name in REQUIRED if name not in ds})
    attributes = {"format": FORMAT, "format_version": FORMAT_VERSION, "coordinates": " ".join([*parameters, "key"])}
    ds.attrs = {**attributes, "config": json.dumps(config)}
    ds.to_zarr(path, mode="w", zarr_format=3, consolidated=False)
    return path
