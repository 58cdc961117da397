"""The prior of the start: how far the first guess may be off.

A start is ``base + increment``. Increments are Gaussian fields with the spectrum of an interface that is moved a
little: its profile changes by sech^2(x / (sqrt(2) xi)), whose transform is k xi / sinh(pi k xi / sqrt(2)). Anything
rougher is noise of the camera. They are large where the guess has an interface and small in the bulk, which relaxes by
itself. They are written in whitened coefficients w (a unit normal prior). The mean of a composition is one of them: it
is estimated too, and conserved by the dynamics.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import ndimage

from solvers.grids.grid import Grid
from solvers.grids.resampling import resample
from solvers.grids.spectral_basis import Basis, basis_for
from studies.twin.processes import TwinProcess

#: Interface length of increments over that of the material: kappa is not known yet, and too smooth is worse.
SHARPER = 0.8


def where_uncertain(process: TwinProcess, base: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Share (component, *shape) of an increment that each cell may take: 1 at interfaces, ``bulk`` elsewhere.

    ``base`` (component, *shape) is the guess on an internal grid.
    """
    interface = process.model.interfaces(base.double().numpy())
    mode = "wrap" if grid.boundary == "periodic" else "reflect"
    cells = base.shape[-1] / grid.shape[-1]
    # As wide as an interface may be off.
    wide = ndimage.gaussian_filter(interface, (0.0, cells, cells), mode=mode)
    return torch.from_numpy(np.clip(2.0 * wide, process.bulk, 1.0)).to(base.dtype)


def increment_spread(amplitude: float, basis: Basis, kappa: float) -> torch.Tensor:
    """Standard deviation (F,) of each coefficient of an increment; their variances add up to that of a cell.

    ``amplitude`` is that of a cell at an interface; kappa sets the interface length sqrt(kappa) (W = 1).
    """
    x = (math.pi / math.sqrt(2.0) * SHARPER * math.sqrt(kappa)) * basis.k2.double().sqrt()
    shape = torch.where(x > 1e-4, x / torch.sinh(x.clamp(1e-4, 50.0)), 1.0)
    total = (basis.weights.double() * shape.square()).sum()
    return (amplitude * shape / total.sqrt()).to(basis.k2.dtype).clamp_min(1e-12)


def rewhitened(
    w: torch.Tensor, amplitude: float, grid: Grid, old: tuple[tuple[int, ...], float], new: tuple[Basis, float]
) -> torch.Tensor:
    """Whitened increments (..., F) brought from an internal grid and kappa to another basis and kappa."""
    (shape, kappa), (basis, new_kappa) = old, new
    if tuple(shape) == tuple(basis.shape) and kappa == new_kappa:
        return w
    before = basis_for(grid, w.dtype, "cpu", tuple(shape))
    field = resample(before.inverse(w * increment_spread(amplitude, before, kappa)), tuple(basis.shape), grid.boundary)
    fresh = basis.forward(field) / increment_spread(amplitude, basis, new_kappa)
    # Detail that the new spectrum hardly allows is cut off: it would cost more than it explains.
    return fresh.clamp(-6.0, 6.0)
