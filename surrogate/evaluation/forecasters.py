"""What can be evaluated, and the baselines beside which every figure stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from solvers.errors import InputError
from solvers.grids.even_extension import extend, extended, own_cells
from solvers.processes.cahn_hilliard import CahnHilliard
from solvers.simulation import simulate
from surrogate.evaluation.physics import Problem

Ages = Sequence[float] | np.ndarray


@runtime_checkable
class Forecaster(Protocol):
    """Anything that continues a film: models and baselines."""

    name: str
    process: str

    def forecast(self, problem: Any, frames: torch.Tensor, frame_times: Ages, times: Ages) -> torch.Tensor:
        """Fields (batch, n, y, x) seen at ``frame_times`` (n,) to fields (batch, m, y, x) at later ``times``."""
        ...


@runtime_checkable
class Engine(Forecaster, Protocol):
    """A forecaster that can also run from a start, as sweeps use it."""

    def rollout(self, problem: Any, initial: torch.Tensor, times: torch.Tensor) -> Any:
        """Starts (batch, y, x) and times (batch, time) to a ``Prediction``."""
        ...


class Persistence:
    """No change at all: the last frame seen, for ever.

    Args:
        process: which.
    """

    def __init__(self, process: str) -> None:
        self.name = "persistence"
        self.process = process

    def forecast(self, problem: Problem, frames: torch.Tensor, frame_times: Ages, times: Ages) -> torch.Tensor:
        """(batch, n, y, x) to (batch, m, y, x)."""
        del problem, frame_times
        return frames[:, -1:].expand(-1, len(times), -1, -1)


class SolverBaseline:
    """The solver itself, started from the last frame seen; with fitted parameters, calibrated physics.

    On the protocol it is no rival but a check, for the truth is the same solver's. Cahn-Hilliard only: an image of
    grains does not hold their order parameters.

    Args:
        tolerance: of the solver.
    """

    def __init__(self, tolerance: float = 1e-2) -> None:
        self.name = f"solver at tolerance {tolerance:g}"
        self.process = "cahn_hilliard"
        self.tolerance = tolerance

    def forecast(self, problem: Problem, frames: torch.Tensor, frame_times: Ages, times: Ages) -> torch.Tensor:
        """(batch, n, y, x) to (batch, m, y, x)."""
        if not isinstance(problem, CahnHilliard):
            raise InputError("the solver baseline: Cahn-Hilliard, but got grain growth")
        later = np.asarray(times, dtype=float) - float(frame_times[-1])
        return simulate(problem, frames[:, -1].float(), later, self.tolerance, torch.float32)


class Mirrored:
    """A forecaster of periodic boxes applied to no-flux ones, by even extension and cropping.

    Exact for whatever commutes with reflections, as the equations do. Periodic problems pass through.
    """

    def __init__(self, model: Forecaster) -> None:
        self.model = model
        self.name = model.name
        self.process = model.process

    def forecast(self, problem: Problem, frames: torch.Tensor, frame_times: Ages, times: Ages) -> torch.Tensor:
        """(batch, n, y, x) to (batch, m, y, x)."""
        grid = problem.grid
        whole = replace(problem, grid=extended(grid))
        return self.model.forecast(whole, extend(frames, grid), frame_times, times)[own_cells(grid)]
