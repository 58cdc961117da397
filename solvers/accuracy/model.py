"""From a tolerance on the answer to an internal grid and a step tolerance.

The error against the converged PDE has two parts. Space: the equilibrium interface tanh(x / sqrt(2 kappa/W)) has its
pole pi/sqrt(2) interface lengths off the real axis, so its spectrum at the highest wavenumber pi/dx is
x = exp(-pi^2/sqrt(2) * sqrt(kappa/W) / dx). What is cut off counts once in the field itself and, through the dynamics
along the interface, once as its square: error = linear * x + square * x^2 (``python benchmarks/calibrate.py``). Time:
each step may differ from its prediction by ``step_tolerance``; what that makes of the answer was measured
(``python benchmarks/measured_error.py --seeds calibrate``). Each part gets a share of the tolerance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from solvers.errors import InputError
from solvers.grids.grid import Grid
from solvers.registries import resolve

if TYPE_CHECKING:
    import torch

HIGHEST_TOLERANCE = 0.5
# An internal grid coarser than the user's is used up to this share of its cells.
_WORTHWHILE = 0.9
# Of the second-order scheme, see AccuracyModel.step_tolerance: its factor over that of third order, and its exponent.
_SECOND_ORDER_FACTOR, _SECOND_ORDER_EXPONENT = 1.7, 0.5
# Step tolerance, by order of the scheme, up to which the scheme was found stable (docs/experiments.md, "loose
# tolerances"): longer steps cost more than they save, or end in nonsense.
_LARGEST_STEP_TOLERANCE = {2: 1e-3, 3: 0.03}
#: By precision: what rounding leaves room for.
LOWEST_TOLERANCE = {"float64": 1e-9, "float32": 1e-4}


@dataclass(frozen=True)
class AccuracyModel:
    """Measured relation between numerical choices and the relative L2 error of the answer, for one process.

    Attributes:
        linear, square: spatial error = linear * x + square * x^2, see above.
        time_factor: step tolerance over tolerance, at a tolerance of 1e-2.
        space_share: share of the tolerance that the spatial error may take.
        exponent: how much faster than in proportion to the tolerance the step tolerance falls at third order.
        least_excess: see :func:`solvers.accuracy.error_control.error_estimate`.
        stiffness: power of the wavenumber by which the linear term smooths, 4 or 2: what is rougher than the interface
            decays at a rate k^(power - 2) (kappa k^2 - 1).
    """

    linear: float
    square: float
    time_factor: float
    space_share: float = 0.3
    exponent: float = 0.2
    least_excess: float = 0.3
    stiffness: int = 2

    def step_tolerance(self, tolerance: float, order: int = 3) -> float:
        """Relative size of predictor minus corrector that a step may have, at an order of the scheme, 2 or 3.

        Of steps h it is in proportion to h^(order + 1), what it makes of the answer to h^order: so it must fall faster
        than the tolerance, at third order a little less than that, as steps are limited by stability for a part.
        """
        factor, exponent = self._of_order(order)
        return factor * tolerance * (tolerance / 1e-2) ** exponent

    def loosest(self, order: int = 3) -> float:
        """The largest tolerance that a trajectory is made for, at an order of the scheme: with the longest steps."""
        factor, exponent = self._of_order(order)
        return float((_LARGEST_STEP_TOLERANCE[order] / factor * 1e-2**exponent) ** (1.0 / (1.0 + exponent)))

    def _of_order(self, order: int) -> tuple[float, float]:
        """Step tolerance over tolerance at 1e-2, and the exponent by which it falls faster."""
        if order == 2:
            return _SECOND_ORDER_FACTOR * self.time_factor, _SECOND_ORDER_EXPONENT
        return self.time_factor, self.exponent

    def smooth_after(self, spacing: float, interface_length: float, tolerance: float) -> float:
        """Time, in the equation's units, after which modes that cells of this size cut off have decayed below the
        tolerance; infinite where they do not decay."""
        k = math.pi / spacing
        rate = k ** (self.stiffness - 2) * ((interface_length * k) ** 2 - 1.0)
        return math.log(10.0 / tolerance) / rate if rate > 0 else math.inf

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


def finest_aim(dtype: torch.dtype) -> float:
    """The smallest tolerance that a trajectory is made for, where what the model expects does not suffice."""
    return 0.1 * LOWEST_TOLERANCE[str(dtype).removeprefix("torch.")]


def internal_shape(grid: Grid, spacing: float, coarser: bool = False, few: bool = False) -> tuple[int, ...]:
    """Cells of the internal grid: the user's where fine enough, else the next size that transforms fast.

    With ``coarser`` it may have fewer cells than the user's, where that saves a tenth at least. With ``few`` it is one
    of few sizes and never coarser: a GPU takes many samples of one size in the time of a few.
    """
    if few:
        coarser = False
    if spacing >= grid.spacing * (1 - 1e-9):
        if not coarser:
            return grid.shape
        fewer = tuple(
            min(n, _next_fast(grid, length, spacing)) for n, length in zip(grid.shape, grid.lengths, strict=True)
        )
        return fewer if math.prod(fewer) <= _WORTHWHILE * grid.cells else grid.shape
    return tuple(_next_fast(grid, length, spacing, few) for length in grid.lengths)


def _next_fast(grid: Grid, length: float, spacing: float, few: bool = False) -> int:
    """Cells of at most ``spacing`` along ``length``: the smallest even number >= 8 with no prime factor above 5.

    Of a no-flux box half as many as its even extension needs, so that both are solved on the same grid. With ``few``
    it is a power of two, or one and a half times one.
    """
    halves = 2 if grid.boundary == "no_flux" else 1
    least = max(8, math.ceil(halves * length / spacing - 1e-9))
    if few:
        power: int = 2 ** math.ceil(math.log2(least))
        return (3 * power // 4 if 3 * power // 4 >= least else power) // halves
    # Imported here: files are checked and plans are made without scipy.
    fast: int = resolve("scipy.fft:next_fast_len")((least + 1) // 2, real=True)
    return 2 * fast // halves
