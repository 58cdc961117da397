"""PFHub benchmarks 1a, spinodal decomposition judged by its free energy, and 7a, Allen-Cahn with a known solution.

Benchmark 7a has a source chosen so that the solution is known in closed form:

    d eta/dt = -4 eta (eta - 1)(eta - 1/2) + kappa lap eta + S(x, y, t) on [0, 1] x [0, 1/2], periodic in x,
    eta = (1 - tanh((y - alpha) / sqrt(2 kappa))) / 2, alpha = 1/4 + A1 t sin(B1 x) + A2 sin(B2 x + C2 t).

Source: A. M. Jokisaari et al., https://pages.nist.gov/pfhub/benchmarks/benchmark7.ipynb/. The box is mirrored in y to
make it periodic, which changes the boundary values (1 and 0) by less than 1e-6. Only the integrators and the spectral
basis are ours here, the equation is the benchmark's. Integrators are for autonomous equations, so the
time of the source is one more component, d tau/dt = 1, kept in the mean coefficient of a second field.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from common.runs import Table

from solvers import CahnHilliard, Grid, solve
from solvers.grids.spectral_basis import PeriodicBasis
from solvers.initial.pfhub import pfhub_1a
from solvers.integrators import make_scheme
from solvers.integrators.trajectory import rollout

# Published free energies that independent converged codes agree on; later the codes branch.
PUBLISHED = {1.0: (318.857, 0.003), 10.0: (297.965, 0.02), 20.0: (213.1, 0.2), 100.0: (136.6, 0.5)}


def problem() -> CahnHilliard:
    """The benchmark's material on its box of side 200."""
    return CahnHilliard(Grid((200, 200)), mobility=5.0, kappa=2.0, well={"rho": 5.0, "ca": 0.3, "cb": 0.7})  # type: ignore[arg-type]


def benchmark_1a() -> list[Table]:
    """Free energy at the times before published codes branch."""
    table = Table(
        "PFHub 1a: free energy of spinodal decomposition",
        "Side 200, spacing 1, f = 5 (c - 0.3)^2 (0.7 - c)^2, kappa = 2, M = 5, the benchmark's formula as start "
        "(doi:10.1016/j.commatsci.2016.09.022, section 3.1).",
        ["tolerance", "t", "free energy", "published", "within", "cells", "evaluations"],
    )
    material = problem()
    start = pfhub_1a(material.grid)[None]
    for tolerance in (1e-2, 1e-3, 1e-4):
        solution = solve(material, start, list(PUBLISHED), tolerance)
        for (time, (value, band)), found in zip(PUBLISHED.items(), solution.free_energy[0].tolist(), strict=True):
            cost = int(solution.evaluations[0])
            shown = (f"{tolerance:g}", f"{time:g}", f"{found:.4f}", f"{value:g}", f"{band:g}")
            table.add(*shown, solution.shapes[0][0], cost, held=abs(found - value) <= band)
    return [table]


KAPPA, A1, B1, A2, B2, C2 = 4e-4, 0.0075, 8 * math.pi, 0.03, 22 * math.pi, 0.0625 * math.pi
STOP = 8.0


