"""Grain growth: curvature-driven motion of grain boundaries by multi-order-parameter Allen-Cahn."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from solvers.grids.grid import Grid
from solvers.grids.spectral_basis import Basis, basis_for
from solvers.integrators.protocol import STABILISER_SHARE, CompiledTerms, resolved_scale
from solvers.processes.parameters import Parameter, checked, per_sample, taken, trailing
from solvers.processes.pointwise import compilable, grain_force
from solvers.processes.registry import Options
from solvers.registries import resolve


@dataclass(frozen=True)
class GrainGrowth:
    """d eta_i/dt = -M dF/d eta_i for order parameters eta_1 ... eta_N.

    F = int [ sum_i (-eta_i^2/2 + eta_i^4/4) + gamma sum_{i<j} eta_i^2 eta_j^2 + 1/4 ] + kappa/2 sum_i |grad eta_i|^2.
    Chen and Yang (1994), doi:10.1103/PhysRevB.50.15752; gamma = 1: Fan and Chen (1997),
    doi:10.1016/S1359-6454(96)00200-5; gamma = 1.5 makes boundary profiles symmetric (Moelans 2008,
    doi:10.1103/PhysRevB.78.024113).

    Args:
        grid: the user's grid; periodic or no-flux.
        mobility: M, positive; a float or (batch,).
        kappa: gradient energy coefficient, positive; a float or (batch,).
        gamma: coupling between order parameters, above 1/2; a float or (batch,).

    Raises:
        InputError: for a parameter outside its range.
    """

    process: ClassVar[str] = "grain_growth"
    state_axes: ClassVar[str] = "(batch, grain, shape)"
    conserves_mean: ClassVar[bool] = False
    field_scale: ClassVar[float] = 1.0
    needs_periodic_basis: ClassVar[bool] = False

    grid: Grid
    mobility: Parameter = 1.0
    kappa: Parameter = 1.0
    gamma: Parameter = 1.5

    def __post_init__(self) -> None:
        for name, low in (("mobility", 0.0), ("kappa", 0.0), ("gamma", 0.5)):
            object.__setattr__(self, name, checked(getattr(self, name), name, low, math.inf, low_open=True))

    def to_scaled(self, states: torch.Tensor) -> torch.Tensor:
        """Order parameters are in the equation's units."""
        return states

    def from_scaled(self, states: torch.Tensor) -> torch.Tensor:
        return states

    def free_energy(self, order_parameters: torch.Tensor, gradient: torch.Tensor | None = None) -> torch.Tensor:
        """Total free energy over the box, (batch, ...).

        Args:
            order_parameters: (batch, ..., grain, *shape), on a grid of this box with any number of cells.
            gradient: (batch, ...) mean of sum_i |grad eta_i|^2, where it is known already.
        """
        grid = self.grid
        eta = order_parameters
        if gradient is None:
            basis = basis_for(grid, eta.dtype, eta.device, tuple(eta.shape[-grid.ndim :]))
            gradient = (basis.forward(eta).square() @ (basis.weights * basis.k2)).sum(-1)
        square = eta.square()
        phi = square.sum(-grid.ndim - 1)
        quartic = square.square().sum(-grid.ndim - 1)
        gamma = trailing(self.gamma, phi)
        # gamma sum_{i<j} eta_i^2 eta_j^2 = gamma/2 (phi^2 - sum_i eta_i^4)
        density = 0.25 - 0.5 * phi + 0.25 * quartic + 0.5 * gamma * (phi.square() - quartic)
        bulk = density.flatten(-grid.ndim).mean(-1)
        return math.prod(grid.lengths) * (bulk + 0.5 * trailing(self.kappa, gradient) * gradient)

    def time_scale(self, batch: int) -> torch.Tensor:
        """M per sample, (batch,): the answer depends on mobility through time multiplied by it alone."""
        return per_sample(self.mobility, batch, "mobility")

    def reduced_kappa(self, batch: int) -> torch.Tensor:
        """kappa per sample, (batch,) (length^2), W = 1: the square of the interface length."""
        return per_sample(self.kappa, batch, "kappa")

    def equation(self, basis: Basis, batch: int) -> GrainGrowthEquation:
        """The dimensionless equation, time multiplied by M."""
        return GrainGrowthEquation(basis, self.reduced_kappa(batch), per_sample(self.gamma, batch, "gamma"))

    def take(self, samples: torch.Tensor) -> GrainGrowth:
        return taken(self, samples)


