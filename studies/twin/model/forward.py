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

        SBDF3 (Ascher, Ruuth and Wetton 1995, doi:10.1137/0732037, eq. 35), started by ETDRK4 (Cox and Matthews 2002,
        doi:10.1006/jcph.2002.6995, eq. 26-29) and again wherever the step changes: a first step of first order would
        cost as much accuracy as all others together.

        Args:
            start: (batch, component, F).
            material: of the batch.

        Returns:
            (batch, time, y, x) at the user's cells, and (batch, component, F).
        """
        scheme = _Scheme(self, material)
        state, frames = start, [self.observe(start)]
        for interval, count in zip(self.intervals, self.steps, strict=True):
            scheme.set_step(float(interval) / int(count))
            for _ in range(int(count)):
                state = scheme.advance(state)
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


class _Scheme:
    """du/dt = force(u) - stiff u in coefficients, step by step; keeps the history."""

    def __init__(self, window: Window, material: Material) -> None:
        self._window, self._material = window, material
        k2 = window.basis.k2
        self._damping = k2 if window.process == "cahn_hilliard" else torch.ones_like(k2)
        self._share = STABILISER[window.process]
        self._mobility = material.mobility[:, None, None]
        kappa = material.kappa[:, None, None]
        self._stiff = self._mobility * (kappa * k2 + self._share) * self._damping
        self._history: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._h = 0.0

    def _force(self, state: torch.Tensor) -> torch.Tensor:
        unit = self._window.force(state, self._material, self._damping, self._share)
        return self._mobility.to(unit.dtype) * unit

    def set_step(self, h: float) -> None:
        """The step from here on; another one than before forgets the history."""
        if abs(h - self._h) <= 1e-9 * h:
            return
        self._h, self._history = h, []
        z = -h * self._stiff
        kind = self._window.dtype
        decay, phi1, phi2, phi3 = phi_functions(z)
        half_decay, half_phi, *_ = phi_functions(0.5 * z)
        parts = (decay, half_decay, 0.5 * h * half_phi)
        weights = (h * (phi1 - 3.0 * phi2 + 4.0 * phi3), h * (2.0 * phi2 - 4.0 * phi3), h * (4.0 * phi3 - phi2))
        self._etd = tuple(p.to(kind) for p in (*parts, *weights))
        self._inverse = (1.0 / (1.0 + (6.0 / 11.0) * h * self._stiff)).to(kind)

    def advance(self, state: torch.Tensor) -> torch.Tensor:
        """One step."""
        force = self._force(state)
        self._history.insert(0, (state, force))
        if len(self._history) < 3:
            return self._etdrk4(state, force)
        (u0, n0), (u1, n1), (u2, n2) = self._history
        self._history.pop()
        explicit = 3.0 * (n0 - n1) + n2
        states = (18.0 * u0 - 9.0 * u1 + 2.0 * u2) / 11.0
        return (states + (6.0 / 11.0) * self._h * explicit) * self._inverse

    def _etdrk4(self, state: torch.Tensor, n1: torch.Tensor) -> torch.Tensor:
        decay, half_decay, half, first, middle, last = self._etd
        base = half_decay * state
        a = base + half * n1
        n2 = self._force(a)
        n3 = self._force(base + half * n2)
        n4 = self._force(half_decay * a + half * (2.0 * n3 - n1))
        return decay * state + first * n1 + middle * (n2 + n3) + last * n4


def phi_functions(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """exp(z) and phi_1 to phi_3 for real z <= 0 in float64, differentiable: formulas far from 0, series near it."""
    near = z.abs() < 0.5
    far = torch.where(near, -1.0, z)
    small = torch.where(near, z, 0.0)
    one = torch.expm1(far) / far
    two = (one - 1.0) / far
    three = (two - 0.5) / far
    found = [torch.exp(z)]
    for order, formula in ((1, one), (2, two), (3, three)):
        series = torch.zeros_like(z)
        for n in range(11, -1, -1):
            series = series * small + 1.0 / math.factorial(n + order)
        found.append(torch.where(near, series, formula))
    return found[0], found[1], found[2], found[3]


def step_counts(intervals: np.ndarray, mobility: float, longest: float) -> np.ndarray:
    """Steps in each interval, int64, so that M h stays below ``longest``; coarser where that would be too many."""
    counts = np.maximum(1, np.ceil(intervals * mobility / longest - 1e-9)).astype(np.int64)
    total = int(counts.sum())
    if total > MOST_STEPS:
        counts = np.maximum(1, np.ceil(counts * (MOST_STEPS / total))).astype(np.int64)
    return counts
