"""Cahn-Hilliard as a twin follows it: dc/dt = M lap(c^3 - c - kappa lap c), one composition per state."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage

from solvers.frames import Frames
from solvers.grids.grid import Grid
from solvers.grids.resampling import resample
from solvers.grids.spectral_basis import Basis
from solvers.processes.base import Problem
from solvers.simulation import solve
from studies.twin.model.process_model import (
    FirstGuess,
    Linear,
    Members,
    ParameterValues,
    ProcessModel,
    SolverSettings,
    sampled,
)
from studies.twin.model.weak_form import InteriorEstimate, interior_estimate, wells

#: Standard deviation of a start's increments at interfaces: this, and this share of the noise. Larger ones would fit
#: the first frame's noise.
AMPLITUDE, NOISE_SHARE = 0.1, 0.6
#: Noise that a first guess may keep, and the widest filter (cells).
QUIET, WIDEST = 0.03, 1.8
#: A filtered guess is stretched by what filtering took of its contrast, less what the steeper slope makes up for, and
#: by so much at most.
REGAINED, MOST_STRETCHED = 1.2, 1.5
#: Slope of a first guess after filtering, over that before.
STEEPER = 1.5


class CahnHilliardModel(ProcessModel):
    """See the module; a first guess has the array ``composition`` (y, x)."""

    def force(self, basis: Basis, state: torch.Tensor, values: ParameterValues) -> torch.Tensor:  # noqa: ARG002
        u = basis.inverse(state)
        return -basis.k2 * basis.forward(u * (u * u - (1.0 + self.process.stabiliser)))

    def force_derivative(self, basis: Basis, u: torch.Tensor, values: ParameterValues) -> Linear:  # noqa: ARG002
        slope = 3.0 * u * u - (1.0 + self.process.stabiliser)
        return lambda change: -basis.k2 * basis.forward(slope * basis.inverse(change))

    def observe(self, basis: Basis, state: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        return sampled(basis, state[..., 0, :], shape)

    def grey_levels(self, values: np.ndarray, low: float, high: float, shrink: float) -> tuple[float, float]:
        """Medians of the values below and above the middle, which lie among the outer values."""
        middle = 0.5 * (low + high)
        dark, bright = float(np.median(values[values < middle])), float(np.median(values[values >= middle]))
        return min(dark, low + 2.0 * shrink), max(bright, high - 2.0 * shrink)

    def first_guess(self, image: np.ndarray, grid: Grid, noise: float) -> FirstGuess:
        composition = self.limited(torch.from_numpy(without_noise(image, grid, noise))[None])[0].numpy()
        return FirstGuess(AMPLITUDE + NOISE_SHARE * noise, 1, {"composition": composition})

    def values_of(self, guess: FirstGuess, grid: Grid, shape: tuple[int, ...]) -> torch.Tensor:
        return resample(torch.from_numpy(guess.arrays["composition"])[None], shape, grid.boundary)

    def from_interior(
        self, field: np.ndarray, seen: np.ndarray, times: np.ndarray, noise: float, spacing: float, levels_known: bool
    ) -> InteriorEstimate | None:
        return interior_estimate(field, seen, times, noise, spacing, levels_known)

    def levels_from_interior(
        self, field: np.ndarray, seen: np.ndarray, times: np.ndarray, noise: float
    ) -> tuple[float, float] | None:
        return wells(field, seen, times, noise)

    def interfaces(self, values: np.ndarray) -> np.ndarray:
        return 1.0 - np.clip(values, -1.0, 1.0) ** 2

    def shown(self, states: torch.Tensor, grid: Grid) -> torch.Tensor:
        return resample(states[:, 0], grid.shape, grid.boundary)

    def solve(self, members: Members, lead: Sequence[float], settings: SolverSettings) -> Frames:
        solution = solve(members.problem(members.fine_grid), members.states[:, 0].double(), lead, **settings)
        field = resample(solution.states, members.grid.shape, members.grid.boundary)
        return Frames(field, solution.free_energy, error_estimate=solution.error_estimate)

    def free_energy(self, problem: Problem, field: torch.Tensor) -> torch.Tensor:
        return problem.free_energy(field.double())


def without_noise(image: np.ndarray, grid: Grid, noise: float) -> np.ndarray:
    """A composition with little of its noise left.

    The first frame is used once more, as data: noise that stayed in the guess would then count as seen twice. So it is
    filtered until :data:`QUIET` is left, and the contrast that interfaces lose is put back by a steeper slope.
    """
    width = min(WIDEST, noise / (2.0 * math.sqrt(math.pi) * QUIET))
    if width < 0.35:
        return image
    mode = "wrap" if grid.boundary == "periodic" else "reflect"
    smooth = ndimage.gaussian_filter(image, width, mode=mode)
    smooth = smooth * min(MOST_STRETCHED, max(1.0, _typical(image) / _typical(smooth) / REGAINED))
    return np.tanh(STEEPER * smooth) / math.tanh(STEEPER)


def _typical(image: np.ndarray) -> float:
    """Median magnitude of the compositions on either side of 0, mean of both."""
    sides = [part for part in (-image[image < 0.0], image[image > 0.0]) if len(part)]
    return float(np.mean([np.median(part) for part in sides])) if sides else 1.0
