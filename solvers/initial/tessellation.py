"""Random starts of grains. Every sample has its own seed, so that a sample does not depend on the batch it is in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.spatial import cKDTree

from solvers.errors import InputError
from solvers.grids.grid import Grid


def voronoi(grid: Grid, grains: int, seeds: Sequence[int]) -> torch.Tensor:
    """Labels (batch, *shape) int32 in [0, grains): each cell belongs to the nearest of ``grains`` random points.

    A Poisson-Voronoi tessellation with a seed for each sample; distances are periodic on a periodic grid. A grain
    smaller than a cell may own none.

    Raises:
        InputError: for fewer than one grain.
    """
    if grains < 1:
        raise InputError(f"grains: at least 1, but got {grains}")
    axes = [(np.arange(n) + 0.5) * grid.spacing for n in grid.shape]
    cells = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, grid.ndim)
    box = np.array(grid.lengths)
    labels = torch.empty(len(seeds), *grid.shape, dtype=torch.int32)
    for i, seed in enumerate(seeds):
        points = np.random.default_rng(seed).random((grains, grid.ndim)) * box
        tree = cKDTree(points, boxsize=box if grid.boundary == "periodic" else None)
        labels[i] = torch.from_numpy(tree.query(cells)[1].reshape(grid.shape).astype(np.int32))
    return labels
