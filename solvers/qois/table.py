"""The quantities of interest a sweep stores: their names, units and meaning, and the one call that computes
them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from solvers.grid import Grid
from solvers.qois.grains import (
    QUANTILE_LEVELS,
    boundary_density,
    boundary_threshold,
    grain_statistics,
    label_grains,
)
from solvers.qois.interfaces import domain_size_interface, interface_density_of
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
    "free_energy": QoiInfo("energy", "free energy of the box", (CH, GG)),
    "mean": QoiInfo("1", "spatial mean of the field", (CH, GG)),
    "domain_size": QoiInfo("length", "domain size (first moment of the structure factor)", (CH,)),
    "domain_size_interface": QoiInfo("length", "domain size (from the interface density)", (CH,)),
    "interface_density": QoiInfo("1/length", "interface length per area", (CH, GG)),
    "structure_factor": QoiInfo("length^2", "structure factor", (CH,), "k"),
    "grain_count": QoiInfo("1", "number of grains", (GG,)),
    "mean_grain_area": QoiInfo("length^2", "mean grain area", (GG,)),
    "grain_area_quantile": QoiInfo("length^2", "quantiles of the grain area", (GG,), "quantile"),
}


class FramesLike(Protocol):
    """What is measured: see ``solvers.Frames``."""

    field: torch.Tensor
    free_energy: torch.Tensor
    grain_id: torch.Tensor | None


def qois_of(process: str) -> dict[str, QoiInfo]:
    """The rows of :data:`QOIS` that a process has."""
    return {name: info for name, info in QOIS.items() if process in info.process}


def extra_coordinates(grid: Grid) -> dict[str, torch.Tensor]:
    """Values along the extra axes: ``k`` (rad/length) and ``quantile`` (levels in [0, 1]), float64."""
    return {
        "k": structure_factor_wavenumbers(grid),
        "quantile": torch.tensor(QUANTILE_LEVELS, dtype=torch.float64),
    }


def evaluate_qois(problem: Any, frames: FramesLike) -> dict[str, torch.Tensor]:
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
    return (
        _grain_growth_qois(problem, frames)
        if hasattr(problem, "gamma")
        else _cahn_hilliard_qois(problem, frames)
    )


def _cahn_hilliard_qois(problem: Any, frames: FramesLike) -> dict[str, torch.Tensor]:
    grid = problem.grid
    sums = spectrum(frames.field, grid)
    half_width = problem.well.half_width if problem.well is not None else 1.0
    scale = problem.well.scale if problem.well is not None else 1.0
    width = (torch.as_tensor(problem.kappa, dtype=torch.float64) / scale).sqrt()
    density = interface_density_of(sums.gradient_square / half_width**2, width)
    return {
        "free_energy": frames.free_energy,
        "mean": mean(frames.field, grid),
        "domain_size": 2 * math.pi / sums.mean_wavenumber,
        "domain_size_interface": domain_size_interface(density),
        "interface_density": density,
        "structure_factor": sums.structure_factor,
    }


def _grain_growth_qois(problem: Any, frames: FramesLike) -> dict[str, torch.Tensor]:
    grid = problem.grid
    finite = torch.isfinite(frames.field).flatten(-grid.ndim).all(-1)
    if frames.grain_id is None:
        gamma = float(torch.as_tensor(problem.gamma).double().mean())
        grain_id = label_grains(frames.field, grid, threshold=boundary_threshold(gamma))
    else:
        grain_id = frames.grain_id
    values = {"interface_density": boundary_density(grain_id, grid), **grain_statistics(grain_id, grid)}
    known = {
        name: torch.where(finite.reshape(finite.shape + (1,) * (v.ndim - finite.ndim)), v, torch.nan)
        for name, v in values.items()
    }
    return {"free_energy": frames.free_energy, "mean": mean(frames.field, grid), **known}
