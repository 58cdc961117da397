"""Statistics read off the power spectrum: structure factor, domain size, two-point correlation.

Everything quadratic in the field comes from one real transform per frame (Parseval). Fields are (..., y, x)
or (..., z, y, x), any number of leading axes; results keep those axes. No-flux fields are evenly extended.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from solvers.errors import InputError
from solvers.grids.even_extension import extend, extended
from solvers.grids.grid import Grid
from solvers.qois.modes import mode_table, spectral_sums, squared_transform

# Cells handled at a time: fields, spectra and their squares of one chunk then fit a core's cache.
CHUNK_CELLS = 2**18


@dataclass(frozen=True)
class Spectrum:
    """Quadratic statistics of a batch of fields, leading axes as the fields.

    Attributes:
        variance: (...), <(c - <c>)^2>, units of the field squared.
        mean_wavenumber: (...), sum |k| P / sum P over all k > 0, rad/length; NaN where the variance is 0.
        gradient_square: (...), <|grad c|^2> = sum k^2 P, units of the field squared per length^2.
        structure_factor: (..., K), see :func:`structure_factor`.
    """

    variance: torch.Tensor
    mean_wavenumber: torch.Tensor
    gradient_square: torch.Tensor
    structure_factor: torch.Tensor


def flat_frames(field: torch.Tensor, grid: Grid) -> torch.Tensor:
    """The field as (frame, y, x), at least single precision.

    Raises:
        InputError: if the last axes are not the shape of the grid.
    """
    if tuple(field.shape[-grid.ndim :]) != grid.shape:
        raise InputError(f"field: last axes must be the grid's {grid.shape}, but got {tuple(field.shape)}")
    if field.dtype not in (torch.float32, torch.float64):
        field = field.to(torch.float32)
    return field.reshape(-1, *grid.shape)


def chunks(frames: torch.Tensor, grid: Grid) -> Iterator[torch.Tensor]:
    """Views of ``frames`` small enough for the cache."""
    return iter(frames.split(max(1, CHUNK_CELLS // grid.cells)))


def spectrum(field: torch.Tensor, grid: Grid) -> Spectrum:
    """All quadratic statistics of a field (..., y, x) at the price of one transform per frame.

    Raises:
        InputError: if the field does not fit the grid.
    """
    frames = flat_frames(field, grid)
    sums = [spectral_sums(squared_transform(chunk, grid), grid) for chunk in chunks(frames, grid)]
    moments = torch.cat([first for first, _ in sums])
    shells = torch.cat([second for _, second in sums])
    lead = field.shape[: -grid.ndim]
    variance, first_moment, second_moment = moments.unbind(-1)
    return Spectrum(
        variance=variance.reshape(lead),
        mean_wavenumber=(first_moment / variance).reshape(lead),
        gradient_square=second_moment.reshape(lead),
        structure_factor=shells.reshape(*lead, -1),
    )


def structure_factor_wavenumbers(grid: Grid) -> torch.Tensor:
    """(K,) float64: centres of the shells of the structure factor, rad/length; the first is 2 pi / max(L)."""
    return mode_table(grid).shell_wavenumber


def structure_factor_weights(grid: Grid) -> torch.Tensor:
    """(K,) float64, 1/length^ndim: the sum over k of weight * S(k) is the variance (Parseval)."""
    table = mode_table(grid)
    return table.shell_count / table.area


def structure_factor(c: torch.Tensor, grid: Grid) -> tuple[torch.Tensor, torch.Tensor]:
    """Structure factor of a field (..., y, x), averaged over directions.

    S(k) = A < |c_k|^2 > with c_k = (1/N) sum_x (c(x) - <c>) exp(-i k x), A the area of the box, N its cells, the
    average over all wave vectors whose |k| rounds to k on shells of width 2 pi / max(L); those of the mirrored box for
    no-flux grids. It does not depend on the size of the box; ``(S * structure_factor_weights(grid)).sum(-1)`` is the
    variance of c. Beyond k = pi / dx the shells are the corners of the Brillouin zone. Per area this is the S(k, t) of
    Zhu, Chen, Shen and Tikare, Phys. Rev. E 60, 3564 (1999), doi:10.1103/PhysRevE.60.3564, who count it per lattice
    site.

    Returns:
        k (K,) float64 in rad/length and S (..., K) in units of the field squared times length^ndim.

    Raises:
        InputError: if the field does not fit the grid.
    """
    return structure_factor_wavenumbers(grid), spectrum(c, grid).structure_factor


def domain_size(c: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Domain size L = 2 pi / <k>, <k> = sum |k| |c_k|^2 / sum |c_k|^2 over all k > 0: (..., y, x) -> (...), length.

    The first moment of the unbinned spectrum; for a single cosine exactly its wavelength, for a uniform field NaN. Zhu,
    Chen, Shen and Tikare, Phys. Rev. E 60, 3564 (1999), doi:10.1103/PhysRevE.60.3564.

    Raises:
        InputError: if the field does not fit the grid.
    """
    return 2 * math.pi / spectrum(c, grid).mean_wavenumber


def mean(field: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Spatial mean: (..., y, x) -> (...), units of the field."""
    return field.flatten(-grid.ndim).mean(-1)


def two_point_correlation(c: torch.Tensor, grid: Grid) -> tuple[torch.Tensor, torch.Tensor]:
    """Two-point correlation of a field (..., y, x), averaged over directions and normalised to 1 at r = 0.

    C(r) = < dc(x) dc(x + r) > / < dc^2 > with dc = c - <c>: the periodic autocorrelation (by FFT, never zero-padded;
    no-flux fields are evenly extended first) averaged over the lattice vectors whose length rounds to r on shells one
    cell wide. Torquato, Random Heterogeneous Materials (2002), section 2.2.

    Returns:
        r (R,) float64 in length, from 0 to half the shortest side of the (extended) box, and C (..., R),
        dimensionless; NaN for a uniform field.

    Raises:
        InputError: if the field does not fit the grid.
    """
    box = extended(grid)
    frames = extend(flat_frames(c, grid), grid)
    axes = tuple(range(-grid.ndim, 0))
    steps = [torch.fft.fftfreq(n, dtype=torch.float64) * n for n in box.shape]
    distance = torch.stack(torch.meshgrid(*[s**2 for s in steps], indexing="ij")).sum(0).sqrt().flatten()
    shell = torch.floor(distance + 0.5).to(torch.int64)
    count = min(box.shape) // 2 + 1
    inside = shell < count
    shell, number = shell[inside], torch.bincount(shell[inside], minlength=count)
    parts = []
    for chunk in chunks(frames, box):
        centred = chunk - chunk.mean(axes, keepdim=True)
        power = torch.fft.rfftn(centred, dim=axes).abs().square()
        correlation = torch.fft.irfftn(power, s=box.shape, dim=axes).flatten(1)[:, inside.to(chunk.device)]
        radial = correlation.new_zeros(chunk.shape[0], count)
        radial.index_add_(1, shell.to(chunk.device), correlation)
        radial /= number.to(radial)
        parts.append(radial / radial[:, :1])
    r = grid.spacing * torch.arange(count, dtype=torch.float64)
    return r, torch.cat(parts).reshape(*c.shape[: -grid.ndim], count)
