"""What an engine is checked against: the solver, as accurate as the check needs it to be.

The reference need not be much better than what it judges: at a tenth of the engine's tolerance, or of the width of its
bands, its own error changes no verdict. It differs from an engine that is the solver itself in both tolerance and
internal grid. A third still tells an error of one tolerance from one of two, for the solver keeps its promise with room
to spare; it serves where a tenth would cost more than checks are worth.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sweeps.engines.registry import engine_kind

if TYPE_CHECKING:
    from sweeps.config.sweep import SweepConfig
    from sweeps.engines.solver import SolverEngine

#: Tolerance of the engine over that of its reference, the best first; spot checks take the best that they can afford.
FACTORS = (10.0, 5.0, 3.0)
#: The reference's tolerance over the width of the bands that it judges; its range, and what plans count with.
OF_BAND, BAND_TOLERANCES, BAND_ASSUMED = 0.1, (5e-4, 5e-3), 2e-3
#: Rounding in float32 adds up to 4e-4 of error: as with an engine, less than a tenth of what is resolved here.
FLOAT32_FROM = 5e-3

#: Of optima, whose values are used and not only compared with.
REFERENCE_FACTOR = 20.0
REFERENCE_TOLERANCE = 5e-4  # of engines that state none: bands of learned ones are per cents wide
FINEST_TOLERANCE = 1e-7


def stated_tolerance(config: SweepConfig) -> float:
    """The tolerance that an engine's answers are judged by: its own, or that of engines that state none."""
    return float(getattr(config.engine, "tolerance", REFERENCE_TOLERANCE * REFERENCE_FACTOR))


def reference_tolerance(config: SweepConfig) -> float:
    """The tolerance of the solver that gives the values of optima."""
    return max(stated_tolerance(config) / REFERENCE_FACTOR, FINEST_TOLERANCE)


def assumed_tolerances(config: SweepConfig) -> tuple[float, ...]:
    """The tolerances that a spot check may take, finest first; with bands, what they are assumed to be before a run."""
    if engine_kind(config).has_bands:
        return (BAND_ASSUMED,)
    return tuple(max(stated_tolerance(config) / factor, FINEST_TOLERANCE) for factor in FACTORS)


def band_tolerance(width: float) -> float:
    """The tolerance that resolves bands of this width, which is relative to the values; NaN where it is unknown."""
    if math.isnan(width):
        return BAND_ASSUMED
    return min(max(OF_BAND * width, BAND_TOLERANCES[0]), BAND_TOLERANCES[1])


def reference_dtype(config: SweepConfig) -> str:
    """``float32`` where its rounding does not matter to the verdict, else ``float64``."""
    return "float32" if stated_tolerance(config) >= FLOAT32_FROM else "float64"


def reference_engine(config: SweepConfig, tolerance: float) -> SolverEngine:
    """The solver that spot checks compare with."""
    from sweeps.engines.solver import SolverEngine  # loads torch

    device = str(getattr(config.engine, "device", "auto"))
    return SolverEngine(tolerance, reference_dtype(config), device=device, name="reference solver")  # type: ignore[arg-type]
