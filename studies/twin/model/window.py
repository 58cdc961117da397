"""A differentiable model of the observed window: the equations of :mod:`solvers`, on a fixed sequence of steps.

The production solver runs compiled passes without gradients and adapts its steps. Estimation needs the opposite:
gradients with respect to start and material, and steps that do not change while the material is varied. Spectral
bases and internal grids are the solver's own.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import torch

from solvers.accuracy import internal_shape
from solvers.grids.grid import Grid
from solvers.grids.spectral_basis import Basis, basis_for
from solvers.integrators.fixed_step import SBDF
from solvers.processes.registry import process_named
from studies.twin.model.process_model import ParameterValues
from studies.twin.processes import TwinProcess

#: Spatial error allowed, as the solver's tolerance.
TOLERANCE = 2e-2
MOST_STEPS = 1200


class Dynamics(Protocol):
    """What a window steps and shows, see :class:`studies.twin.model.process_model.ProcessModel`."""

    def force(self, basis: Basis, state: torch.Tensor, values: ParameterValues) -> torch.Tensor:
        """The explicit part, mobility 1."""

    def observe(self, basis: Basis, state: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        """The field at the user's cells."""


class Window:
    """The model between the first and the last observed time.

    States are coefficients (batch, component, F) on ``basis``, that of an internal grid.

    Args:
        grid: the user's cells.
        times: (time,) increasing; the state at the first is the start.
        mobility, kappa: typical values, which choose steps and internal grid.
        coarse: longer steps, for a first look.
    """

    def __init__(
        self,
        process: TwinProcess,
        grid: Grid,
        times: np.ndarray,
        mobility: float,
        kappa: float,
        dtype: torch.dtype = torch.float32,
        coarse: bool = False,
    ) -> None:
        self.process, self.grid, self.dtype = process, grid, dtype
        accuracy = process_named(process.name).accuracy
        self.shape = internal_shape(grid, accuracy.spacing(TOLERANCE, math.sqrt(kappa)))
        self.basis: Basis = basis_for(grid, dtype, "cpu", self.shape)
        longest = (1.5 if coarse else 1.0) * process.longest_step
        self.steps = step_counts(np.diff(times), mobility, longest)
        self.intervals = np.diff(times)

    def run(
        self, start: torch.Tensor, values: ParameterValues, dynamics: Dynamics | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Observed frames (batch, time, y, x) at the user's cells, and the last state, both from a start.

        By :class:`solvers.integrators.fixed_step.SBDF` of order 3, started again wherever the step changes. Values of
        the parameters are (batch,) each; ``dynamics`` take the place of the process's own.
        """
        equation, basis, k2 = dynamics or self.process.model, self.basis, self.basis.k2
        mobility, kappa = (values[name][:, None, None] for name in ("mobility", "kappa"))
        damping = k2 if self.process.conserves_mean else torch.ones_like(k2)
        linear = -mobility * (kappa * k2 + self.process.stabiliser) * damping

        def nonlinear(state: torch.Tensor) -> torch.Tensor:
            unit = equation.force(basis, state, values)
            return mobility.to(unit.dtype) * unit

        state, frames, step = start, [equation.observe(basis, start, self.grid.shape)], 0.0
        for interval, count in zip(self.intervals, self.steps, strict=True):
            h = float(interval) / int(count)
            if abs(h - step) > 1e-9 * h:
                step, scheme = h, SBDF(nonlinear, linear, h, self.dtype)
            for _ in range(int(count)):
                state = scheme(state)
            frames.append(equation.observe(basis, state, self.grid.shape))
        return torch.stack(frames, 1), state


def step_counts(intervals: np.ndarray, mobility: float, longest: float) -> np.ndarray:
    """Steps in each interval, int64, so that M h stays below ``longest``; coarser where that would be too many."""
    counts = np.maximum(1, np.ceil(intervals * mobility / longest - 1e-9)).astype(np.int64)
    total = int(counts.sum())
    if total > MOST_STEPS:
        counts = np.maximum(1, np.ceil(counts * (MOST_STEPS / total))).astype(np.int64)
    return counts
