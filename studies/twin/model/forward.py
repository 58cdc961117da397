"""A differentiable model of the observed window: the equations of :mod:`solvers`, on a fixed sequence of steps.

The production solver runs compiled passes without gradients and steps as it sees fit. Estimation needs the opposite:
gradients with respect to start and material, and steps that do not jump while the material is varied. Same spectral
bases, same internal grids, same equations; forecasts are the production engines' business.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from solvers.accuracy import internal_shape
from solvers.grids.grid import Grid
from solvers.grids.spectral_basis import Basis, basis_for
from solvers.integrators.fixed_step import SBDF
from solvers.processes.registry import process_named

#: Implicit share of the damping: the least that is stable with steps this long.
STABILISER = {"cahn_hilliard": 1.5, "grain_growth": 1.5}
#: Longest step in units of 1/(M W): 0.1 % of the grey range in coarsening.
LONGEST_STEP = {"cahn_hilliard": 1.0, "grain_growth": 0.4}
#: Spatial error allowed, as the solver's tolerance.
TOLERANCE = 2e-2
MOST_STEPS = 1200


@dataclass(frozen=True)
class Material:
    """Parameters of a batch, each (batch,): mobility, kappa, and gamma of grains."""

    mobility: torch.Tensor
    kappa: torch.Tensor
    gamma: torch.Tensor | None = None


class Window:
    """The model between the first and the last observed time.

    Args:
        process: ``cahn_hilliard`` or ``grain_growth``.
        grid: the user's cells.
        times: (time,) increasing; the state at the first is the start.
        mobility, kappa: typical values, which choose steps and internal grid.
        dtype: of the computation.
        coarse: longer steps, for a first look.

    Attributes:
        basis: of the internal grid; states are its coefficients (batch, component, F).
    """

    def __init__(
        self,
        process: str,
        grid: Grid,
        times: np.ndarray,
        mobility: float,
        kappa: float,
        dtype: torch.dtype = torch.float32,
        coarse: bool = False,
    ) -> None:
        self.process, self.grid, self.dtype = process, grid, dtype
        accuracy = process_named(process).accuracy
        self.shape = internal_shape(grid, accuracy.spacing(TOLERANCE, math.sqrt(kappa)))
        self.basis: Basis = basis_for(grid, dtype, "cpu", self.shape)
        longest = (1.5 if coarse else 1.0) * LONGEST_STEP[process]
        self.steps = step_counts(np.diff(times), mobility, longest)
        self.intervals = np.diff(times)

    def observe(self, state: torch.Tensor) -> torch.Tensor:
        """States (..., component, F) as values at the user's cells (..., y, x): c, or phi = sum_i eta_i^2."""
        if self.process == "cahn_hilliard":
            return self._sampled(state[..., 0, :])
        # Square first: phi is sampled, not the order parameters.
        phi = self.basis.inverse(state).square().sum(-3)
        return phi if self.shape == self.grid.shape else self._sampled(self.basis.forward(phi))

    def _sampled(self, coefficients: torch.Tensor) -> torch.Tensor:
        if self.shape == self.grid.shape:
            return self.basis.inverse(coefficients)
        return self.basis.sample(coefficients, self.grid.shape)

    def run(self, start: torch.Tensor, material: Material) -> tuple[torch.Tensor, torch.Tensor]:
        """Observed frames and the last state.

        By :class:`solvers.integrators.fixed_step.SBDF` of order 3, started again wherever the step changes.

        Args:
            start: (batch, component, F).
            material: of the batch.

        Returns:
            (batch, time, y, x) at the user's cells, and (batch, component, F).
        """
        k2 = self.basis.k2
        damping = k2 if self.process == "cahn_hilliard" else torch.ones_like(k2)
        share, mobility = STABILISER[self.process], material.mobility[:, None, None]
        linear = -mobility * (material.kappa[:, None, None] * k2 + share) * damping

        def force(state: torch.Tensor) -> torch.Tensor:
            unit = self.force(state, material, damping, share)
            return mobility.to(unit.dtype) * unit

        state, frames, step = start, [self.observe(start)], 0.0
        for interval, count in zip(self.intervals, self.steps, strict=True):
            h = float(interval) / int(count)
            if abs(h - step) > 1e-9 * h:
                step, scheme = h, SBDF(force, linear, h, self.dtype)
            for _ in range(int(count)):
                state = scheme(state)
            frames.append(self.observe(state))
        return torch.stack(frames, 1), state

    def force(self, state: torch.Tensor, material: Material, damping: torch.Tensor, share: float) -> torch.Tensor:
        """The explicit part, mobility 1: (batch, component, F)."""
        u = self.basis.inverse(state)
        if self.process == "cahn_hilliard":
            return -damping * self.basis.forward(u * (u * u - (1.0 + share)))
        assert material.gamma is not None
        gamma = material.gamma[:, None, None, None].to(self.dtype)
        square = u * u
        phi = square.sum(1, keepdim=True)
        rate = 1.0 + share - 2.0 * gamma * phi + (2.0 * gamma - 1.0) * square
        return self.basis.forward(rate * u)


def step_counts(intervals: np.ndarray, mobility: float, longest: float) -> np.ndarray:
    """Steps in each interval, int64, so that M h stays below ``longest``; coarser where that would be too many."""
    counts = np.maximum(1, np.ceil(intervals * mobility / longest - 1e-9)).astype(np.int64)
    total = int(counts.sum())
    if total > MOST_STEPS:
        counts = np.maximum(1, np.ceil(counts * (MOST_STEPS / total))).astype(np.int64)
    return counts