class ManufacturedAllenCahn:
    """The benchmark as an autonomous system of (eta, tau); implements
    :class:`solvers.integrators.protocol.Equation` for a batch of one."""

    conserves_mean = False
    order = np.array([3])

    def __init__(self, shape: tuple[int, int]) -> None:
        self.basis = PeriodicBasis(shape, (1.0, 1.0), torch.float64, torch.device("cpu"))
        self.stiff = KAPPA * self.basis.k2[None, None]
        # No damping of the means: one of them is the time, which must advance exactly from the first step on.
        self.damping = (self.basis.k2 > 0).double()
        self.scale_weights = self.basis.weights[None, :, None]
        y, x = (torch.arange(n, dtype=torch.float64) / n for n in shape)
        self._y = torch.minimum(y, 1.0 - y)[:, None]
        self._x = x[None, :]

    def select(self, keep: torch.Tensor) -> ManufacturedAllenCahn:  # noqa: ARG002
        """The batch is one sample."""
        return self

    def _interface(self, time: float) -> tuple[torch.Tensor, ...]:
        """alpha, its derivatives in t, x and x twice, each (1, x)."""
        slow, fast = B1 * self._x, B2 * self._x + C2 * time
        alpha = 0.25 + A1 * time * torch.sin(slow) + A2 * torch.sin(fast)
        in_time = A1 * torch.sin(slow) + A2 * C2 * torch.cos(fast)
        in_x = A1 * time * B1 * torch.cos(slow) + A2 * B2 * torch.cos(fast)
        twice = -A1 * time * B1**2 * torch.sin(slow) - A2 * B2**2 * torch.sin(fast)
        return alpha, in_time, in_x, twice

    def exact(self, time: float) -> torch.Tensor:
        """eta (y, x)."""
        alpha = self._interface(time)[0]
        return 0.5 * (1.0 - torch.tanh((self._y - alpha) / math.sqrt(2 * KAPPA)))

    def source(self, time: float) -> torch.Tensor:
        """S (y, x), from putting the solution into the equation; its bulk and second y-derivative cancel."""
        alpha, in_time, in_x, twice = self._interface(time)
        width = math.sqrt(2 * KAPPA)
        profile = torch.tanh((self._y - alpha) / width)
        return (1.0 - profile**2) / (2 * width) * (in_time - KAPPA * twice - width * profile * in_x**2)

    def start(self) -> torch.Tensor:
        """(1, 2, F) coefficients at time 0."""
        eta = self.basis.forward(self.exact(0.0))
        return torch.stack([eta, torch.zeros_like(eta)])[None]

    def explicit(self, coefficients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """N(eta, tau), and the largest eta^2."""
        eta = self.basis.inverse(coefficients[0, 0])
        rate = self.source(float(coefficients[0, 1, 0])) - 4.0 * eta * (eta - 1.0) * (eta - 0.5)
        out = torch.zeros_like(coefficients)
        out[0, 0] = self.basis.forward(rate)
        out[0, 1, 0] = 1.0
        return out, eta.square().amax()[None]

    def stabiliser(self, largest: np.ndarray) -> np.ndarray:
        """Half of the largest decay rate, 2, and of the growth rate, 1, that the reaction has."""
        return np.full_like(largest, 1.5)

    def error(self, coefficients: torch.Tensor, time: float) -> float:
        """L2 error over [0, 1] x [0, 1/2] of (component, F) coefficients."""
        difference = self.basis.inverse(coefficients[0]) - self.exact(time)
        return math.sqrt(0.5 * float(difference.square().mean()))


def fixed_step_error(shape: tuple[int, int], scheme: str, step: float, stop: float = STOP) -> float:
    """L2 error at ``stop`` of a fixed-step scheme."""
    equation = ManufacturedAllenCahn(shape)
    state = equation.start()
    advance = make_scheme(scheme, equation, step, 1.5 if scheme.startswith("sbdf") else 0.0)
    for _ in range(round(stop / step)):
        state = advance(state)
    return equation.error(state[0], stop)


def adaptive_error(shape: tuple[int, int], step_tolerance: float, stop: float = STOP) -> tuple[float, int]:
    """L2 error at ``stop`` of the adaptive scheme, and its evaluations."""
    equation = ManufacturedAllenCahn(shape)
    cost = np.zeros(1, dtype=np.int64)
    (states,) = rollout(equation, equation.start(), np.array([[stop]]), step_tolerance, evaluations=cost)
    return equation.error(states.coefficients[0], stop), int(cost[0])


def benchmark_7a() -> list[Table]:
    """Fixed-step and adaptive errors at t = 8."""
    table = Table(
        "PFHub 7a: manufactured solution of Allen-Cahn",
        "L2 error over [0, 1] x [0, 1/2] at t = 8, kappa = 4e-4, spectral in space on the box mirrored in y. The "
        "target is 1e-5; rows without a bound show the order.",
        ["scheme", "step or step tolerance", "cells (y, x)", "evaluations", "L2 error"],
    )
    shape = (160, 512)
    for scheme, stages, step, held in (
        ("etdrk4", 4, 0.1, None),
        ("etdrk4", 4, 0.05, True),
        ("etdrk4", 4, 0.025, True),
        ("sbdf2", 1, 0.02, None),
        ("sbdf2", 1, 0.01, None),
        ("sbdf3", 1, 0.02, None),
        ("sbdf3", 1, 0.01, True),
    ):
        error = fixed_step_error(shape, scheme, step)
        table.add(scheme, f"{step:g}", shape, round(STOP / step) * stages, error, held=held and error <= 1e-5)
    for step_tolerance, held in ((1e-5, None), (1e-6, None), (1e-7, True)):
        error, cost = adaptive_error(shape, step_tolerance)
        table.add("adaptive", f"{step_tolerance:g}", shape, cost, error, held=held and error <= 1e-5)
    for coarse in ((64, 192), (96, 256), (128, 384)):
        error = fixed_step_error(coarse, "etdrk4", 0.05)
        table.add("etdrk4", "0.05", coarse, round(STOP / 0.05) * 4, error, held=None)
    return [table]
