"""What an engine is checked against: the solver, to a twentieth of its tolerance and refined once more."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweeps.config.sweep import SweepConfig
    from sweeps.engines.solver import SolverEngine

# A twentieth of the engine's tolerance, so that the reference's own error does not count.
REFERENCE_FACTOR = 20.0
REFERENCE_TOLERANCE = 5e-4  # of engines that state none: bands of learned ones are per cents wide
FINEST_TOLERANCE = 1e-7


def stated_tolerance(config: SweepConfig) -> float:
    """The tolerance that an engine's answers are judged by: its own, or that of engines that state none."""
    return float(getattr(config.engine, "tolerance", REFERENCE_TOLERANCE * REFERENCE_FACTOR))


def reference_tolerance(config: SweepConfig) -> float:
    """The tolerance of the solver that spot checks compare with."""
    return max(stated_tolerance(config) / REFERENCE_FACTOR, FINEST_TOLERANCE)


def reference_engine(config: SweepConfig) -> SolverEngine:
    from sweeps.engines.solver import SolverEngine  # loads torch

    device = str(getattr(config.engine, "device", "auto"))
    return SolverEngine(reference_tolerance(config), device=device, refine=1, name="reference solver")
