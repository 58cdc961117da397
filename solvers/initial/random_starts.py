"""Random starts of fields. Every sample has its own seed, so that a sample does not depend on the batch it is in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from solvers.errors import InputError
from solvers.grids.grid import Grid


def noise(
    grid: Grid,
    composition: float | torch.Tensor,
    amplitude: float,
    seeds: Sequence[int],
    dtype: torch.dtype = torch.float64,
) -> torch.Tensor:
    """Gaussian white noise around a mean composition, (batch, *shape).

    Args:
        composition: mean composition, a number or (batch,), which the mean of each sample is exactly (to round-off).
        amplitude: standard deviation of the noise, >= 0, in units of composition.
        seeds: one for each sample.

    Raises:
        InputError: for a negative amplitude or a composition tensor of another length than ``seeds``.
    """
    if not amplitude >= 0:
        raise InputError(f"amplitude: >= 0, but got {amplitude}")
    mean = torch.as_tensor(composition, dtype=torch.float64).reshape(-1)
    if mean.numel() not in (1, len(seeds)):
        raise InputError(f"composition: one value or {len(seeds)}, but got {mean.numel()}")
    mean = mean.expand(len(seeds))
    fields = torch.empty(len(seeds), *grid.shape, dtype=torch.float64)
    for i, seed in enumerate(seeds):
        draw = torch.from_numpy(np.random.default_rng(seed).standard_normal(grid.shape)) * amplitude
        fields[i] = draw - draw.mean() + mean[i]
    return fields.to(dtype)
