"""What answers a case, from its start or from frames seen, the baselines among it; and what an answer costs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import torch

from solvers import Frames, simulate
from solvers.errors import InputError
from solvers.grids.even_extension import extend, extended, own_cells
from solvers.processes.base import Problem
from surrogate.rollout.prediction import Prediction

T = TypeVar("T")


@runtime_checkable
class Forecaster(Protocol):
    """Anything that continues a clip: models and baselines."""

    name: str
    process: str

    def forecast(
        self, problem: Problem, frames: torch.Tensor, frame_times: np.ndarray, times: np.ndarray
    ) -> torch.Tensor:
        """Fields (batch, n, y, x) seen at ``frame_times`` (n,) to fields (batch, m, y, x) at later ``times``."""
        ...


@runtime_checkable
class RolloutModel(Protocol):
    """A model that also runs from a start, as sweeps use it."""

    name: str
    process: str

    def rollout(self, problem: Problem, initial: torch.Tensor, times: torch.Tensor) -> Prediction:
        """Frames from starts (batch, y, x) at ``times`` (batch, time)."""
        ...


class Persistence:
    """No change at all: the last frame seen."""

    def __init__(self, process: str) -> None:
        self.name = "persistence"
        self.process = process

    def forecast(
        self, problem: Problem, frames: torch.Tensor, frame_times: np.ndarray, times: np.ndarray
    ) -> torch.Tensor:
        del problem, frame_times
        return frames[:, -1:].expand(-1, len(times), -1, -1)


class SolverForecaster:
    """The solver itself, started from the last frame seen; with fitted parameters, calibrated physics.

    On a protocol it is a check rather than a rival, since the truth is by the same solver. Only for processes whose
    field is their whole state: an image of grains does not hold their order parameters.
    """

    def __init__(self, process: str, tolerance: float = 1e-2) -> None:
        self.name = f"solver at tolerance {tolerance:g}"
        self.process = process
        self.tolerance = tolerance

    def forecast(
        self, problem: Problem, frames: torch.Tensor, frame_times: np.ndarray, times: np.ndarray
    ) -> torch.Tensor:
        if problem.process != self.process:
            raise InputError(f"the solver baseline: {self.process}, but got {problem.process}")
        later = np.asarray(times, dtype=float) - float(frame_times[-1])
        return simulate(problem, frames[:, -1].float(), later, self.tolerance, torch.float32)


class EvenlyExtended:
    """A forecaster of periodic boxes applied to no-flux ones, by even extension and cropping."""

    def __init__(self, model: Forecaster) -> None:
        self.model = model
        self.name = model.name
        self.process = model.process

    def forecast(
        self, problem: Problem, frames: torch.Tensor, frame_times: np.ndarray, times: np.ndarray
    ) -> torch.Tensor:
        grid = problem.grid
        whole: Problem = replace(problem, grid=extended(grid))  # type: ignore[type-var]
        return self.model.forecast(whole, extend(frames, grid), frame_times, times)[own_cells(grid)]


_NO_FRAMES = Frames(torch.empty(0), torch.empty(0))


def without_frames(prediction: Prediction) -> Prediction:
    return replace(prediction, frames=_NO_FRAMES)


def timed(run: Callable[[], T], rounds: int = 1) -> tuple[T, float]:
    """What ``run`` returns, and its wall seconds, the median of some rounds."""
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        found = run()
        seconds.append(time.perf_counter() - started)
    return found, float(np.median(seconds))