def build(grid: Grid, parameters: Mapping[str, torch.Tensor], options: Options) -> GrainGrowth:
    """The problem of a batch; see :class:`solvers.processes.registry.BuildProblem`."""
    del options
    return GrainGrowth(
        grid,
        mobility=parameters.get("mobility", 1.0),
        kappa=parameters["kappa"],
        gamma=parameters.get("gamma", 1.5),
    )


class GrainGrowthEquation:
    """d eta_i/dt = eta_i (1 - 2 gamma phi + (2 gamma - 1) eta_i^2) + kappa lap eta_i, phi = sum_j eta_j^2.

    Implements :class:`solvers.integrators.protocol.Equation`; the components are the order parameters.
    """

    conserves_mean = False
    order = np.array([3])

    def __init__(self, basis: Basis, kappa: torch.Tensor, gamma: torch.Tensor) -> None:
        self.basis = basis
        self.kappa = kappa
        self.gamma = gamma
        rows = kappa[:1] if bool((kappa == kappa[0]).all()) else kappa
        self.stiff = (rows.to(basis.k2)[:, None] * basis.k2)[:, None, :]
        self.damping = torch.ones_like(basis.k2)
        self.scale_weights = resolved_scale(basis, kappa)
        self._gamma = gamma.to(basis.k2).reshape([-1] + [1] * (len(basis.shape) + 1))
        # Decay rate of whatever is not the local grain, against 2 for the grain itself.
        self._decay = (2.0 * gamma - 1.0).clamp_min(2.0).numpy()

    def select(self, keep: torch.Tensor) -> GrainGrowthEquation:
        return GrainGrowthEquation(self.basis, self.kappa[keep], self.gamma[keep])

    def explicit(self, coefficients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """N(eta) (batch, grain, F), and the largest phi (batch,)."""
        eta = self.basis.inverse(coefficients)
        if compilable(eta):
            eta = eta.contiguous()
            cells = eta.flatten(2)
            largest, phi = eta.new_empty(len(eta)), eta.new_empty(cells.shape[2])
            grain_force(cells.numpy(), self._gamma.flatten().numpy(), phi.numpy(), largest.numpy())
            return self.basis.forward(eta), largest
        square = eta * eta
        phi = square.sum(1, keepdim=True)
        rate = square.mul_(2.0 * self._gamma - 1.0).add_(1.0 - 2.0 * self._gamma * phi)
        return self.basis.forward(rate.mul_(eta)), phi.flatten(1).amax(1)

    def stabiliser(self, largest: np.ndarray) -> np.ndarray:
        """The share s of damping treated implicitly, as for Cahn-Hilliard: the Jacobian decays at most this fast."""
        return STABILISER_SHARE * self._decay * largest

    def compiled_terms(self) -> CompiledTerms:
        """See :mod:`solvers.processes.terms`."""
        terms = "solvers.processes.terms"
        explicit = resolve(f"{terms}:grains")(*resolve(f"{terms}:transforms_of")(self.basis))
        gamma = self._gamma.flatten().numpy()

        def rows(sample: int) -> np.ndarray:
            return np.repeat(gamma[sample], 2)[:, None].copy()

        return CompiledTerms(
            explicit, 1, 0, rows, lambda _: np.zeros(1), lambda b: (STABILISER_SHARE * float(self._decay[b]), 0.0)
        )
