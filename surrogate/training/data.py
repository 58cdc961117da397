"""Training data: the fields of finished sweeps, by trajectory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from solvers.errors import InputError
from surrogate.processes import learned_process

_DONE = ("done", "verified")


@dataclass(frozen=True)
class TrajectorySet:
    """Trajectories at common scaled ages.

    Attributes:
        process: of all of them.
        fields: (trajectory, time, y, x) float16, composition scaled to [-1, 1] or phi.
        ages: (time,) scaled ages.
        groups: name -> (trajectory,) dimensionless groups.
        usable: (trajectory, time) frames that a model may start from.
        digest: sha256 of fields, ages and groups.
    """

    process: str
    fields: np.ndarray
    ages: np.ndarray
    groups: dict[str, np.ndarray]
    usable: np.ndarray
    digest: str

    def inputs(self) -> torch.Tensor:
        """Network inputs of the groups, (trajectory, group)."""
        return learned_process(self.process).group_inputs(self.groups)


def load_trajectories(stores: Sequence[str | Path], process: str) -> TrajectorySet:
    """The finished trajectories of sweep stores, all with the same scaled ages.

    Raises:
        InputError: for a store that cannot be read, of another process, without fields, or with other ages.
    """
    parts = [_load(Path(store), process) for store in stores]
    ages = parts[0][1]
    for store, part in zip(stores, parts, strict=True):
        if len(part[1]) != len(ages) or not np.allclose(part[1], ages, rtol=1e-4):
            raise InputError(
                f"{store}: its scaled ages differ from those of {stores[0]}; train on stores of equal times"
            )
    fields = np.concatenate([p[0] for p in parts])
    groups = {name: np.concatenate([p[2][name] for p in parts]) for name in parts[0][2]}
    usable = learned_process(process).trainable(fields, ages, groups)
    digest = hashlib.sha256()
    for array in (fields, ages, *(groups[name] for name in sorted(groups))):
        digest.update(np.ascontiguousarray(array).tobytes())
    return TrajectorySet(process, fields, ages, groups, usable, digest.hexdigest())


def _load(store: Path, process: str) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """fields float16 (trajectory, time, y, x), scaled ages (time,), groups by name."""
    import xarray as xr

    if not store.exists():
        raise InputError(f"{store}: no such store; run its sweep first (`phasetwin run`)")
    try:
        opened = xr.open_zarr(store, consolidated=False, zarr_format=3)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{store}: not a readable sweep store ({error})") from None
    with opened as ds:
        found = "grain_growth" if "gamma" in ds.coords else "cahn_hilliard"
        if found != process:
            raise InputError(f"{store}: a sweep of {found}, but the recipe is for {process}")
        if "field" not in ds or "time" not in ds["field"].dims:
            raise InputError(f"{store}: holds no fields at all times; run the sweep with `retain: fields`")
        spacing = _spacing(ds)
        kappa = ds["kappa"].to_numpy() / spacing**2
        rate = learned_process(process).age_per_time(ds["mobility"].to_numpy(), kappa, spacing)
        if np.ptp(rate) > 1e-4 * rate.max():
            raise InputError(f"{store}: scaled ages differ from point to point; choose mobilities that make them equal")
        done = np.isin(ds["status"].to_numpy(), _flags(ds["status"].attrs))
        point, realization = np.nonzero(done)
        if not len(point):
            raise InputError(f"{store}: no finished sample")
        fields = ds["field"].to_numpy().astype(np.float16)[point, realization]
        ages = ds["time"].to_numpy() * float(rate.mean())
        groups = {"kappa": kappa[point]}
        if process == "grain_growth":
            groups["gamma"] = ds["gamma"].to_numpy()[point]
        else:
            groups["composition"] = ds["composition"].to_numpy()[point]
            groups["contrast"] = ds["mobility_contrast"].to_numpy()[point]
    return fields, ages, groups


def _spacing(ds: object) -> float:
    coordinate = ds["x"].to_numpy()  # type: ignore[index]
    return float(coordinate[1] - coordinate[0])


def _flags(attributes: dict[str, object]) -> list[int]:
    meanings = str(attributes["flag_meanings"]).split()
    values = [int(v) for v in attributes["flag_values"]]  # type: ignore[attr-defined]
    return [value for value, name in zip(values, meanings, strict=True) if name in _DONE]
