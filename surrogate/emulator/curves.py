"""Curves of quantities of interest in dimensionless groups, as sweep stores hold them.

Points that differ in mobility alone are one trajectory read at other times, so their curves are joined.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from solvers.errors import InputError
from solvers.processes.registry import process_named
from solvers.qois.registry import QOIS
from surrogate.setting import Setting
from sweeps.store.dataset import FinishedSamples, finished_samples

#: What makes curves those of one trajectory: groups, whether points share starts, seed, realization, file of the start.
Identity = tuple[tuple[float, ...], bool, int, int, str]


@dataclass(frozen=True)
class CurveTrajectory:
    """One trajectory: scaled times (time,), increasing, and dimensionless values (time,) or (time, extra).

    ``site`` are its groups, ``start`` identifies its start, which points of other groups have too where it is
    ``shared``.
    """

    site: tuple[float, ...]
    start: tuple[int | str, ...]
    shared: bool
    tau: np.ndarray
    values: dict[str, np.ndarray]


@dataclass(frozen=True)
class StatisticsCurves:
    """The usable trajectories of stores, in the units of the first one's setting.

    ``groups`` names a trajectory's ``site``, ``extra`` holds the dimensionless coordinates of the extra axes.
    """

    setting: Setting
    groups: tuple[str, ...]
    trajectories: tuple[CurveTrajectory, ...]
    extra: dict[str, np.ndarray]


def read_curves(paths: Sequence[str], qois: Sequence[str] | None) -> StatisticsCurves:
    """Quantities (all for None) of finished stores of one process, box and kind of start.

    Raises:
        InputError: if a store cannot be read, the stores do not belong together, or nothing in one is done.
    """
    if not paths:
        raise InputError("emulator: at least one store, but got none")
    stores = [finished_samples(path) for path in paths]
    settings = [_setting(samples, path) for samples, path in zip(stores, paths, strict=True)]
    for path, setting in zip(paths, settings, strict=True):
        if not setting.same_curves(settings[0]):
            raise InputError(f"{path}: same process, box and start as {paths[0]} ({settings[0]}), but got {setting}")
    known = [
        n for n in stores[0].quantities if settings[0].scales(n) and all(n in samples.quantities for samples in stores)
    ]
    wanted = list(known if qois is None else qois)
    if not wanted or not set(wanted) <= set(known):
        raise InputError(f"emulator: quantities out of {', '.join(known)}, but got {', '.join(wanted) or 'none'}")
    parts: dict[Identity, list[CurveTrajectory]] = defaultdict(list)
    names: tuple[str, ...] = ()
    for samples, setting in zip(stores, settings, strict=True):
        names = _collect(samples, setting, wanted, parts)
    scale = {"1/length": settings[0].spacing}
    axes = {axis.name: axis for name in wanted if (axis := QOIS[name].axis)}
    extra = {name: stores[0].coordinate(name) * scale.get(axis.units, 1.0) for name, axis in axes.items()}
    return StatisticsCurves(settings[0], names, tuple(_join(p) for p in parts.values()), extra)


def _setting(samples: FinishedSamples, path: str) -> Setting:
    try:
        return Setting.from_config(samples.config)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _collect(
    samples: FinishedSamples,
    setting: Setting,
    qois: Sequence[str],
    parts: dict[Identity, list[CurveTrajectory]],
) -> tuple[str, ...]:
    """Add a store's trajectories, by what identifies them; returns the names of the groups."""
    realizations = samples.config["realizations"]
    shared = not realizations.get("independent", False)
    parameters = samples.parameters()
    groups = setting.groups(parameters)
    rate = setting.scaled_time(parameters[str(process_named(setting.process).time_scale)])
    values = {}
    for name in qois:
        offset, factor = setting.unit(name)
        values[name] = (samples.quantity(name) - offset) / factor
    seed, file = int(realizations.get("seed", 0)), str(samples.config["initial"].get("file", ""))
    for i, realization in enumerate(samples.realization.tolist()):
        # Points of one problem may differ in the last digits of their groups.
        site = tuple(float(f"{group[i]:.12g}") for group in groups.values())
        start = (seed, realization, file)
        own = {n: v[i] for n, v in values.items()}
        parts[(site, shared, *start)].append(CurveTrajectory(site, start, shared, rate[i] * samples.times, own))
    return tuple(groups)


def _join(parts: list[CurveTrajectory]) -> CurveTrajectory:
    """One trajectory of the curves of several mobilities, times in order, none twice."""
    tau = np.concatenate([p.tau for p in parts])
    order = np.argsort(tau, kind="stable")
    ordered = tau[order]
    order = order[np.concatenate([[True], np.diff(ordered) > 1e-9 * ordered[1:]])]
    values = {n: np.concatenate([p.values[n] for p in parts])[order] for n in parts[0].values}
    return CurveTrajectory(parts[0].site, parts[0].start, parts[0].shared, tau[order], values)
