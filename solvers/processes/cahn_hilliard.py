"""Cahn-Hilliard: phase separation by diffusion down the gradient of a chemical potential."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch

from solvers.errors import InputError
from solvers.grids.grid import Grid
from solvers.grids.spectral_basis import Basis, PeriodicBasis, basis_for
from solvers.integrators.protocol import STABILISER_SHARE, CompiledTerms, resolved_scale
from solvers.processes.free_energies import DoubleWell
from solvers.processes.parameters import Parameter, checked, per_sample, taken, trailing
from solvers.processes.pointwise import compilable, double_well_force, double_well_mean
from solvers.processes.registry import Options
from solvers.registries import resolve

# Imported when a trajectory is computed, with numba.
_TRANSFORMS = "solvers.processes.terms:transforms_of"
_NO_NUMBERS = np.zeros(1)


@dataclass(frozen=True)
class CahnHilliard:
    """dc/dt = div( M(c) grad mu ), mu = f'(c) - kappa lap c, F[c] = int f(c) + kappa/2 |grad c|^2.

    Cahn and Hilliard (1958), doi:10.1063/1.1744102. The default well is f = (c^2 - 1)^2 / 4, minima at -1 and 1.

    Args:
        grid: the user's grid; periodic or no-flux (no flux of c, zero normal derivative).
        mobility: M (length^5 / (energy time) in 3-D units), positive; a float or (batch,).
        kappa: gradient energy coefficient (energy / length in 3-D units), positive; a float or (batch,).
        well: any double well, a :class:`DoubleWell` or a mapping with its ``rho``, ``ca``, ``cb``.
        mobility_contrast: a in M(c) = M max(0, 1 - a u^2), u the composition scaled to [-1, 1] between the wells;
            0 is constant mobility, 1 stops diffusion in the pure phases. A float or (batch,) in [0, 1].

    Raises:
        InputError: for a parameter outside its range.
    """

    process: ClassVar[str] = "cahn_hilliard"
    state_axes: ClassVar[str] = "(batch, shape)"
    conserves_mean: ClassVar[bool] = True

    grid: Grid
    mobility: Parameter = 1.0
    kappa: Parameter = 1.0
    well: DoubleWell = field(default_factory=DoubleWell)
    mobility_contrast: Parameter = 0.0

    def __post_init__(self) -> None:
        well = self.well
        if well is None:
            well = DoubleWell()
        elif isinstance(well, dict):
            well = DoubleWell(**well)
        object.__setattr__(self, "well", well)
        object.__setattr__(self, "mobility", checked(self.mobility, "mobility", 0.0, math.inf, low_open=True))
        object.__setattr__(self, "kappa", checked(self.kappa, "kappa", 0.0, math.inf, low_open=True))
        contrast = checked(self.mobility_contrast, "mobility_contrast", 0.0, 1.0)
        object.__setattr__(self, "mobility_contrast", contrast)

    @property
    def constant_mobility(self) -> bool:
        return not bool((torch.as_tensor(self.mobility_contrast) > 0).any())

    @property
    def field_scale(self) -> float:
        """Half the distance between the two phases: one unit of u."""
        return self.well.half_width

    @property
    def needs_periodic_basis(self) -> bool:
        """The flux form of variable mobility needs sines and cosines."""
        return not self.constant_mobility

    def to_scaled(self, states: torch.Tensor) -> torch.Tensor:
        """Compositions (batch, *shape) as u (batch, 1, *shape)."""
        return self.well.to_scaled(states)[:, None]

    def from_scaled(self, states: torch.Tensor) -> torch.Tensor:
        """u (batch, 1, *shape) as compositions (batch, *shape)."""
        return self.well.from_scaled(states[:, 0])

    def free_energy(self, composition: torch.Tensor, gradient: torch.Tensor | None = None) -> torch.Tensor:
        """Total free energy F[c] over the box, (batch, ...), of the trigonometric interpolant of the composition.

        Args:
            composition: (batch, ..., *shape), on a grid of this box with any number of cells.
            gradient: (batch, ...) mean of |grad c|^2, where it is known already.
        """
        grid = self.grid
        shape = tuple(composition.shape[-grid.ndim :])
        bulk = _mean_energy(self.well, composition, grid.ndim)
        if gradient is None:
            basis = basis_for(grid, composition.dtype, composition.device, shape)
            gradient = basis.forward(composition).square() @ (basis.weights * basis.k2)
        volume = math.prod(grid.lengths)
        return volume * (bulk + 0.5 * trailing(self.kappa, gradient) * gradient)

    def time_scale(self, batch: int) -> torch.Tensor:
        """M W per sample, (batch,): the answer depends on mobility through time multiplied by it alone."""
        return per_sample(self.mobility, batch, "mobility") * self.well.scale

    def reduced_kappa(self, batch: int) -> torch.Tensor:
        """kappa / W per sample, (batch,) (length^2): the square of the interface length."""
        return per_sample(self.kappa, batch, "kappa") / self.well.scale

    def equation(self, basis: Basis, batch: int) -> CahnHilliardEquation | VariableMobilityEquation:
        """The dimensionless equation in u, time multiplied by M W."""
        kappa = self.reduced_kappa(batch)
        if self.constant_mobility:
            return CahnHilliardEquation(basis, kappa)
        if not isinstance(basis, PeriodicBasis):
            raise InputError("variable mobility needs the periodic basis; mirror a no-flux box first")
        return VariableMobilityEquation(basis, kappa, per_sample(self.mobility_contrast, batch, "contrast"))

    def take(self, samples: torch.Tensor) -> CahnHilliard:
        return taken(self, samples)


def build(grid: Grid, parameters: Mapping[str, torch.Tensor], options: Options) -> CahnHilliard:
    """The problem of a batch; see :class:`solvers.processes.registry.BuildProblem`."""
    return CahnHilliard(
        grid,
        mobility=parameters.get("mobility", 1.0),
        kappa=parameters["kappa"],
        well=DoubleWell(**(options.get("well") or {})),
        mobility_contrast=parameters.get("mobility_contrast", 0.0),
    )


def _mean_energy(well: DoubleWell, composition: torch.Tensor, ndim: int) -> torch.Tensor:
    """Mean of f(c) over the last ``ndim`` axes (energy / volume)."""
    if not compilable(composition):
        return well.energy_density(composition).flatten(-ndim).mean(-1)
    rows = composition.flatten(-ndim)
    mean = rows.new_empty(rows.shape[:-1])
    flat = rows.reshape(-1, rows.shape[-1])
    double_well_mean(flat.numpy(), well.rho, well.ca, well.cb, mean.view(-1).numpy())
    return mean


class CahnHilliardEquation:
    """du/dt = lap(u^3 - u) - kappa lap^2 u in spectral form: N(u) - stiff u, with N = -k^2 (u^3 - u).

    Implements :class:`solvers.integrators.protocol.Equation`.
    """

    conserves_mean = True
    order = np.array([3])

    def __init__(self, basis: Basis, kappa: torch.Tensor) -> None:
        self.basis = basis
        self.kappa = kappa
        # One row serves all when kappa is common: broadcasting is cheaper than reading a row per sample.
        rows = kappa[:1] if bool((kappa == kappa[0]).all()) else kappa
        self.stiff = (rows.to(basis.k2)[:, None] * basis.k2.square())[:, None, :]
        self.damping = basis.k2
        self.scale_weights = _without_mean(resolved_scale(basis, kappa))
        self._minus_k2 = -basis.k2

    def select(self, keep: torch.Tensor) -> CahnHilliardEquation:
        return CahnHilliardEquation(self.basis, self.kappa[keep])

    def explicit(self, coefficients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """N(u) (batch, 1, F), and the largest u^2 (batch,)."""
        u = self.basis.inverse(coefficients)
        if compilable(u):
            largest = u.new_empty(len(u))
            u = u.contiguous()
            double_well_force(u.view(len(u), -1).numpy(), largest.numpy())
            return self.basis.forward(u).mul_(self._minus_k2), largest
        square = u * u
        return self.basis.forward((square - 1.0).mul_(u)).mul_(self._minus_k2), square.flatten(1).amax(1)

    def stabiliser(self, largest: np.ndarray) -> np.ndarray:
        """The share s of damping k^2 u that is treated implicitly, from the largest u^2.

        The explicit Jacobian is -k^2 (3 u^2 - 1), so 3/4 of its largest decay rate is held implicitly: the least that
        keeps long steps stable; negative early on, which makes the initial growth nearly exact. More than that costs
        accuracy and, at interfaces, stability (docs/experiments.md, "stabilisation").
        """
        return STABILISER_SHARE * (3.0 * largest - 1.0)

    def compiled_terms(self) -> CompiledTerms:
        """See :mod:`solvers.processes.terms`."""
        explicit = resolve("solvers.processes.terms:double_well")(*resolve(_TRANSFORMS)(self.basis))
        rows = self._minus_k2.numpy()[None]
        slope = (3.0 * STABILISER_SHARE, -STABILISER_SHARE)
        return CompiledTerms(explicit, 1, 0, lambda _: rows, lambda _: _NO_NUMBERS, lambda _: slope)


_THIRD_ORDER_CONTRAST = 0.4  # above it the third order needs tiny steps


class VariableMobilityEquation:
    """du/dt = div( m(u) grad mu ), m = max(0, 1 - a u^2), mu = u^3 - u - kappa lap u, in flux form.

    All of it is explicit but for stiff = kappa k^4, added on both sides. Implements
    :class:`solvers.integrators.protocol.Equation`.
    """

    conserves_mean = True

    def __init__(self, basis: PeriodicBasis, kappa: torch.Tensor, contrast: torch.Tensor) -> None:
        self.basis = basis
        self.kappa = kappa
        self.contrast = contrast
        self.stiff = (kappa.to(basis.k2)[:, None] * basis.k2.square())[:, None, :]
        self.damping = basis.k2
        self.scale_weights = _without_mean(resolved_scale(basis, kappa))
        self._kappa_k2 = kappa.to(basis.k2)[:, None, None] * basis.k2
        self._contrast = contrast.to(basis.k2).reshape([-1] + [1] * (len(basis.shape) + 1))
        self._derivatives = basis.derivatives()
        # The explicit part is (1 - m) of the implicit one at short waves; extrapolated at order 3 that is stable for
        # (1 - m) <= 1/2 only, at order 2 up to 1.
        self.order = np.where(contrast.numpy() > _THIRD_ORDER_CONTRAST, 2, 3)
        self._below_nyquist = basis.below_nyquist()

    def select(self, keep: torch.Tensor) -> VariableMobilityEquation:
        return VariableMobilityEquation(self.basis, self.kappa[keep], self.contrast[keep])

    def explicit(self, coefficients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """div(m grad mu) + kappa k^4 u (batch, 1, F), and the largest u^2 (batch,)."""
        basis = self.basis
        u = basis.inverse(coefficients)
        square = u * u
        mobility = (1.0 - self._contrast * square).clamp_min_(0.0)
        potential = basis.forward((square - 1.0) * u) + self._kappa_k2 * coefficients
        divergence = torch.zeros_like(coefficients)
        for derivative in self._derivatives:
            flux = mobility * basis.inverse(basis.differentiate(potential, derivative))
            divergence += basis.differentiate(basis.forward(flux), derivative)
        # First derivatives vanish at Nyquist modes while stiff does not: what is added back there would not cancel,
        # and extrapolating it is unstable. Left to stiff alone those modes decay.
        explicit = (divergence + self.stiff * coefficients).mul_(self._below_nyquist)
        return explicit, square.flatten(1).amax(1)

    def stabiliser(self, largest: np.ndarray) -> np.ndarray:
        """As for constant mobility, the largest mobility being the same."""
        return STABILISER_SHARE * (3.0 * largest - 1.0)

    def compiled_terms(self) -> CompiledTerms:
        """See :mod:`solvers.processes.terms`."""
        explicit = resolve("solvers.processes.terms:variable_mobility")(*resolve(_TRANSFORMS)(self.basis))
        kind = self.basis.k2.dtype
        whole = torch.zeros(1, *self.basis.half_shape, dtype=kind)
        # k of both parts of every mode, as real coefficients are stored.
        wavenumbers = [(symbol.imag + whole).reshape(-1).repeat_interleave(2) for symbol in self._derivatives]
        contrast = self.contrast.double().numpy()
        slope = (3.0 * STABILISER_SHARE, -STABILISER_SHARE)

        def rows(sample: int) -> np.ndarray:
            own = [self._kappa_k2[sample, 0], self.stiff[sample, 0], self._below_nyquist]
            return torch.stack([*own, *wavenumbers]).numpy()

        return CompiledTerms(explicit, 1, 2, rows, lambda b: contrast[b : b + 1], lambda _: slope)


def _without_mean(weights: torch.Tensor) -> torch.Tensor:
    """Weights that leave out the mean: it is conserved, so errors count against the deviation from it."""
    weights[:, 0] = 0.0
    return weights
