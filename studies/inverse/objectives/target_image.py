"""A micrograph as a target: its statistics, computed as those of the sweep's own fields are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from solvers import qois
from solvers.errors import InputError
from solvers.frame_readers import read_picture, reader_of
from solvers.grids.grid import Grid
from solvers.processes.registry import PROCESSES, process_named
from studies.inverse.config import ImageObjective
from studies.inverse.objectives.criteria import Criterion
from studies.inverse.objectives.features import FieldFeature
from studies.inverse.objectives.losses import CurveLoss
from sweeps.config.sweep import SweepConfig

if TYPE_CHECKING:
    import torch

SMALLEST_SIDE = 8


def image_criterion(objective: ImageObjective, sweep: SweepConfig, at: float, key: str) -> Criterion:
    """The distance to an image; InputError for a process without two phases, or an image that cannot be used."""
    import torch

    process = process_named(sweep.process)
    if process.phases is None:
        having = ", ".join(p.name for p in PROCESSES.values() if p.phases is not None)
        raise InputError(f"{key}.image: found process {sweep.process}, allowed {having}: an image of two phases")
    low, high = process.phase_values(sweep.options)
    picture = composition_of(objective, low, high, key)
    spacing = objective.spacing or sweep.grid.spacing
    own = Grid(shape=(picture.shape[0], picture.shape[1]), spacing=spacing, boundary=objective.boundary)
    grid = sweep.grid.build()
    axes = _common_axes(grid, own)
    ends = np.cumsum([len(axes[name]) if name in axes else 1 for name in objective.statistics]).tolist()
    statistic = _Statistics(objective.statistics, axes, 0.5 * (low + high))
    target = statistic(torch.from_numpy(picture)[None], own)[0].numpy()
    if not np.isfinite(target).all():
        raise InputError(f"{key}.image: found {objective.image} without two phases in it, allowed a picture of two")
    parts = tuple(zip([0, *ends[:-1]], ends, strict=True))
    loss = CurveLoss(target, np.ones(ends[-1]), parts, objective.tolerance, objective.realizations)
    name = Path(objective.image).name
    feature = FieldFeature(at, grid, statistic, ends[-1])
    return Criterion(f"{name}@{at:g}", key, feature, loss, "1", f"distance to {name}")


def _common_axes(grid: Grid, own: Grid) -> dict[str, np.ndarray]:
    """Abscissae of curves that both the sweep's grid and the image have."""
    k = qois.structure_factor_wavenumbers(grid).numpy()
    most = min(math.pi / grid.spacing, math.pi / own.spacing)
    least = float(qois.structure_factor_wavenumbers(own)[0])
    reach = 0.5 * min(_side(grid), _side(own))
    r = grid.spacing * np.arange(1, int(reach / grid.spacing) + 1)
    return {"structure_factor": k[(k <= most) & (k >= least * (1 - 1e-9))], "two_point_correlation": r}


def _side(grid: Grid) -> float:
    return min(grid.lengths) * (1 if grid.boundary == "periodic" else 2)


@dataclass(frozen=True)
class _Statistics:
    """(batch, y, x) to (batch, number): the statistics of ``names`` side by side, curves at common abscissae."""

    names: tuple[str, ...]
    axes: dict[str, np.ndarray]
    middle: float

    def __call__(self, fields: torch.Tensor, grid: Grid) -> torch.Tensor:
        return fields.new_tensor(np.concatenate([self._statistic(name, fields, grid) for name in self.names], axis=1))

    def _statistic(self, name: str, fields: torch.Tensor, grid: Grid) -> np.ndarray:
        if name == "fraction":
            return (fields > self.middle).double().mean((-1, -2)).numpy()[:, None]
        if name == "domain_size":
            return qois.domain_size(fields, grid).double().numpy()[:, None]
        axis, values = getattr(qois, name)(fields, grid)
        return np.stack([np.interp(self.axes[name], axis.numpy(), row) for row in values.double().numpy()])


def composition_of(objective: ImageObjective, low: float, high: float, key: str) -> np.ndarray:
    """The image as composition, float64 (y, x): the grey values of its two phases become those of the wells.

    Raises InputError for a file that is no grey picture of two phases.
    """
    grey = read_grey(Path(objective.image), key)
    dark, bright = _levels(grey, objective, key)
    # Overshoots beyond the phases are noise of the microscope or of compression.
    return low + (high - low) * np.clip((grey - dark) / (bright - dark), -0.25, 1.25)


def _levels(grey: np.ndarray, objective: ImageObjective, key: str) -> tuple[float, float]:
    if objective.levels != "auto":
        dark, bright = objective.levels
        if dark == bright:
            raise InputError(f"{key}.levels: found {dark:g} twice, allowed two different grey values")
        return dark, bright
    from skimage.filters import threshold_otsu

    if np.ptp(grey) == 0:
        raise InputError(f"{key}.image: found {objective.image} of one grey value, allowed a picture of two phases")
    threshold = threshold_otsu(grey)
    return float(np.median(grey[grey <= threshold])), float(np.median(grey[grey > threshold]))


def read_grey(path: Path, key: str) -> np.ndarray:
    """Grey values, float64 (y, x), from PNG, TIFF or npy; colours are averaged, row 0 is y = 0.

    Raises InputError for a file that cannot be read as a picture.
    """
    try:
        reader = reader_of(path)
        # Pictures of other suffixes, such as JPEG, are tried too.
        values = reader.stored(path).values if reader and reader.variables is None else read_picture(path).values
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"{key}.image: found {path}, which cannot be read ({reason}), allowed PNG, TIFF or npy"
        ) from None
    if values.ndim == 3 and values.shape[-1] in (3, 4):
        values = values[..., :3].mean(-1)
    if values.ndim != 2 or min(values.shape) < SMALLEST_SIDE or values.dtype.kind not in "fiub":
        raise InputError(
            f"{key}.image: found {path} of shape {values.shape}, allowed (y, x) of at least "
            f"{SMALLEST_SIDE} pixels a side"
        )
    values = np.asarray(values, dtype=np.float64)
    if not np.isfinite(values).all():
        raise InputError(f"{key}.image: found NaN or infinity in {path}, allowed finite grey values")
    return values
