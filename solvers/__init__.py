"""The physics: problems, free energies, integrators, statistics of microstructures."""

from solvers.cahn_hilliard import CahnHilliard
from solvers.errors import InputError
from solvers.frames import Frames
from solvers.grain_growth import GrainGrowth
from solvers.grains import order_parameters, simulate_grains
from solvers.grid import Grid
from solvers.simulate import Solution, simulate, solve
from solvers.wells import DoubleWell

__all__ = [
    "CahnHilliard",
    "DoubleWell",
    "Frames",
    "GrainGrowth",
    "Grid",
    "InputError",
    "Solution",
    "order_parameters",
    "simulate",
    "simulate_grains",
    "solve",
]
