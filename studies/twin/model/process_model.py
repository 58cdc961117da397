"""What estimation and forecast ask of a process: its equation, its states, and how frames show them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import torch

from solvers.frames import Frames
from solvers.grids.grid import Grid
from solvers.grids.spectral_basis import Basis
from solvers.processes.base import Problem
from solvers.processes.registry import process_named

if TYPE_CHECKING:
    from studies.twin.model.weak_form import InteriorEstimate
    from studies.twin.processes import TwinProcess

#: Parameter -> (batch,).
ParameterValues = Mapping[str, torch.Tensor]
#: A derivative: a change of the state to the change of what follows from it.
Linear = Callable[[torch.Tensor], torch.Tensor]


class SolverSettings(TypedDict):
    """Arguments of the production solver."""

    tolerance: float
    dtype: torch.dtype
    device: str


@dataclass
class FirstGuess:
    """A first guess of the start, kept independent of internal grids."""

    amplitude: float  #: standard deviation of increments at interfaces
    components: int  #: fields of the state
    arrays: dict[str, np.ndarray]  #: what the process's model makes its state from, by name
    #: (name,) deviation of the estimated variables that comes from not knowing the start's grains, or None
    doubt: np.ndarray | None = None


@dataclass
class Members:
    """States to go on from."""

    process: TwinProcess  #: of the twin
    grid: Grid  #: the user's cells
    shape: tuple[int, ...]  #: of the internal grid that the states live on
    states: torch.Tensor  #: float32 (member, component, *shape)
    values: dict[str, np.ndarray]  #: parameter -> float64 (member,)
    start: FirstGuess  #: the first guess of the twin's start
    time: float  #: of the states

    @property
    def fine_grid(self) -> Grid:
        """The internal grid."""
        return Grid(tuple(self.shape), self.grid.spacing * self.grid.shape[0] / self.shape[0], self.grid.boundary)

    def part(self, rows: np.ndarray) -> Members:
        states = self.states[torch.from_numpy(rows)]
        return replace(self, states=states, values={n: v[rows] for n, v in self.values.items()})

    def problem(self, grid: Grid) -> Problem:
        """The solver's problem on a grid."""
        values = {n: torch.from_numpy(np.ascontiguousarray(v)) for n, v in self.values.items()}
        return process_named(self.process.name).build(grid, values)


class ProcessModel(ABC):
    """Equation and states of a process; W = 1.

    States are coefficients (batch, component, F) on the basis of an internal grid, and change by

        du/dt = M (force(u) - damping (kappa k^2 + stabiliser) u),

    damping k^2 where the mean is conserved and 1 elsewhere.
    """

    def __init__(self, process: TwinProcess) -> None:
        self.process = process

    @abstractmethod
    def force(self, basis: Basis, state: torch.Tensor, values: ParameterValues) -> torch.Tensor:
        """The explicit part (batch, component, F), mobility 1."""

    @abstractmethod
    def force_derivative(self, basis: Basis, u: torch.Tensor, values: ParameterValues) -> Linear:
        """Derivative of :meth:`force` at cell values u (1, component, *shape): coefficients to coefficients."""

    @abstractmethod
    def observe(self, basis: Basis, state: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        """The field (..., *shape) that frames show, at the user's cells, of states (..., component, F)."""

    def observation_derivative(self, basis: Basis, state: torch.Tensor, shape: tuple[int, ...]) -> Linear:  # noqa: ARG002
        """Derivative of :meth:`observe` at a state (1, component, F); by default that of a linear one."""
        return lambda change: self.observe(basis, change, shape)

    @abstractmethod
    def grey_levels(self, values: np.ndarray, low: float, high: float, shrink: float) -> tuple[float, float]:
        """Grey values at the two field levels, from those of all frames (pixel,).

        Args:
            low, high: their 2 and 98 % quantiles.
            shrink: by how much noise widens the histogram on either side.
        """

    @abstractmethod
    def first_guess(self, image: np.ndarray, grid: Grid, noise: float) -> FirstGuess:
        """A start from an image of the field (y, x) at the user's cells, without gaps, and the deviation of its noise.

        Raises InputError where the image shows nothing of the process.
        """

    @abstractmethod
    def values_of(self, guess: FirstGuess, grid: Grid, shape: tuple[int, ...]) -> torch.Tensor:
        """The first guess (component, *shape) float64 on an internal grid."""

    @abstractmethod
    def interfaces(self, values: np.ndarray) -> np.ndarray:
        """How much of an interface each cell of a state (component, *shape) is, 0 to 1."""

    @abstractmethod
    def shown(self, states: torch.Tensor, grid: Grid) -> torch.Tensor:
        """The field (member, y, x) at the user's cells of states (member, component, *shape)."""

    @abstractmethod
    def solve(self, members: Members, lead: Sequence[float], settings: SolverSettings) -> Frames:
        """Frames of the members after the times ``lead``, by the production solver."""

    @abstractmethod
    def free_energy(self, problem: Problem, field: torch.Tensor) -> torch.Tensor:
        """Free energy (batch, time) of fields (batch, time, y, x); NaN where the field does not determine it."""

    def from_interior(
        self,
        field: np.ndarray,  # noqa: ARG002
        seen: np.ndarray,  # noqa: ARG002
        times: np.ndarray,  # noqa: ARG002
        noise: float,  # noqa: ARG002
        spacing: float,  # noqa: ARG002
        levels_known: bool,  # noqa: ARG002
    ) -> InteriorEstimate | None:
        """Mobility and kappa from the interior of frames alone; None for a process without such an estimate.

        Arguments as those of :func:`studies.twin.model.weak_form.interior_estimate`.
        """
        return None

    def levels_from_interior(
        self,
        field: np.ndarray,  # noqa: ARG002
        seen: np.ndarray,  # noqa: ARG002
        times: np.ndarray,  # noqa: ARG002
        noise: float,  # noqa: ARG002
    ) -> tuple[float, float] | None:
        """Values of the field at its two levels, where its dynamics tell them better than a histogram of frames.

        ``field`` was scaled by levels from a histogram; arguments as those of :meth:`from_interior`.
        """
        return None

    def unbiased(self, varied: torch.Tensor, centre: torch.Tensor, deviations: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        """Varied starts (member, component, *shape) that show on average what their centre shows.

        ``deviations`` (sample, component, *shape) were mixed and added to the centre.
        """
        return varied

    def limited(self, fields: torch.Tensor) -> torch.Tensor:
        """Starts (..., component, y, x) inside the bounds, with the same mean where it is conserved."""
        inside = fields.clamp(*self.process.bounds)
        if not self.process.conserves_mean:
            return inside
        # What limiting took away or added goes back evenly: a tiny shift, for limits touch few cells.
        return inside + (fields - inside).mean((-2, -1), keepdim=True)


def sampled(basis: Basis, coefficients: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Coefficients (..., F) as values (..., *shape) at the user's cells."""
    if tuple(basis.shape) == tuple(shape):
        return basis.inverse(coefficients)
    return basis.sample(coefficients, tuple(shape))
