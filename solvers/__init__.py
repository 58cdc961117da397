"""The physics: problems, free energies, integrators, statistics of microstructures.

Names are imported when they are first used: torch takes a second to load, and checking a YAML file needs none of it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from solvers.auditing import Audit, audit
    from solvers.cahn_hilliard import CahnHilliard
    from solvers.errors import InputError
    from solvers.fixed_steps import simulate_fixed_step
    from solvers.frames import Frames
    from solvers.grain_growth import GrainGrowth
    from solvers.grains import order_parameters, simulate_grains
    from solvers.grid import Grid
    from solvers.simulation import Solution, simulate, solve
    from solvers.wells import DoubleWell

_HOME = {
    "Audit": "auditing",
    "CahnHilliard": "cahn_hilliard",
    "DoubleWell": "wells",
    "Frames": "frames",
    "GrainGrowth": "grain_growth",
    "Grid": "grid",
    "InputError": "errors",
    "Solution": "simulation",
    "audit": "auditing",
    "order_parameters": "grains",
    "simulate": "simulation",
    "simulate_fixed_step": "fixed_steps",
    "simulate_grains": "grains",
    "solve": "simulation",
}

__all__ = [
    "Audit",
    "CahnHilliard",
    "DoubleWell",
    "Frames",
    "GrainGrowth",
    "Grid",
    "InputError",
    "Solution",
    "audit",
    "order_parameters",
    "simulate",
    "simulate_fixed_step",
    "simulate_grains",
    "solve",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'solvers' has no attribute {name!r}")
    return getattr(importlib.import_module(f"solvers.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
