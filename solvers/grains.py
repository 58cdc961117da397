"""Grain growth from labels: any number of grains, each cell's grain followed through time."""

from __future__ import annotations

import numpy as np
import torch

from solvers.checks import Times
from solvers.errors import InputError
from solvers.frames import Frames
from solvers.grain_growth import GrainGrowth
from solvers.grid import Grid
from solvers.simulate import solve
from solvers.spectral import basis_for


def simulate_grains(
    problem: GrainGrowth,
    labels: torch.Tensor,
    times: Times,
    tolerance: float = 1e-3,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Frames:
    """Grain growth from a map of labels.

    Args:
        labels: (batch, *shape) non-negative integers: the grain of each cell. A label is one grain wherever it occurs.
        times, tolerance, dtype, device: as for :func:`solvers.simulate`.

    Returns:
        Frames with phi, the free energy, and the label of the grain that dominates each cell.

    Raises:
        InputError: wrong shapes, times, tolerance or values.
    """
    maps = check_labels(labels, problem.grid)
    rows = np.asarray(times, dtype=np.float64)
    parts = []
    for sample in range(len(maps)):
        one = problem.take(torch.tensor([sample]))
        start = order_parameters(maps[sample : sample + 1], problem.grid)
        names = torch.unique(maps[sample])
        solution = solve(one, start, rows[sample : sample + 1] if rows.ndim == 2 else rows, tolerance, dtype, device)
        phi = solution.states.square().sum(2)
        parts.append(Frames(phi, solution.free_energy, names[solution.states.argmax(2).cpu()].int()))
    return Frames(
        torch.cat([p.field for p in parts]),
        torch.cat([p.free_energy for p in parts]),
        torch.cat([p.grain_id for p in parts if p.grain_id is not None]),
    )


def check_labels(labels: torch.Tensor, grid: Grid) -> torch.Tensor:
    """``labels`` (batch, *shape) as an int64 CPU tensor.

    Raises:
        InputError: for another shape, an empty batch, or values that are not integers in [0, 2^31).
    """
    maps = torch.as_tensor(labels).detach().cpu()
    if maps.ndim != 1 + grid.ndim or tuple(maps.shape[1:]) != grid.shape or len(maps) == 0:
        raise InputError(f"labels: (batch, shape) with shape = {grid.shape}, but got {tuple(maps.shape)}")
    if maps.is_floating_point() or maps.is_complex() or maps.dtype == torch.bool:
        raise InputError(f"labels: integers, but got {maps.dtype}")
    if int(maps.min()) < 0 or int(maps.max()) >= 2**31:
        raise InputError(f"labels: in [0, 2^31), but got {int(maps.min())} to {int(maps.max())}")
    return maps.to(torch.int64)


def order_parameters(labels: torch.Tensor, grid: Grid, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """The dense start: one order parameter for each grain.

    The indicator of each grain, convolved with a Gaussian of standard deviation one cell as the boundary asks
    (band-limited: its spectrum has fallen to exp(-pi^2 / 2) at the grid's Nyquist wavenumber).

    Args:
        labels: (batch, *shape) non-negative integers, every sample with the same labels.

    Returns:
        (batch, grain, *shape), grains in increasing order of their labels; they sum to 1 in every cell.

    Raises:
        InputError: as :func:`check_labels`.
    """
    maps = check_labels(labels, grid)
    names = torch.unique(maps)
    indicators = (maps[:, None] == names.reshape(-1, *[1] * grid.ndim)).to(dtype)
    return smoothed(indicators, grid)


def smoothed(indicators: torch.Tensor, grid: Grid) -> torch.Tensor:
    """``indicators`` (..., *shape) convolved with a Gaussian of standard deviation one cell."""
    basis = basis_for(grid, indicators.dtype, indicators.device)
    kernel = torch.exp(-0.5 * grid.spacing**2 * basis.k2)
    return basis.inverse(basis.forward(indicators) * kernel)
