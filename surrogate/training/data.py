"""Training data: the fields of finished sweeps, by trajectory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from solvers.errors import InputError
from solvers.processes.free_energies import DoubleWell
from solvers.processes.registry import process_named
from surrogate.processes import learned_process
from surrogate.setting import Setting
from sweeps.store.dataset import finished_samples


@dataclass(frozen=True)
class TrajectorySet:
    """Trajectories at common scaled ages (time,).

    Attributes:
        fields: (trajectory, time, y, x) float16, composition scaled to [-1, 1] or phi.
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
    parts = [_load(str(store), process) for store in stores]
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


def _load(store: str, process: str) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Network fields float16 (trajectory, time, y, x), scaled ages (time,), groups by name."""
    samples = finished_samples(store)
    if samples.process != process:
        raise InputError(f"{store}: a sweep of {samples.process}, but the recipe is for {process}")
    if not np.array_equal(samples.field_times, samples.times):
        raise InputError(f"{store}: holds no fields at all times; run the sweep with `retain: fields`")
    setting, parameters = Setting.from_config(samples.config), samples.parameters()
    groups = {name: setting.groups(parameters)[name] for name in setting.learned.groups}
    mobility = parameters[str(process_named(process).time_scale)] * setting.well.scale
    rate = setting.learned.age_per_time(mobility, groups["kappa"], setting.spacing)
    if np.ptp(rate) > 1e-4 * rate.max():
        raise InputError(f"{store}: scaled ages differ from point to point; choose mobilities that make them equal")
    if setting.well == DoubleWell():
        fields = samples.fields(dtype="float16")
    else:
        well = setting.well
        fields = ((samples.fields() - well.centre) / well.half_width).astype(np.float16)
    return fields, samples.times * float(rate.mean()), groups
