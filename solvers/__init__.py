"""The physics: problems, free energies, integrators, statistics of microstructures.

Names are imported when they are first used: torch takes a second to load, and checking a YAML file needs none of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from solvers.auditing import Audit, audit
    from solvers.errors import InputError, ToleranceWarning
    from solvers.frame_readers import FrameReader, register_reader
    from solvers.frames import Frames
    from solvers.grains.simulation import order_parameters, simulate_grains
    from solvers.grids.grid import Grid
    from solvers.processes.base import Problem
    from solvers.processes.cahn_hilliard import CahnHilliard
    from solvers.processes.free_energies import DoubleWell
    from solvers.processes.grain_growth import GrainGrowth
    from solvers.processes.registry import Process, register_process
    from solvers.qois.registry import Qoi, register_qoi
    from solvers.simulation import Solution, simulate, simulate_frames, solve

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "auditing": ["Audit", "audit"],
        "errors": ["InputError", "ToleranceWarning"],
        "frame_readers": ["FrameReader", "register_reader"],
        "frames": ["Frames"],
        "grains.simulation": ["order_parameters", "simulate_grains"],
        "grids.grid": ["Grid"],
        "processes.base": ["Problem"],
        "processes.cahn_hilliard": ["CahnHilliard"],
        "processes.free_energies": ["DoubleWell"],
        "processes.grain_growth": ["GrainGrowth"],
        "processes.registry": ["Process", "register_process"],
        "qois.registry": ["Qoi", "register_qoi"],
        "simulation": ["Solution", "simulate", "simulate_frames", "solve"],
    },
)
