"""Curves of quantities of interest read from sweep stores, in dimensionless groups.

With mobility M, well height W, half the distance between the wells h and cell size dx, a curve depends on scaled time
tau = M W t / dx^2 (M t for grain growth), kappa' = kappa / (W dx^2), the scaled composition, mobility contrast or
gamma, the start's amplitude or number of grains, and the box in cells. Points that differ in mobility alone are one
trajectory read at other times, so their curves are joined.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import xarray as xr

from solvers.errors import InputError
from solvers.processes.free_energies import DoubleWell
from solvers.processes.registry import process_named
from solvers.qois import QOIS, qois_of
from surrogate.processes import learned_process

STORE_FORMAT = "phasetwin-sweep"
USABLE = ("done", "verified")
#: Parameter -> group in files of emulators, where they differ.
_GROUP_NAMES = {"mobility_contrast": "contrast"}
#: What opening and reading a damaged or missing store raises.
UNREADABLE = (OSError, ValueError, KeyError, TypeError, RuntimeError)


def parameter_groups(process: str) -> dict[str, str]:
    """Parameter -> group, without the parameter that scales time, and last the number of the random start, which is
    the same for all points of a store."""
    info = process_named(process)
    names = [n for n in info.parameter_names if n != info.time_scale]
    return {n: _GROUP_NAMES.get(n, n) for n in (*names, learned_process(process).start_parameter)}


@dataclass(frozen=True)
class Setting:
    """What turns groups into a sweep's own units.

    Attributes:
        process: ``cahn_hilliard`` or ``grain_growth``.
        shape: cells (y, x).
        boundary: ``periodic`` or ``no_flux``.
        spacing: dx.
        start: kind of the initial condition.
        rho, ca, cb: the double well; those of the standard one for grain growth.
    """

    process: str
    shape: tuple[int, int]
    boundary: str
    spacing: float
    start: str
    rho: float = 0.25
    ca: float = -1.0
    cb: float = 1.0

    @property
    def well(self) -> DoubleWell:
        """The double well."""
        return DoubleWell(rho=self.rho, ca=self.ca, cb=self.cb)

    def scaled_time(self, mobility: np.ndarray) -> np.ndarray:
        """tau per unit of time."""
        return learned_process(self.process).scaled_time(mobility, self.well.scale, self.spacing)

    def groups(self, parameters: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The groups of parameters other than mobility, float64, in the order of :func:`parameter_groups`."""
        well = self.well
        units = {
            "kappa": (0.0, well.scale * self.spacing**2),
            "composition": (well.centre, well.half_width),
            "amplitude": (0.0, well.half_width),
        }
        found = {}
        for name, group in parameter_groups(self.process).items():
            if name in parameters:
                offset, unit = units.get(name, (0.0, 1.0))
                found[group] = (parameters[name] - offset) / unit
        return found

    def unit(self, qoi: str) -> tuple[float, float]:
        """(offset, factor): a stored value is offset + factor * the dimensionless one."""
        well, dx = self.well, self.spacing
        if qoi == "mean":
            return well.centre, well.half_width
        if qoi == "structure_factor":
            return 0.0, (well.half_width * dx) ** 2
        units = {"1": 1.0, "length": dx, "1/length": 1.0 / dx, "length^2": dx**2}
        units["energy"] = well.half_width**2 * well.scale * dx**2
        return 0.0, units[QOIS[qoi].units]

    def same_curves(self, other: Setting) -> bool:
        """Whether both give the same dimensionless curves: cell size and well do not matter."""
        return (self.process, self.shape, self.boundary, self.start) == (
            other.process,
            other.shape,
            other.boundary,
            other.start,
        )


@dataclass(frozen=True)
class Trajectory:
    """One trajectory: scaled times (time,), increasing, and dimensionless values (time,) or (time, extra)."""

    site: tuple[float, ...]
    start: tuple[Any, ...]
    shared: bool
    tau: np.ndarray
    values: dict[str, np.ndarray]


@dataclass(frozen=True)
class Curves:
    """What stores hold.

    Attributes:
        setting: of the first store.
        groups: names of the groups, in the order of a trajectory's ``site``.
        trajectories: all usable ones.
        extra: coordinates of the extra axes, dimensionless.
    """

    setting: Setting
    groups: tuple[str, ...]
    trajectories: tuple[Trajectory, ...]
    extra: dict[str, np.ndarray]


