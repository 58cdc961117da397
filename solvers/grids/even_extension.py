"""Even extension: a no-flux box and its mirror images are a periodic box, twice as long along every axis.

Exact for whatever commutes with reflections, as the equations do. The mirrors are the faces of the box, half a cell
outside the outermost centres.
"""

from __future__ import annotations

from dataclasses import replace
from types import EllipsisType

import torch

from solvers.grids.grid import Grid


def extended(grid: Grid) -> Grid:
    """The periodic grid of the extended box; a periodic grid itself."""
    if grid.boundary == "periodic":
        return grid
    return replace(grid, shape=tuple(2 * n for n in grid.shape), boundary="periodic")


def extend(fields: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Fields (..., *grid.shape) on :func:`extended`; those of a periodic grid as they are."""
    return fields if grid.boundary == "periodic" else mirrored(fields, grid.ndim)


def mirrored(fields: torch.Tensor, ndim: int) -> torch.Tensor:
    """Fields followed by their mirror image along each of the last ``ndim`` axes, which become twice as long."""
    for axis in range(-ndim, 0):
        fields = torch.cat([fields, fields.flip(axis)], axis)
    return fields


def own_cells(grid: Grid) -> tuple[EllipsisType | slice, ...]:
    """Index of the cells of ``grid`` in fields on :func:`extended`."""
    return (Ellipsis, *(slice(0, n) for n in grid.shape))
