"""The finished samples of a sweep store, as starts to roll out and statistics to compare with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from solvers import Grid
from solvers.errors import InputError
from solvers.processes.base import Problem
from solvers.processes.registry import process_named
from solvers.qois import qois_of

if TYPE_CHECKING:
    import xarray as xr

_DONE = ("done", "verified")


@dataclass(frozen=True)
class Case:
    """The samples of one store.

    Attributes:
        name: of the store.
        process: ``cahn_hilliard`` or ``grain_growth``.
        problem: the parameters of the samples, (sample,) each.
        initial: (sample, y, x) composition, or grain labels.
        times: (time,) in the store's units.
        truth: name -> (sample, time) or (sample, time, extra), what the sweep stored.
    """

    name: str
    process: str
    problem: Problem
    initial: torch.Tensor
    times: np.ndarray
    truth: dict[str, np.ndarray]


def store_cases(store: str | Path, process: str) -> Case:
    """Reads the finished samples of a store that kept the fields at its first time, 0, and statistics at all times.

    Raises:
        InputError: for a store that is missing, cannot be read, is of another process, was computed by a learned
            model, kept no start, or has no finished sample.
    """
    import xarray as xr

    path = Path(store)
    if not path.exists():
        raise InputError(f"{path}: no such store; run its sweep first (`phasetwin run`, or `make calibration-data`)")
    try:
        opened = xr.open_zarr(path, consolidated=False, zarr_format=3)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: not a readable sweep store ({error})") from None
    with opened as ds:
        return _case(path, ds, process)


def _case(path: Path, ds: xr.Dataset, process: str) -> Case:
    try:
        config = json.loads(ds.attrs["config"])
        found = str(config["process"])
        engine = str(config["engine"]["kind"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a sweep store (config: {error!r})") from None
    if found != process:
        raise InputError(f"{path}: a sweep of {found}, but the model is for {process}")
    if engine != "solver":
        raise InputError(f"{path}: found engine {engine}, allowed solver, which is what models are compared with")
    axis = "time_field" if "time_field" in ds.dims else "time"
    info = process_named(process)
    start = "grain_id" if "grain_id" in [f.name for f in info.fields] else "field"
    if start not in ds or axis not in ds.coords or float(ds[axis][0]) != 0.0 or float(ds["time"][0]) != 0.0:
        raise InputError(f"{path}: holds no start; run the sweep with time 0 and `retain: {{fields_at: [0]}}`")
    point, realization = np.nonzero(np.isin(ds["status"].to_numpy(), _flags(ds["status"].attrs)))
    if not len(point):
        raise InputError(f"{path}: no finished sample")
    initial = ds[start].isel({axis: 0}).to_numpy()[point, realization]
    names = [p.name for p in info.parameters if not p.of_start]
    problem = _problem(process, config, {n: ds[n].to_numpy()[point] for n in names})
    truth = {name: ds[name].to_numpy()[point, realization] for name in qois_of(process)}
    return Case(path.stem, process, problem, torch.from_numpy(initial), ds["time"].to_numpy(), truth)


def _problem(process: str, config: Mapping[str, Any], parameters: Mapping[str, np.ndarray]) -> Problem:
    box = config["grid"]
    grid = Grid(tuple(box["shape"]), box["spacing"], box["boundary"])
    values = {n: torch.from_numpy(np.asarray(v, dtype=np.float64)) for n, v in parameters.items()}
    info = process_named(process)
    return info.build(grid, values, {name: config.get(name) for name in info.options})


def _flags(attributes: Mapping[str, Any]) -> list[int]:
    meanings = str(attributes["flag_meanings"]).split()
    return [int(v) for v, name in zip(attributes["flag_values"], meanings, strict=True) if name in _DONE]
