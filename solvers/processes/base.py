"""What the solver needs of a problem: a process with its parameters on a grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

import torch

from solvers.grids.grid import Grid

if TYPE_CHECKING:
    from solvers.grids.spectral_basis import Basis
    from solvers.integrators.protocol import Equation


class Problem(Protocol):
    """A process with its parameters, floats or (batch,) tensors, on the user's grid; a frozen dataclass.

    The solver works in the equation's own units: states u (batch, component, *shape), time multiplied by
    ``time_scale``.
    """

    process: ClassVar[str]
    #: Axes of the states that users see, ``(batch, shape)`` or ``(batch, component, shape)``, for messages.
    state_axes: ClassVar[str]

    @property
    def grid(self) -> Grid:
        """The user's grid."""

    @property
    def field_scale(self) -> float:
        """What one unit of u is in the user's units."""

    @property
    def conserves_mean(self) -> bool:
        """Whether the spatial mean never changes."""

    @property
    def needs_periodic_basis(self) -> bool:
        """Whether a no-flux box must be solved as the corner of its even extension."""

    def to_scaled(self, states: torch.Tensor) -> torch.Tensor:
        """States in the user's units and axes as u (batch, component, *shape)."""

    def from_scaled(self, states: torch.Tensor) -> torch.Tensor:
        """The inverse of :meth:`to_scaled`."""

    def free_energy(self, states: torch.Tensor, gradient: torch.Tensor | None = None) -> torch.Tensor:
        """Total free energy (batch, ...) of states in the user's units.

        Args:
            states: (batch, ..., *shape) with the component axis where there is one, any number of cells.
            gradient: (batch, ...) mean of the squared gradient, where it is known already.
        """

    def time_scale(self, batch: int) -> torch.Tensor:
        """Per sample (batch,): time in the equation's units over the user's."""

    def reduced_kappa(self, batch: int) -> torch.Tensor:
        """Per sample (batch,): the square of the interface length (length^2), which decides the internal grid."""

    def equation(self, basis: Basis, batch: int) -> Equation:
        """The dimensionless equation on a basis."""

    def take(self, samples: torch.Tensor) -> Problem:
        """The problem of some samples of the batch (indices)."""
