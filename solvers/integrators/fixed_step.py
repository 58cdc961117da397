"""Fixed-step schemes for du/dt = N(u) + L u, L diagonal; none of them knows any physics.

They serve benchmarks, checks of the adaptive scheme, and models that must be differentiable: gradients flow through
steps and coefficients. States are (batch, component, F) coefficients, L is (..., F). Coefficients of a scheme are
computed in the precision of L and rounded to ``dtype``, that of the states.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch

from solvers.errors import InputError
from solvers.integrators.protocol import Equation

#: N(u), state to state.
Nonlinear = Callable[[torch.Tensor], torch.Tensor]


class FixedStep(Protocol):
    """One step of a fixed-step scheme."""

    def __call__(self, state: torch.Tensor) -> torch.Tensor:
        """The state one step later."""


def phi_functions(z: torch.Tensor, count: int) -> list[torch.Tensor]:
    """exp(z) and phi_1 ... phi_count of real float64 z, differentiable: formulas far from 0, series near it.

    phi_0 = exp(z), phi_(n+1) = (phi_n - 1 / n!) / z; Cox and Matthews (2002), doi:10.1006/jcph.2002.6995.
    """
    near = z.abs() < 0.5
    far = torch.where(near, -1.0, z)
    small = torch.where(near, z, 0.0)
    found, formula = [torch.exp(z)], torch.expm1(far) / far
    for order in range(1, count + 1):
        if order > 1:
            formula = (formula - 1.0 / math.factorial(order - 1)) / far
        series = torch.zeros_like(z)
        for n in range(11, -1, -1):
            series = series * small + 1.0 / math.factorial(n + order)
        found.append(torch.where(near, series, formula))
    return found


class SemiImplicitEuler:
    """First order: (1 - h L) u_new = u + h N(u)."""

    def __init__(self, nonlinear: Nonlinear, linear: torch.Tensor, step: float, dtype: torch.dtype) -> None:
        self._nonlinear = nonlinear
        self._h = step
        self._inverse = (1.0 / (1.0 - step * linear)).to(dtype)

    def __call__(self, state: torch.Tensor) -> torch.Tensor:
        return (state + self._h * self._nonlinear(state)) * self._inverse


class ETDRK2:
    """Exponential Runge-Kutta (ETD), order 2 (Cox and Matthews 2002, eq. 22, doi:10.1006/jcph.2002.6995)."""

    def __init__(self, nonlinear: Nonlinear, linear: torch.Tensor, step: float, dtype: torch.dtype) -> None:
        self._nonlinear = nonlinear
        decay, phi1, phi2 = phi_functions(linear * step, 2)
        self._decay, self._first, self._second = (c.to(dtype) for c in (decay, step * phi1, step * phi2))

    def __call__(self, state: torch.Tensor) -> torch.Tensor:
        start = self._nonlinear(state)
        middle = self._decay * state + self._first * start
        return middle + self._second * (self._nonlinear(middle) - start)


class ETDRK4:
    """Exponential time differencing Runge-Kutta, order 4 (Cox and Matthews 2002, eq. 26-29)."""

    def __init__(self, nonlinear: Nonlinear, linear: torch.Tensor, step: float, dtype: torch.dtype) -> None:
        self._nonlinear = nonlinear
        z = linear * step
        decay, phi1, phi2, phi3 = phi_functions(z, 3)
        half_decay, half_phi = phi_functions(0.5 * z, 1)
        self._decays = decay.to(dtype), half_decay.to(dtype)
        self._half = (0.5 * step * half_phi).to(dtype)
        weights = (phi1 - 3.0 * phi2 + 4.0 * phi3, 2.0 * phi2 - 4.0 * phi3, 4.0 * phi3 - phi2)
        self._weights = tuple((step * w).to(dtype) for w in weights)

    def __call__(self, state: torch.Tensor) -> torch.Tensor:
        return self.after(state, self._nonlinear(state))

    def after(self, state: torch.Tensor, n1: torch.Tensor) -> torch.Tensor:
        """The state one step later, N(state) being known."""
        decay, half_decay = self._decays
        first, middle, last = self._weights
        base = half_decay * state
        a = base + self._half * n1
        n2 = self._nonlinear(a)
        n3 = self._nonlinear(base + self._half * n2)
        n4 = self._nonlinear(half_decay * a + self._half * (2.0 * n3 - n1))
        return decay * state + first * n1 + middle * (n2 + n3) + last * n4


class SBDF:
    """Semi-implicit BDF with extrapolation, order 2 or 3, one evaluation a step (Ascher, Ruuth and Wetton 1995,
    doi:10.1137/0732037, eq. 2.8 and section 2.3).

    The first steps are ETDRK4 at the same step: one of first order would cost as much accuracy as all others together.
    """

    def __init__(
        self, nonlinear: Nonlinear, linear: torch.Tensor, step: float, dtype: torch.dtype, order: int = 3
    ) -> None:
        self._order = order
        self._nonlinear = nonlinear
        self._beta_h = (2.0 / 3.0 if order == 2 else 6.0 / 11.0) * step
        self._start = ETDRK4(nonlinear, linear, step, dtype)
        self._inverse = (1.0 / (1.0 - self._beta_h * linear)).to(dtype)
        self._history: list[tuple[torch.Tensor, torch.Tensor]] = []

    def __call__(self, state: torch.Tensor) -> torch.Tensor:
        """The state one step later; to be called in sequence, as the history is kept."""
        self._history.insert(0, (state, self._nonlinear(state)))
        if len(self._history) < self._order:
            return self._start.after(*self._history[0])
        if self._order == 2:
            (u0, n0), (u1, n1) = self._history
            states, terms = (4.0 * u0 - u1) / 3.0, 2.0 * n0 - n1
        else:
            (u0, n0), (u1, n1), (u2, n2) = self._history
            states, terms = (18.0 * u0 - 9.0 * u1 + 2.0 * u2) / 11.0, 3.0 * (n0 - n1) + n2
        self._history.pop()
        return (states + self._beta_h * terms) * self._inverse


SCHEMES: dict[str, Callable[[Nonlinear, torch.Tensor, float, torch.dtype], FixedStep]] = {
    "euler": SemiImplicitEuler,
    "sbdf2": partial(SBDF, order=2),
    "sbdf3": SBDF,
    "etdrk2": ETDRK2,
    "etdrk4": ETDRK4,
}


def make_scheme(name: str, equation: Equation, step: float, stabilisation: float) -> FixedStep:
    """A fixed-step scheme for an equation whose stabilisation is held fixed; raises InputError for an unknown name."""
    if name not in SCHEMES:
        raise InputError(f"scheme: one of {', '.join(SCHEMES)}, but got {name!r}")
    shift = stabilisation * equation.damping
    linear = -(equation.stiff + shift).double()

    def nonlinear(state: torch.Tensor) -> torch.Tensor:
        return equation.explicit(state)[0].add_(shift * state)

    return SCHEMES[name](nonlinear, linear, step, equation.damping.dtype)
