"""How much interface a two-phase field holds, and how curved it is."""

from __future__ import annotations

import math

import torch

from solvers.grids.even_extension import extend, extended
from solvers.grids.grid import Grid
from solvers.processes.parameters import Parameter, trailing
from solvers.qois.spectra import chunks, flat_frames, spectrum

# int (du/dx)^2 dx across one equilibrium interface u = tanh(x / sqrt(2 kappa/W)), in units of 1 /
# sqrt(kappa/W).
GRADIENT_PER_INTERFACE = 2 * math.sqrt(2) / 3


def interface_density_of(gradient_square: torch.Tensor, width: Parameter) -> torch.Tensor:
    """Interface length per area (batch, ...), 1/length, from <|grad u|^2>, u scaled to [-1, 1].

    Args:
        gradient_square: (batch, ...), 1/length^2.
        width: sqrt(kappa/W), a number or (batch,), length.
    """
    return gradient_square * trailing(width, gradient_square) / GRADIENT_PER_INTERFACE


def interface_density(
    c: torch.Tensor,
    grid: Grid,
    kappa: Parameter = 1.0,
    well_scale: Parameter = 1.0,
    half_width: Parameter = 1.0,
) -> torch.Tensor:
    """Interface length per area of a Cahn-Hilliard field (area per volume in 3-D): (batch, ..., y, x) -> (batch, ...).

    s = < |grad u|^2 > / (2 sqrt(2) / 3) * sqrt(kappa/W) in 1/length, u = (c - centre) / half_width: the integrated
    squared gradient in units of what one equilibrium interface u = tanh(x / sqrt(2 kappa/W)) contributes per length.
    Exact for equilibrium profiles far apart; while phases still separate, an effective density that grows from nearly
    zero. Cahn and Hilliard, J. Chem. Phys. 28, 258 (1958), doi:10.1063/1.1744102.

    Args:
        c: (batch, ..., y, x).
        grid: its grid.
        kappa: gradient-energy coefficient, a number or (batch,), length^2 times the unit of ``well_scale``.
        well_scale: W of mu = W (u^3 - u) - kappa lap u, a number or (batch,).
        half_width: half the distance between the two phases in the units of c, a number or (batch,).

    Raises:
        InputError: if the field does not fit the grid.
    """
    gradient_square = spectrum(c, grid).gradient_square
    scaled = gradient_square / trailing(half_width, gradient_square) ** 2
    square = torch.as_tensor(kappa, dtype=torch.float64) / torch.as_tensor(well_scale, dtype=torch.float64)
    return interface_density_of(scaled, square.sqrt())


def domain_size_interface(density: torch.Tensor) -> torch.Tensor:
    """Domain size L = 2 / (interface length per area), length; inf without any interface.

    For lamellae, which have two interfaces per period, it is the period.
    """
    return 2 / density


def mean_curvature(c: torch.Tensor, grid: Grid, centre: Parameter = 0.0, half_width: Parameter = 1.0) -> torch.Tensor:
    """Mean absolute curvature of the interfaces, (batch, ..., y, x) -> (batch, ...), 1/length; NaN for none.

    H = int |div(grad u / |grad u|)| w dA / int w dA with w = |grad u| max(0, 1 - u^2)^2, u = (c - centre) / half_width:
    by the coarea formula the average of |curvature| along the level lines of u, weighted towards u = 0 (1/R for a
    circle). Spectral derivatives. In 3-D the sum of the two principal curvatures.

    Args:
        centre, half_width: the middle between the phases and half their distance, numbers or (batch,).

    Raises:
        InputError: if the field does not fit the grid.
    """
    middle, half = trailing(centre, c), trailing(half_width, c)
    frames = extend(flat_frames((c - middle) / half, grid), grid)
    box = extended(grid)
    parts = [_curvature_of(chunk, box) for chunk in chunks(frames, box)]
    return torch.cat(parts).reshape(c.shape[: -grid.ndim])


def _curvature_of(u: torch.Tensor, box: Grid) -> torch.Tensor:
    """(frame, y, x) -> (frame,): the average described in :func:`mean_curvature`, on a periodic box."""
    axes = tuple(range(-box.ndim, 0))
    modes = torch.fft.rfftn(u, dim=axes)
    waves = _derivative_factors(box, u)
    first = [torch.fft.irfftn(1j * k * modes, s=box.shape, dim=axes) for k in waves]
    slope_square = torch.stack(first).square().sum(0)
    bending = torch.zeros_like(u)
    for i, along in enumerate(waves):
        for j, across in enumerate(waves[: i + 1]):
            second = torch.fft.irfftn(-along * across * modes, s=box.shape, dim=axes)
            if i == j:
                bending = bending + second * (slope_square - first[i].square())
            else:
                bending = bending - 2 * second * first[i] * first[j]
    slope = slope_square.sqrt()
    level = (1 - u.square()).clamp(min=0).square()
    weight = slope * level
    # |curvature| * slope = |bending| / slope^2; where the slope vanishes so does the weight.
    tiny = torch.finfo(u.dtype).tiny ** 0.5
    turning = bending.abs() / slope_square.clamp(min=tiny) * level
    return turning.flatten(1).sum(1) / weight.flatten(1).sum(1)


def _derivative_factors(box: Grid, like: torch.Tensor) -> list[torch.Tensor]:
    """k along each axis, shaped to broadcast over the half spectrum, rad/length.

    The Nyquist mode is left out: a first derivative of it has no meaning on the grid.
    """
    waves = []
    for axis, count in enumerate(box.shape):
        frequencies = torch.fft.rfftfreq if axis == box.ndim - 1 else torch.fft.fftfreq
        k = 2 * math.pi * frequencies(count, d=box.spacing, dtype=like.dtype, device=like.device)
        if count % 2 == 0:
            k[count // 2] = 0.0
        waves.append(k.reshape((-1,) + (1,) * (box.ndim - 1 - axis)))
    return waves
