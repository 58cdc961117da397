"""The window linearised about one trajectory, and Gauss and Newton's equations for the start.

The Hessian of the cost with respect to the whitened increments w of the start is, without second derivatives of the
model,

    H = 1 + T' R^-1 T,

T the derivative of the frames with respect to w and R the variance of their noise. T is the window's own sequence of
steps with linearised forces, whose multipliers are kept from one nonlinear run; T' is its reverse-mode derivative.
Equations H x = r for several right-hand sides are solved together, as block conjugate gradients do (O'Leary 1980,
doi:10.1016/0024-3795(80)90247-5): each is solved in the space that all of them have opened. Ten right-hand sides take a
fifth of the runs that they take one by one. It is the inner loop of incremental 4D-Var (Courtier, Thepaut and
Hollingsworth 1994, doi:10.1002/qj.49712051912).
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from studies.twin.inference.variational import VariationalProblem
from studies.twin.model.forward import Material, Window

#: A derivative: a change of the state to the change of what follows from it.
Linear = Callable[[torch.Tensor], torch.Tensor]

#: Numbers that one batch of linearised runs may keep for its reverse pass: 1 GiB in single precision.
_KEPT = 2**28


class Tangent:
    """Derivative of the observed frames with respect to the increments of the start.

    Args:
        variational: whose window, camera and prior these are.
        z: float64 (name,), and
        w: float32 (component, F), about which to linearise.
    """

    def __init__(self, variational: VariationalProblem, z: torch.Tensor, w: torch.Tensor) -> None:
        self._variational = variational
        values = variational.problem.values(z[None])
        self._material = variational.problem.material(values)
        contrast = float(values["level_high"][0] - values["level_low"][0])
        self._gain = 0.5 * contrast if variational.problem.process == "cahn_hilliard" else contrast
        self._laws: list[Linear] = []
        self._views: list[Linear] = []
        with torch.no_grad():
            _Recording(variational.window, self._laws, self._views).run(variational.begin(w[None]), self._material)
        variational.calls += 1

    @property
    def rows_at_once(self) -> int:
        """Rows that a batch may have."""
        fields = max(1, len(self._laws)) * 4 * self._variational.base.numel()
        return max(1, _KEPT // fields)

    def frames(self, change: torch.Tensor) -> torch.Tensor:
        """Change of the frames (batch, time, pixel y, pixel x), grey values, for changes (batch, component, F) of w."""
        variational = self._variational
        basis = variational.window.basis
        start = basis.forward(variational.where * basis.inverse(variational.spread * change))
        seen, _ = _Replaying(variational.window, self._laws, self._views).run(start, self._material)
        variational.calls += len(change)
        return self._gain * variational.problem.camera.view(seen)

    def transposed(self, frames: torch.Tensor) -> torch.Tensor:
        """Frames (batch, time, pixel y, pixel x) pulled back to w (batch, component, F)."""
        return torch.cat([self._transposed(part) for part in frames.split(self.rows_at_once)])

    def _transposed(self, frames: torch.Tensor) -> torch.Tensor:
        zero = torch.zeros(len(frames), *self._variational.base.shape, requires_grad=True)
        (back,) = torch.autograd.grad(self.frames(zero), zero, frames)
        self._variational.calls += len(frames)
        return back

    def curvature(self, change: torch.Tensor) -> torch.Tensor:
        """H times changes (batch, component, F); as many at a time as memory has room for."""
        return torch.cat([self._curvature(part) for part in change.split(self.rows_at_once)])

    def _curvature(self, change: torch.Tensor) -> torch.Tensor:
        leaf = change.detach().requires_grad_(True)
        seen = self.frames(leaf)
        (back,) = torch.autograd.grad(seen, leaf, self._variational.weight * seen.detach())
        self._variational.calls += len(change)
        return change + back

    def solve(self, right: torch.Tensor, iterations: int, tolerance: float) -> torch.Tensor:
        """x of H x = right, both (batch, component, F).

        Args:
            iterations: at most.
            tolerance: of the residual over the right-hand side.
        """
        rows = right.flatten(1).double()
        x, missed = torch.zeros_like(rows), rows
        space, bent = rows[:0], rows[:0]
        for _ in range(iterations):
            open_ = missed.norm(dim=1) > tolerance * rows.norm(dim=1)
            if not bool(open_.any()):
                break
            fresh = _orthonormal(missed[open_], space)
            curved = self.curvature(fresh.float().reshape(-1, *right.shape[1:]))
            space, bent = torch.cat([space, fresh]), torch.cat([bent, curved.flatten(1).double()])
            # The whole space is kept and solved anew: no recursion for single precision to spoil.
            matrix = space @ bent.T
            share = torch.linalg.solve(0.5 * (matrix + matrix.T), space @ rows.T).T
            x, missed = share @ space, rows - share @ bent
        return x.float().reshape(right.shape)


def _orthonormal(rows: torch.Tensor, space: torch.Tensor) -> torch.Tensor:
    """Orthonormal rows that, with those of ``space``, span these too; twice is enough (Kahan, in Parlett 1980)."""
    rows = rows / rows.norm(dim=1, keepdim=True)
    for _ in range(2):
        rows = torch.linalg.qr((rows - (rows @ space.T) @ space).T)[0].T
    return rows


class _Linearised(Window):
    """A window and the derivatives of its forces and frames, in the order of its steps."""

    def __init__(self, window: Window, laws: list[Linear], views: list[Linear]) -> None:
        self.__dict__.update(window.__dict__)
        self._laws, self._views = laws, views


class _Recording(_Linearised):
    """A window that keeps, for every force and every frame, what its derivative takes."""

    def force(self, state: torch.Tensor, material: Material, damping: torch.Tensor, share: float) -> torch.Tensor:
        u = self.basis.inverse(state)
        gamma = 0.0 if material.gamma is None else float(material.gamma[0])
        self._laws.append(force_derivative(self, u, gamma, damping, share))
        return super().force(state, material, damping, share)

    def observe(self, state: torch.Tensor) -> torch.Tensor:
        self._views.append(view_derivative(self, state))
        return super().observe(state)


class _Replaying(_Linearised):
    """The same steps with the derivatives that were kept."""

    # The kept derivatives know material and damping; the arguments are those of the window's own steps.

    def __init__(self, window: Window, laws: list[Linear], views: list[Linear]) -> None:
        super().__init__(window, laws, views)
        self._next_law, self._next_view = iter(laws), iter(views)

    def force(self, state: torch.Tensor, material: Material, damping: torch.Tensor, share: float) -> torch.Tensor:  # noqa: ARG002
        return next(self._next_law)(state)

    def observe(self, state: torch.Tensor) -> torch.Tensor:
        return next(self._next_view)(state)


def force_derivative(window: Window, u: torch.Tensor, gamma: float, damping: torch.Tensor, share: float) -> Linear:
    """Derivative of :meth:`Window.force` at the values u (1, component, *shape): coefficients to coefficients."""
    basis = window.basis
    if window.process == "cahn_hilliard":
        slope = 3.0 * u * u - (1.0 + share)
        return lambda change: -damping * basis.forward(slope * basis.inverse(change))
    square = u * u
    rate = 1.0 + share - 2.0 * gamma * square.sum(1, keepdim=True) + (2.0 * gamma - 1.0) * square
    own = rate + 2.0 * (2.0 * gamma - 1.0) * square

    def coupled(change: torch.Tensor) -> torch.Tensor:
        v = basis.inverse(change)
        return basis.forward(own * v - 4.0 * gamma * u * (u * v).sum(1, keepdim=True))

    return coupled


def view_derivative(window: Window, state: torch.Tensor) -> Linear:
    """Derivative of :meth:`Window.observe` at a state (1, component, F)."""
    if window.process == "cahn_hilliard":
        return lambda change: Window.observe(window, change)
    basis, same = window.basis, window.shape == window.grid.shape
    u = basis.inverse(state)

    def seen(change: torch.Tensor) -> torch.Tensor:
        phi = 2.0 * (u * basis.inverse(change)).sum(-3)
        return phi if same else basis.sample(basis.forward(phi), window.grid.shape)

    return seen
