"""The physics: problems, free energies, integrators, statistics of microstructures.

Names are imported when they are first used: torch takes a second to load, and checking a YAML file needs none of it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from solvers.auditing import Audit, audit
    from solvers.errors import InputError
    from solvers.frames import Frames
    from solvers.grains.simulation import order_parameters, simulate_grains
    from solvers.grids.grid import Grid
    from solvers.processes.base import Problem
    from solvers.processes.cahn_hilliard import CahnHilliard
    from solvers.processes.free_energies import DoubleWell
    from solvers.processes.grain_growth import GrainGrowth
    from solvers.processes.registry import Process, register_process
    from solvers.qois.registry import Qoi, register_qoi
    from solvers.simulation import Solution, simulate, solve

_HOME = {
    "Audit": "auditing",
    "CahnHilliard": "processes.cahn_hilliard",
    "DoubleWell": "processes.free_energies",
    "Frames": "frames",
    "GrainGrowth": "processes.grain_growth",
    "Grid": "grids.grid",
    "InputError": "errors",
    "Solution": "simulation",
    "Problem": "processes.base",
    "Process": "processes.registry",
    "Qoi": "qois.registry",
    "audit": "auditing",
    "order_parameters": "grains.simulation",
    "register_process": "processes.registry",
    "register_qoi": "qois.registry",
    "simulate": "simulation",
    "simulate_grains": "grains.simulation",
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
    "Problem",
    "Process",
    "Qoi",
    "Solution",
    "audit",
    "order_parameters",
    "register_process",
    "register_qoi",
    "simulate",
    "simulate_grains",
    "solve",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'solvers' has no attribute {name!r}")
    return getattr(importlib.import_module(f"solvers.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
