"""The start of PFHub benchmark 1a, a formula.

Source: A. M. Jokisaari et al., Comput. Mater. Sci. 126 (2017) 139, doi:10.1016/j.commatsci.2016.09.022,
section 3.1; https://pages.nist.gov/pfhub/benchmarks/benchmark1.ipynb/.
"""

from __future__ import annotations

import torch

from solvers.errors import InputError
from solvers.grids.grid import Grid

MEAN, AMPLITUDE = 0.5, 0.01


def pfhub_1a(grid: Grid, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu") -> torch.Tensor:
    """c = 0.5 + 0.01 [cos 0.105x cos 0.11y + (cos 0.13x cos 0.087y)^2 + cos(0.025x-0.15y) cos(0.07x-0.02y)], (y, x).

    Taken at the nodes x = i dx, i = 0, 1, ..., with the origin in the corner of the box, whose side is 200 in the
    benchmark, in the units of the benchmark's well (0.3 to 0.7). The formula does not repeat with the box, so the field
    jumps at a periodic edge there too.

    Raises:
        InputError: for a grid that is not 2-D.
    """
    if grid.ndim != 2:
        raise InputError(f"pfhub_1a: a grid of 2 axes, but got shape {grid.shape}")
    y, x = (grid.spacing * torch.arange(n, dtype=torch.float64, device=device) for n in grid.shape)
    y, x = y[:, None], x[None, :]
    first = torch.cos(0.105 * x) * torch.cos(0.11 * y)
    second = (torch.cos(0.13 * x) * torch.cos(0.087 * y)) ** 2
    third = torch.cos(0.025 * x - 0.15 * y) * torch.cos(0.07 * x - 0.02 * y)
    return (MEAN + AMPLITUDE * (first + second + third)).to(dtype)
