"""Trigonometric interpolation between grids of one box: exact for every mode that the source grid carries.

The solver refines the user's grid to meet a tolerance and reads its answer off at the user's points; both are a
product with one small matrix per axis. Periodic grids share their first point, no-flux grids are cell-centred.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch

from solvers.grids.grid import Boundary


def resample(
    field: torch.Tensor, shape: tuple[int, ...], boundary: Boundary, band_limited: bool = False
) -> torch.Tensor:
    """Values (..., *shape) of the trigonometric interpolant of ``field`` (..., *source shape) on the same box.

    The even Nyquist mode of a periodic axis is read as a cosine, so refining and sampling back is the identity. With
    ``band_limited`` axes that get fewer cells drop the modes that these cannot carry; sampling folds them onto others.
    """
    for axis, m in enumerate(shape):
        dim = axis - len(shape)
        n = field.shape[dim]
        if n == m:
            continue
        kind = _truncation if band_limited and m < n else _axis_matrix
        matrix = kind(n, m, boundary).to(field.device, field.dtype)
        field = (field.movedim(dim, -1) @ matrix.T).movedim(-1, dim)
    return field.contiguous()


@lru_cache(maxsize=64)
def _truncation(n: int, m: int, boundary: str) -> torch.Tensor:
    """(m, n): values at m < n points of the modes below the Nyquist mode of m points, from values at n points."""
    if boundary == "periodic":
        kept = m - 1 if m % 2 == 0 else m  # both signs of (kept - 1) / 2 frequencies, and the mean
        offset = torch.arange(m, dtype=torch.float64)[:, None] / m - torch.arange(n, dtype=torch.float64)[None, :] / n
        coincide = (offset - offset.round()).abs() < 1e-12
        angle = math.pi * torch.where(coincide, 0.5, offset)
        kernel = torch.sin(kept * angle) / torch.sin(angle) / n
        return torch.where(coincide, kept / n, kernel)
    return _cosine_matrix(n, m, m)


@lru_cache(maxsize=64)
def _axis_matrix(n: int, m: int, boundary: str) -> torch.Tensor:
    """(m, n): values at m points from values at n points along one axis."""
    if boundary == "periodic":
        # The Dirichlet kernel of n points, with the Nyquist mode of an even n as a cosine.
        offset = torch.arange(m, dtype=torch.float64)[:, None] / m - torch.arange(n, dtype=torch.float64)[None, :] / n
        coincide = (offset - offset.round()).abs() < 1e-12
        angle = math.pi * torch.where(coincide, 0.5, offset)
        kernel = torch.sin(n * angle) / (n * (torch.tan(angle) if n % 2 == 0 else torch.sin(angle)))
        return torch.where(coincide, 1.0, kernel)
    return _cosine_matrix(n, m, n)


def _cosine_matrix(n: int, m: int, modes: int) -> torch.Tensor:
    """(m, n): values at the centres of m cells of the first cosine modes of values at the centres of n."""
    k = torch.arange(modes, dtype=torch.float64)
    cells = torch.arange(n, dtype=torch.float64)
    points = (torch.arange(m, dtype=torch.float64) + 0.5) / m
    analysis = torch.cos(math.pi * k[:, None] * (cells[None, :] + 0.5) / n) * (2.0 / n)
    analysis[0] *= 0.5
    return torch.cos(math.pi * points[:, None] * k[None, :]) @ analysis