def read_curves(paths: Sequence[str], qois: Sequence[str] | None) -> Curves:
    """Read stores.

    Args:
        paths: of finished stores of one process, box and kind of start.
        qois: names to read; None reads all.

    Raises:
        InputError: if a store cannot be read, the stores do not belong together, or nothing in them is done.
    """
    if not paths:
        raise InputError("emulator: at least one store, but got none")
    stores = [_open(str(path)) for path in paths]
    settings = [_setting(ds, path) for ds, path in zip(stores, paths, strict=True)]
    for path, setting in zip(paths, settings, strict=True):
        if not setting.same_curves(settings[0]):
            raise InputError(f"{path}: same process, box and start as {paths[0]} ({settings[0]}), but got {setting}")
    known = [n for n in qois_of(settings[0].process) if all(n in ds for ds in stores)]
    wanted = list(known if qois is None else qois)
    if not wanted or not set(wanted) <= set(known):
        raise InputError(f"emulator: quantities out of {', '.join(known)}, but got {', '.join(wanted) or 'none'}")
    joined: dict[tuple[Any, ...], list[Trajectory]] = {}
    names: tuple[str, ...] = ()
    for ds, setting, path in zip(stores, settings, paths, strict=True):
        try:
            names = _collect(ds, setting, wanted, joined)
        except UNREADABLE as error:
            raise InputError(f"{path}: the store is damaged: {error}") from None
    if not joined:
        raise InputError(f"{', '.join(map(str, paths))}: finished points, but none is done; run the sweep first")
    extra = {
        n: stores[0][n].values * (settings[0].spacing if n == "k" else 1.0) for n in ("k", "quantile") if n in stores[0]
    }
    trajectories = tuple(_join(parts) for parts in joined.values())
    return Curves(settings[0], names, trajectories, extra)


def _open(path: str) -> xr.Dataset:
    try:
        # Gathered metadata may be older than the store where its writer was killed.
        ds = xr.open_zarr(path, consolidated=False, chunks=None, zarr_format=3)
    except UNREADABLE as error:
        text = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: expected a sweep store, but it cannot be read: {text}") from None
    if ds.attrs.get("format") != STORE_FORMAT or "status" not in ds:
        raise InputError(f"{path}: expected a sweep store, but found another Zarr group")
    return ds


def _config(ds: xr.Dataset) -> dict[str, Any]:
    return json.loads(str(ds.attrs["config"]))


def _setting(ds: xr.Dataset, path: str) -> Setting:
    try:
        config = _config(ds)
        grid, well = config["grid"], config.get("well") or {}
        shape = (int(grid["shape"][0]), int(grid["shape"][1]))
        return Setting(config["process"], shape, grid["boundary"], grid["spacing"], config["initial"]["kind"], **well)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: a store with its resolved configuration, but it lacks {error}") from None


def _start_parameters(ds: xr.Dataset) -> dict[str, float]:
    initial = _config(ds)["initial"]
    return {n: float(initial[n]) for n in ("amplitude", "grains") if n in initial}


def _collect(
    ds: xr.Dataset, setting: Setting, qois: Sequence[str], joined: dict[tuple[Any, ...], list[Trajectory]]
) -> tuple[str, ...]:
    """Add a store's usable trajectories, by what identifies them; returns the names of the groups."""
    config = _config(ds)
    realizations = config["realizations"]
    shared = not realizations.get("independent", False)
    count = ds.sizes["point"]
    parameters = {
        n: ds[n].values.astype(float) for n in ("mobility", *parameter_groups(setting.process)) if n in ds.coords
    }
    parameters |= {n: np.full(count, v) for n, v in _start_parameters(ds).items()}
    groups = setting.groups(parameters)
    rate = setting.scaled_time(parameters["mobility"])
    times = ds["time"].values.astype(float)
    values = {}
    for name in qois:
        offset, factor = setting.unit(name)
        values[name] = (ds[name].values - offset) / factor
    for point, realization in np.argwhere(_usable(ds)):
        # Points of one problem may differ in the last digits of their groups.
        site = tuple(float(f"{groups[n][point]:.12g}") for n in groups)
        identity = (site, shared, int(realizations.get("seed", 0)), int(realization), config["initial"].get("file", ""))
        own = {n: v[point, realization] for n, v in values.items()}
        joined.setdefault(identity, []).append(Trajectory(site, identity[2:], shared, rate[point] * times, own))
    return tuple(groups)


def _usable(ds: xr.Dataset) -> np.ndarray:
    """bool (point, realization): finished and, where a surrogate computed it, inside its domain."""
    flags = dict(zip(str(ds["status"].attrs["flag_meanings"]).split(), ds["status"].attrs["flag_values"], strict=True))
    usable = np.isin(ds["status"].values, [flags[name] for name in USABLE])
    return usable & (ds["trust"].values > 0.5) if "trust" in ds else usable


def _join(parts: list[Trajectory]) -> Trajectory:
    """One trajectory of the curves of several mobilities, times in order, none twice."""
    tau = np.concatenate([p.tau for p in parts])
    order = np.argsort(tau, kind="stable")
    ordered = tau[order]
    order = order[np.concatenate([[True], np.diff(ordered) > 1e-9 * ordered[1:]])]
    values = {n: np.concatenate([p.values[n] for p in parts])[order] for n in parts[0].values}
    return Trajectory(parts[0].site, parts[0].start, parts[0].shared, tau[order], values)


def setting_from_dict(data: Mapping[str, Any]) -> Setting:
    """The setting that ``dataclasses.asdict`` wrote, by way of JSON."""
    return Setting(**{**data, "shape": (int(data["shape"][0]), int(data["shape"][1]))})


def setting_as_dict(setting: Setting) -> dict[str, Any]:
    """For JSON."""
    return asdict(setting)
