"""Which Fourier modes a grid carries, how often each counts, and the shell of |k| each belongs to.

A periodic box is described by its real FFT: the half spectrum, where a mode away from kx = 0 and Nyquist stands for
itself and its complex conjugate. A no-flux box is described by the orthonormal cosine transform (DCT-II), whose
coefficients are the Fourier modes of the evenly extended box (twice as long along every axis), so its statistics are
exactly those of the mirrored box.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch

from solvers.grids.even_extension import extended
from solvers.grids.grid import Grid

# Dense products with a (mode, shell) matrix beat scattering as long as the matrix stays in the cache.
DENSE_ENTRIES = 2_000_000


@dataclass(frozen=True)
class ModeTable:
    """The modes of a grid, flattened over the spectrum.

    Attributes:
        wavenumber: (mode,) float64, |k| in rad/length.
        weight: (mode,) float64, 0 at k = 0; ``weight * transform.abs()**2`` is what the mode, with its mirror images,
            contributes to the mean square of the field.
        shell: (mode,) int64, index into ``shell_wavenumber``; 0 for k = 0, whose weight is 0.
        shell_wavenumber: (K,) float64, centres of the shells: j * 2 pi / max(L), j = 1 ... K.
        shell_count: (K,) float64, number of wave vectors in each shell (of the extended box).
        area: area (volume) of the extended box, length**ndim.
    """

    wavenumber: torch.Tensor
    weight: torch.Tensor
    shell: torch.Tensor
    shell_wavenumber: torch.Tensor
    shell_count: torch.Tensor
    area: float


def _axis_frequencies(grid: Grid) -> list[torch.Tensor]:
    """Cycles per length along each axis of the transform, float64."""
    if grid.boundary == "no_flux":
        return [torch.arange(n, dtype=torch.float64) / (2 * n * grid.spacing) for n in grid.shape]
    axes = [torch.fft.fftfreq(n, d=grid.spacing, dtype=torch.float64) for n in grid.shape[:-1]]
    return [*axes, torch.fft.rfftfreq(grid.shape[-1], d=grid.spacing, dtype=torch.float64)]


def _shells(wavenumber: torch.Tensor, width: float) -> torch.Tensor:
    """Shell of each mode: |k| / width rounded to the nearest integer, halves up."""
    return torch.floor(wavenumber / width + 0.5 + 1e-9).to(torch.int64)


def _multiplicity(grid: Grid) -> torch.Tensor:
    """(mode,) how many wave vectors of the full spectrum a mode of the real FFT stands for."""
    count = grid.shape[-1]
    last = torch.full((count // 2 + 1,), 2.0, dtype=torch.float64)
    last[0] = 1.0
    if count % 2 == 0:
        last[-1] = 1.0
    return last.expand(*grid.shape[:-1], -1).reshape(-1)


@lru_cache(maxsize=16)
def mode_table(grid: Grid) -> ModeTable:
    """The :class:`ModeTable` of a grid (computed once per grid)."""
    box = extended(grid)
    width = 2 * math.pi / max(box.lengths)
    squares = [(2 * math.pi * f) ** 2 for f in _axis_frequencies(grid)]
    mesh = torch.meshgrid(*squares, indexing="ij")
    wavenumber = torch.stack(mesh).sum(0).sqrt().reshape(-1)
    if grid.boundary == "periodic":
        weight = _multiplicity(grid) / grid.cells**2
        multiplicity, full_shell = _multiplicity(grid), _shells(wavenumber, width)
        shell_count = torch.bincount(full_shell, weights=multiplicity)[1:]
    else:
        # Orthonormal transform: the squares of the coefficients already sum to the sum over cells.
        weight = torch.full_like(wavenumber, 1 / grid.cells)
        shell_count = mode_table(box).shell_count
    weight[0] = 0.0
    count = shell_count.shape[0]
    return ModeTable(
        wavenumber=wavenumber,
        weight=weight,
        shell=(_shells(wavenumber, width) - 1).clamp(min=0),
        shell_wavenumber=width * torch.arange(1, count + 1, dtype=torch.float64),
        shell_count=shell_count.clamp(min=1),
        area=math.prod(box.lengths),
    )


@lru_cache(maxsize=16)
def _cosine_matrix(count: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """(count, count) orthonormal DCT-II: row p is cos(pi p (i + 1/2) / count), scaled to unit length."""
    cell = torch.arange(count, dtype=torch.float64)
    matrix = torch.cos(math.pi * cell[:, None] * (cell[None, :] + 0.5) / count) * math.sqrt(2 / count)
    matrix[0] /= math.sqrt(2)
    return matrix.to(device=device, dtype=dtype)


def squared_transform(field: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Squared modulus (frame, mode) of the modes of ``mode_table(grid)`` of a float field (frame, y, x), dtype kept."""
    axes = tuple(range(-grid.ndim, 0))
    if grid.boundary == "periodic":
        squares = torch.view_as_real(torch.fft.rfftn(field, dim=axes)).square_()
        return (squares[..., 0] + squares[..., 1]).flatten(1)
    field = field @ _cosine_matrix(grid.shape[-1], field.dtype, field.device).T
    for axis in axes[:-1]:
        matrix = _cosine_matrix(grid.shape[axis], field.dtype, field.device)
        field = (matrix @ field.movedim(axis, -2)).movedim(-2, axis)
    return field.flatten(1).square()


@lru_cache(maxsize=16)
def _moment_matrix(grid: Grid, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """(mode, 3) or (mode, 3 + K): columns weight, weight |k|, weight k^2 and, if it fits, the shell means."""
    table = mode_table(grid)
    k, weight = table.wavenumber, table.weight
    moments = torch.stack([weight, weight * k, weight * k**2], dim=1)
    shells = table.shell_wavenumber.shape[0]
    if k.shape[0] * shells <= DENSE_ENTRIES:
        dense = torch.zeros(k.shape[0], shells, dtype=torch.float64)
        dense[torch.arange(k.shape[0]), table.shell] = weight * _shell_scale(grid)[table.shell]
        moments = torch.cat([moments, dense], dim=1)
    return moments.to(device=device, dtype=dtype)


def _shell_scale(grid: Grid) -> torch.Tensor:
    """(K,) factor from power summed over a shell to structure factor: area / number of wave vectors."""
    table = mode_table(grid)
    return table.area / table.shell_count


def spectral_sums(squared: torch.Tensor, grid: Grid) -> tuple[torch.Tensor, torch.Tensor]:
    """Moments of a power spectrum (frame, mode) from :func:`squared_transform` and its shell averages, in one product.

    Returns:
        moments (frame, 3): sums over k > 0 of P, |k| P and k^2 P, where P sums to the variance;
        shell averages (frame, K) of area * P, the structure factor.
    """
    matrix = _moment_matrix(grid, squared.dtype, squared.device)
    sums = squared @ matrix
    if matrix.shape[1] > 3:
        return sums[:, :3], sums[:, 3:]
    table = mode_table(grid)
    weight, shell = table.weight.to(squared), table.shell.to(squared.device)
    shells = squared.new_zeros(squared.shape[0], table.shell_wavenumber.shape[0])
    shells.index_add_(1, shell, squared * weight)
    return sums, shells * _shell_scale(grid).to(squared)
