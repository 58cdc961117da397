"""Fixed-step schemes, for benchmarks and for checking the adaptive one. None of them knows any physics.

Each is built for one equation, state shape and step, and advances (batch, component, F) coefficients.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar, Protocol

import torch

from solvers.errors import InputError
from solvers.integrators.protocol import Equation

_CONTOUR_POINTS = 32


class FixedStep(Protocol):
    """One step of a fixed-step scheme."""

    def __call__(self, coefficients: torch.Tensor) -> torch.Tensor:
        """State one step later."""


def phi_functions(z: torch.Tensor, count: int) -> list[torch.Tensor]:
    """phi_0 ... phi_count of real z, by the mean over a circle around z (Kassam and Trefethen 2005, section 3,
    doi:10.1137/S1064827502410633), in complex128: direct formulas cancel near z = 0."""
    angle = math.pi * (torch.arange(_CONTOUR_POINTS, dtype=torch.float64, device=z.device) + 0.5) / _CONTOUR_POINTS
    points = z.double()[..., None] + torch.exp(1j * angle)
    values = [torch.exp(z.double())]
    term, factorial = torch.exp(points), 1.0
    for order in range(1, count + 1):
        term = (term - 1.0 / factorial) / points
        factorial *= order
        values.append(term.real.mean(-1))
    return [v.to(z.dtype) for v in values]


class _Split:
    """The linear part L = -(stiff + s damping) and the matching nonlinear part of an equation, s fixed."""

    def __init__(self, equation: Equation, stabilisation: float) -> None:
        self.equation = equation
        self.linear = -(equation.stiff + stabilisation * equation.damping)
        self._shift = stabilisation * equation.damping

    def nonlinear(self, coefficients: torch.Tensor) -> torch.Tensor:
        explicit, _ = self.equation.explicit(coefficients)
        return explicit.add_(self._shift * coefficients)


class SemiImplicitEuler:
    """First order: (1 - h L) u_new = u + h N(u)."""

    order = 1

    def __init__(self, equation: Equation, step: float, stabilisation: float) -> None:
        self._split = _Split(equation, stabilisation)
        self._h = step
        self._inverse = 1.0 / (1.0 - step * self._split.linear)

    def __call__(self, coefficients: torch.Tensor) -> torch.Tensor:
        """State one step later."""
        return (coefficients + self._h * self._split.nonlinear(coefficients)) * self._inverse


class SBDF:
    """Semi-implicit BDF with extrapolation, order 2 or 3, one evaluation a step (Ascher, Ruuth and Wetton 1995,
    doi:10.1137/0732037, eq. 2.8 and section 2.3). The first steps are ETDRK4 at the same step."""

    _BDF: ClassVar = {2: ((4 / 3, -1 / 3), 2 / 3), 3: ((18 / 11, -9 / 11, 2 / 11), 6 / 11)}
    _EXTRAPOLATION: ClassVar = {2: (2.0, -1.0), 3: (3.0, -3.0, 1.0)}

    def __init__(self, equation: Equation, step: float, stabilisation: float, order: int) -> None:
        self.order = order
        self._split = _Split(equation, stabilisation)
        self._bdf, beta = self._BDF[order]
        self._beta_h = beta * step
        self._inverse = 1.0 / (1.0 - self._beta_h * self._split.linear)
        self._start = ETDRK4(equation, step, stabilisation)
        self._states: list[torch.Tensor] = []
        self._terms: list[torch.Tensor] = []

    def __call__(self, coefficients: torch.Tensor) -> torch.Tensor:
        """State one step later; call it in sequence, as it keeps the history."""
        self._states.insert(0, coefficients)
        self._terms.insert(0, self._split.nonlinear(coefficients))
        if len(self._states) < self.order:
            return self._start(coefficients)
        states = sum(w * u for w, u in zip(self._bdf, self._states, strict=True))
        terms = sum(w * n for w, n in zip(self._EXTRAPOLATION[self.order], self._terms, strict=True))
        self._states.pop()
        self._terms.pop()
        return (states + self._beta_h * terms) * self._inverse


class ETDRK2:
    """Exponential Runge-Kutta (ETD), order 2 (Cox and Matthews 2002, eq. 22, doi:10.1006/jcph.2002.6995)."""

    order = 2

    def __init__(self, equation: Equation, step: float, stabilisation: float) -> None:
        self._split = _Split(equation, stabilisation)
        self._decay, phi1, phi2 = phi_functions(self._split.linear * step, 2)
        self._first, self._second = step * phi1, step * phi2

    def __call__(self, coefficients: torch.Tensor) -> torch.Tensor:
        """State one step later."""
        start = self._split.nonlinear(coefficients)
        middle = self._decay * coefficients + self._first * start
        return middle + self._second * (self._split.nonlinear(middle) - start)


class ETDRK4:
    """Exponential time differencing Runge-Kutta, order 4 (Cox and Matthews 2002, eq. 26-29), coefficients as in
    Kassam and Trefethen (2005), doi:10.1137/S1064827502410633."""

    order = 4

    def __init__(self, equation: Equation, step: float, stabilisation: float) -> None:
        self._split = _Split(equation, stabilisation)
        self._decay, phi1, phi2, phi3 = phi_functions(self._split.linear * step, 3)
        self._half_decay, half_phi = phi_functions(self._split.linear * (0.5 * step), 1)
        self._half = 0.5 * step * half_phi
        self._first = step * (phi1 - 3.0 * phi2 + 4.0 * phi3)
        self._middle = step * (2.0 * phi2 - 4.0 * phi3)
        self._last = step * (4.0 * phi3 - phi2)

    def __call__(self, coefficients: torch.Tensor) -> torch.Tensor:
        """State one step later."""
        nonlinear = self._split.nonlinear
        n1 = nonlinear(coefficients)
        base = self._half_decay * coefficients
        a = base + self._half * n1
        n2 = nonlinear(a)
        b = base + self._half * n2
        n3 = nonlinear(b)
        c = self._half_decay * a + self._half * (2.0 * n3 - n1)
        n4 = nonlinear(c)
        return self._decay * coefficients + self._first * n1 + self._middle * (n2 + n3) + self._last * n4


SCHEMES: dict[str, Callable[[Equation, float, float], FixedStep]] = {
    "euler": SemiImplicitEuler,
    "sbdf2": lambda equation, step, s: SBDF(equation, step, s, 2),
    "sbdf3": lambda equation, step, s: SBDF(equation, step, s, 3),
    "etdrk2": ETDRK2,
    "etdrk4": ETDRK4,
}


def make_scheme(name: str, equation: Equation, step: float, stabilisation: float) -> FixedStep:
    """A fixed-step scheme by name.

    Raises:
        InputError: for an unknown name.
    """
    if name not in SCHEMES:
        raise InputError(f"scheme: one of {', '.join(SCHEMES)}, but got {name!r}")
    return SCHEMES[name](equation, step, stabilisation)
