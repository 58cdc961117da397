"""The quantities of interest a sweep stores: their names, units and meaning, and the one call that computes
them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from solvers.cahn_hilliard import CahnHilliard
from solvers.frames import Frames
from solvers.grain_growth import GrainGrowth
from solvers.grid import Grid
from solvers.qois.grains import (
    QUANTILE_LEVELS,
    boundary_density,
    boundary_threshold,
    grain_statistics,
    label_grains,
)
from solvers.qois.interfaces import domain_size_interface, interface_density_of, interface_width
from solvers.qois.spectra import mean, spectrum, structure_factor_wavenumbers

CH = "cahn_hilliard"
GG = "grain_growth"


@dataclass(frozen=True)
class QoiInfo:
    """What a quantity of interest is.

    Attributes:
        units: CF-style units; model units are written as powers of ``length`` and ``energy``; "1" is
            dimensionless.
        long_name: a few words for axes and tables.
        process: the processes that have it.
        extra_dim: name of the axis after time (``"k"``, ``"quantile"``), or None.
    """

    units: str
    long_name: str
    process: tuple[str, ...]
    extra_dim: str | None = None


QOIS: dict[str, QoiInfo] = {
    "free_energy": QoiInfo("energy", "free energy", (CH, GG)),
    "mean": QoiInfo("1", "spatial mean of the field", (CH, GG)),
    "domain_size": QoiInfo("length", "domain size", (CH,)),
    "domain_size_interface": QoiInfo("length", "domain size from interface length", (CH,)),
    "interface_density": QoiInfo("1/length", "interface length per area", (CH, GG)),
    "structure_factor": QoiInfo("length^2", "structure factor", (CH,), "k"),
    "grain_count": QoiInfo("1", "number of grains", (GG,)),
    "mean_grain_area": QoiInfo("length^2", "mean grain area", (GG,)),
    "grain_area_quantile": QoiInfo("length^2", "quantiles of the grain area", (GG,), "quantile"),
}


def qois_of(process: str) -> dict[str, QoiInfo]:
    """The rows of :data:`QOIS` that a process has."""
    return {name: info for name, info in QOIS.items() if process in info.process}


def extra_coordinates(grid: Grid) -> dict[str, torch.Tensor]:
    """Values along the extra axes: ``k`` (rad/length) and ``quantile`` (levels in [0, 1]), float64."""
    return {
        "k": structure_factor_wavenumbers(grid),
        "quantile": torch.tensor(QUANTILE_LEVELS, dtype=torch.float64),
    }


def evaluate_qois(problem: CahnHilliard | GrainGrowth, frames: Frames) -> dict[str, torch.Tensor]:
    """Every quantity of :data:`QOIS` that the problem's process has.

    Args:
        problem: a ``CahnHilliard`` or ``GrainGrowth``; its kappa and gamma are numbers or (batch,).
        frames: ``field`` (batch, time, y, x), ``free_energy`` (batch, time), and for grains ``grain_id`` or
            None (then grains are found in phi, see ``label_grains``).

    Returns:
        name -> (batch, time) or (batch, time, K). Samples that are not finite come back as NaN.

    Raises:
        InputError: if the frames do not fit the problem's grid.
    """
    if isinstance(problem, GrainGrowth):
        return _grain_growth_qois(problem, frames)
    return _cahn_hilliard_qois(problem, frames)


def _cahn_hilliard_qois(problem: CahnHilliard, frames: Frames) -> dict[str, torch.Tensor]:
    grid = problem.grid
    sums = spectrum(frames.field, grid)
    width = interface_width(problem.kappa, problem.well.scale)
    density = interface_density_of(sums.gradient_square / problem.well.half_width**2, width)
    return {
        "free_energy": frames.free_energy,
        "mean": mean(frames.field, grid),
        "domain_size": 2 * math.pi / sums.mean_wavenumber,
        "domain_size_interface": domain_size_interface(density),
        "interface_density": density,
        "structure_factor": sums.structure_factor,
    }


def _grain_growth_qois(problem: GrainGrowth, frames: Frames) -> dict[str, torch.Tensor]:
    grid = problem.grid
    finite = torch.isfinite(frames.field).flatten(-grid.ndim).all(-1)
    if frames.grain_id is None:
        grain_id = label_grains(frames.field, grid, boundary_threshold(problem.gamma))
    else:
        grain_id = frames.grain_id
    values = {"interface_density": boundary_density(grain_id, grid), **grain_statistics(grain_id, grid)}
    known = {
        name: torch.where(finite.reshape(finite.shape + (1,) * (v.ndim - finite.ndim)), v, torch.nan)
        for name, v in values.items()
    }
    return {"free_energy": frames.free_energy, "mean": mean(frames.field, grid), **known}
