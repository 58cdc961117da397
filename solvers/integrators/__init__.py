"""Time integrators: they see coefficients and an :class:`~solvers.integrators.protocol.Equation`, no physics."""

from solvers.integrators.adaptive_bdf import AdaptiveMultistep
from solvers.integrators.fixed_step import SCHEMES, FixedStep, make_scheme
from solvers.integrators.protocol import Equation

__all__ = ["SCHEMES", "AdaptiveMultistep", "Equation", "FixedStep", "make_scheme"]
