"""From a tolerance on the answer to an internal grid and a step tolerance.

The error against the converged PDE has two parts. Space: the equilibrium interface tanh(x / sqrt(2 kappa/W)) has its
pole pi/sqrt(2) interface lengths off the real axis, so its spectrum at the highest wavenumber pi/dx is
x = exp(-pi^2/sqrt(2) * sqrt(kappa/W) / dx). What is cut off counts once in the field itself and, through the dynamics
along the interface, once as its square: error = linear * x + square * x^2. Time: each step may differ from its
prediction by ``step_tolerance``; what that makes of the answer was measured. All constants come from
``python benchmarks/calibrate.py``. Each part gets a share of the tolerance, so that the sum stays within it with room
to spare.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from solvers.errors import InputError
from solvers.grids.grid import Grid

if TYPE_CHECKING:
    import torch

HIGHEST_TOLERANCE = 0.5
#: By precision: what rounding leaves room for.
LOWEST_TOLERANCE = {"float64": 1e-9, "float32": 1e-4}


@dataclass(frozen=True)
class AccuracyModel:
    """Measured relation between numerical choices and the relative L2 error of the answer, for one process.

    Attributes:
        linear, square: spatial error = linear * x + square * x^2, see above.
        time_factor: step tolerance over tolerance, at a tolerance of 1e-2.
        space_share: share of the tolerance that the spatial error may take.
    """

    linear: float
    square: float
    time_factor: float
    space_share: float = 0.2

    def step_tolerance(self, tolerance: float) -> float:
        """Relative size of predictor minus corrector that a step may have.

        A little more than proportional: small tolerances take more steps, whose errors add up.
        """
        return self.time_factor * tolerance * (tolerance / 1e-2) ** 0.15

    def spacing(self, tolerance: float, interface_length: float) -> float:
        """Largest internal cell size."""
        allowed = self.space_share * tolerance
        x = (math.sqrt(self.linear**2 + 4.0 * self.square * allowed) - self.linear) / (2.0 * self.square)
        return math.pi**2 / math.sqrt(2.0) * interface_length / -math.log(x)


def check_tolerance(tolerance: float, dtype: torch.dtype) -> float:
    """The tolerance, if this precision can meet it.

    Raises:
        InputError: outside (lowest, 0.5], or for another dtype than float32 and float64.
    """
    precision = str(dtype).removeprefix("torch.")
    if precision not in LOWEST_TOLERANCE:
        raise InputError(f"dtype: torch.float64 or torch.float32, but got {dtype}")
    lowest = LOWEST_TOLERANCE[precision]
    if not lowest <= tolerance <= HIGHEST_TOLERANCE:
        hint = "; ask for float64 to go lower" if precision == "float32" else ""
        raise InputError(f"tolerance: in [{lowest:g}, {HIGHEST_TOLERANCE:g}] for {dtype}, but got {tolerance:g}{hint}")
    return float(tolerance)


def internal_shape(grid: Grid, spacing: float) -> tuple[int, ...]:
    """Cells of the internal grid: the user's where fine enough, else the next size that transforms fast."""
    if spacing >= grid.spacing * (1 - 1e-9):
        return grid.shape
    return tuple(_fast_size(math.ceil(length / spacing - 1e-9)) for length in grid.lengths)


def _fast_size(n: int) -> int:
    """The smallest even number >= n with no prime factor above 5."""
    from scipy.fft import next_fast_len

    return 2 * int(next_fast_len((n + 1) // 2, real=True))
