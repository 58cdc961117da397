"""The window linearised about one trajectory, and Gauss and Newton's equations for the start.

The Hessian of the cost with respect to the whitened increments w of the start is, without second derivatives of the
model,

    H = 1 + T' R^-1 T,

T the derivative of the frames with respect to w and R the variance of their noise. T is the window's own sequence of
steps with linearised forces, whose multipliers are kept from one nonlinear run; T' is its reverse-mode derivative.
Equations H x = r for several right-hand sides are solved together, as block conjugate gradients do (O'Leary 1980,
doi:10.1016/0024-3795(80)90247-5), each in the space that all of them span. Ten right-hand sides take a
fifth of the runs that they take one by one. It is the inner loop of incremental 4D-Var (Courtier, Thepaut and
Hollingsworth 1994, doi:10.1002/qj.49712051912).
"""

from __future__ import annotations

import torch

from solvers.grids.spectral_basis import Basis
from studies.twin.inference.variational import VariationalProblem
from studies.twin.model.process_model import Linear, ParameterValues, ProcessModel

#: To let a start adapt: blocks of search directions, at most, and the residual over the right-hand side: at 0.1 the
#: deviations of the parameters are within 0.1 % of what 0.001 gives.
MOST_BLOCKS, CLOSE = 20, 0.1
#: Numbers that one batch of linearised runs may keep for its reverse pass: 1 GiB in single precision.
_KEPT = 2**28


class Tangent:
    """Derivative of the observed frames with respect to the increments of the start, at z (name,), w (component, F)."""

    def __init__(self, variational: VariationalProblem, z: torch.Tensor, w: torch.Tensor) -> None:
        self._variational = variational
        values = variational.problem.values(z[None])
        self._values = values
        #: Grey values per field.
        self._gain = float(values["level_high"][0] - values["level_low"][0]) / variational.problem.process.contrast
        self._recorded = _Recording(variational.problem.process.model)
        with torch.no_grad():
            variational.window.run(variational.begin(w[None]), values, self._recorded)
        variational.calls += 1

    @property
    def rows_at_once(self) -> int:
        fields = max(1, len(self._recorded.forces)) * 4 * self._variational.base.numel()
        return max(1, _KEPT // fields)

    def frames(self, change: torch.Tensor) -> torch.Tensor:
        """Change of the frames (batch, time, pixel y, pixel x), grey values, for changes (batch, component, F) of w."""
        variational = self._variational
        start = variational.increments(change)
        seen, _ = variational.window.run(start, self._values, _Replaying(self._recorded))
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
        """x of H x = right (batch, component, F), the residual at most ``tolerance`` of each right-hand side."""
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


class _Recording:
    """The dynamics of a process; keeps the derivative of every force and every frame, in the order of the steps."""

    def __init__(self, model: ProcessModel) -> None:
        self._model = model
        self.forces: list[Linear] = []
        self.frames: list[Linear] = []

    def force(self, basis: Basis, state: torch.Tensor, values: ParameterValues) -> torch.Tensor:
        self.forces.append(self._model.force_derivative(basis, basis.inverse(state), values))
        return self._model.force(basis, state, values)

    def observe(self, basis: Basis, state: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        self.frames.append(self._model.observation_derivative(basis, state, shape))
        return self._model.observe(basis, state, shape)


class _Replaying:
    """The linearised dynamics: the derivatives that were kept, in their order."""

    def __init__(self, recorded: _Recording) -> None:
        self._forces, self._frames = iter(recorded.forces), iter(recorded.frames)

    def force(self, basis: Basis, state: torch.Tensor, values: ParameterValues) -> torch.Tensor:  # noqa: ARG002
        return next(self._forces)(state)

    def observe(self, basis: Basis, state: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:  # noqa: ARG002
        return next(self._frames)(state)
