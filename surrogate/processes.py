"""The processes that learned models know: one object each, with all that models need of them.

With mobility M, well height W and cell size dx (W = 1 for grain growth), kappa' = kappa / (W dx^2) is the square of the
interface length in cells. Models count time as the scaled age s, in which interfaces move about as far at every kappa':

    Cahn-Hilliard   s = M W t sqrt(kappa') / dx^2     (coarsening at a speed ~ M sqrt(kappa W) / L^2)
    grain growth    s = M W t kappa'                  (boundaries at a speed M kappa times their curvature)

Mobility enters through s alone, so its scaling is exact. Networks work on composition scaled to [-1, 1] between the
wells, or on phi as it is.
"""

# Methods take what any process may need of them.
# ruff: noqa: ARG002

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np
import torch

from solvers.errors import InputError
from solvers.grids.even_extension import mirrored
from solvers.processes.base import Problem
from solvers.processes.registry import process_named
from solvers.registries import Registry

if TYPE_CHECKING:
    from surrogate.rollout.stepping import Guard

P = TypeVar("P", bound=Problem)
Limits = tuple[float, float]


@dataclass(frozen=True)
class FirstStage:
    """When a model of grains takes over from the solver.

    Attributes:
        age: scaled age; later where boundaries have not formed by then.
        tolerance: of the solver up to there, below what a model adds.
    """

    age: float = 12.5
    tolerance: float = 0.02


@dataclass
class FirstFrames:
    """What the solver did before a model takes over.

    Attributes:
        fields: (batch, y, x) in the network's units, which the model starts from.
        ages: (batch,) their scaled age; infinite for samples that end before.
        early: (batch, time, y, x) frames at the requested times up to it, NaN after it.
        early_energy: (batch, time).
        labels: (batch, time, y, x) int32 of these frames, -1 after them; None for a process without grains.
    """

    fields: torch.Tensor
    ages: np.ndarray
    early: torch.Tensor
    early_energy: torch.Tensor
    labels: torch.Tensor | None = None


def kappa_in_cells(problem: Problem, batch: int) -> np.ndarray:
    """kappa' = kappa / (W dx^2), float64 (batch,)."""
    return problem.reduced_kappa(batch).double().cpu().numpy() / problem.grid.spacing**2


class LearnedProcess(ABC, Generic[P]):
    """What learned models need to know of a process.

    Attributes:
        name: of the process.
        title: a few words for model cards.
        groups: names of the dimensionless groups, in the order of a network's input.
        features: names of the numbers by which frames are compared with training frames.
        feature_floors: differences of each feature that mean nothing: no frame is farther out for less than these.
        conserves_mean: whether the mean of a field never changes.
        swaps_phases: whether u -> -u is a symmetry.
        quantities: those that errors are measured by.
        age_powers: powers of kappa' with which an emulator may count age; the first is that of the scaled age.
        group_names: parameter -> its group, where they differ.
        start_parameter: number of the random start that is a group of emulators.
        random_start: kind of the random start.
        group_limits: values that a group can have at all.
        start_field: variable of a store whose first frame is a start.
        horizons: numbers of forecast frames that evaluations report.
        image_quantities: quantities read off images, with what tables call them.
        growing_length_name: of the length that grows in time.
        measurement_limits: sentences for model cards on what images do not show.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    groups: ClassVar[tuple[str, ...]]
    features: ClassVar[tuple[str, ...]]
    feature_floors: ClassVar[tuple[float, ...]]
    conserves_mean: ClassVar[bool] = False
    swaps_phases: ClassVar[bool] = False
    quantities: ClassVar[tuple[str, ...]]
    age_powers: ClassVar[tuple[float, ...]]
    group_names: ClassVar[Mapping[str, str]] = {}
    start_parameter: ClassVar[str]
    random_start: ClassVar[str]
    group_limits: ClassVar[Mapping[str, Limits]] = {}
    start_field: ClassVar[str] = "field"
    horizons: ClassVar[tuple[int, ...]]
    image_quantities: ClassVar[Mapping[str, str]]
    growing_length_name: ClassVar[str]
    measurement_limits: ClassVar[tuple[str, ...]] = ()

    @property
    def parameter_groups(self) -> dict[str, str]:
        """Parameter of a sweep -> its group, without the one that scales time; last the number of the random start."""
        info = process_named(self.name)
        names = (*(n for n in info.parameter_names if n != info.time_scale), self.start_parameter)
        return {name: self.group_names.get(name, name) for name in names}

    def age_rate(self, problem: P, batch: int) -> np.ndarray:
        """Scaled age per unit of time, float64 (batch,)."""
        mobility = problem.time_scale(batch).double().cpu().numpy()
        return self.age_per_time(mobility, kappa_in_cells(problem, batch), problem.grid.spacing)

    @abstractmethod
    def age_per_time(self, mobility: np.ndarray, kappa: np.ndarray, spacing: float) -> np.ndarray:
        """Scaled age per unit of time at M W and kappa', (batch,) each."""

    @abstractmethod
    def unit_mobility(self, kappa: np.ndarray) -> np.ndarray:
        """The mobility at which times are scaled ages, for W = 1 and cells of size 1."""

    @abstractmethod
    def scaled_time(self, mobility: np.ndarray, height: float, spacing: float) -> np.ndarray:
        """tau per unit of time, the time of the equation on cells of size 1; ``height`` is W."""

    @abstractmethod
    def problem_groups(self, problem: P, fields: torch.Tensor) -> dict[str, np.ndarray]:
        """The groups by name, float64 (batch,) each; ``fields`` (batch, y, x) are frames, in the network's units."""

    @abstractmethod
    def group_inputs(self, groups: Mapping[str, np.ndarray]) -> torch.Tensor:
        """The groups as a network sees them, float32 (batch, group), each of order one."""

    def to_network(self, problem: P, fields: torch.Tensor) -> torch.Tensor:
        """Fields (...) in the user's units in the network's; by default these are the same."""
        return fields

    def from_network(self, problem: P, fields: torch.Tensor) -> torch.Tensor:
        """The inverse of :meth:`to_network`."""
        return fields

    @abstractmethod
    def to_image(self, fields: torch.Tensor) -> torch.Tensor:
        """Fields (...) in the network's units as images with data range 1."""

    @abstractmethod
    def from_image(self, images: torch.Tensor) -> torch.Tensor:
        """The inverse of :meth:`to_image`; where that clips, the image itself."""

    @abstractmethod
    def measure(
        self, problem: P, fields: torch.Tensor
    ) -> tuple[Mapping[str, torch.Tensor], list[list[np.ndarray]] | None]:
        """What evaluations read off fields (batch, time, y, x) in the user's units.

        Returns:
            ``image_quantities``, (batch, time) each; and the areas of the grains of each sample at each time, None for
            a process without grains.
        """

    @abstractmethod
    def growing_length(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """The length that grows in time, shaped as each of ``image_quantities``."""

    @abstractmethod
    def first_frames(self, problem: P, initial: torch.Tensor, times: torch.Tensor, stage: FirstStage) -> FirstFrames:
        """The solver's frames at ``times`` (batch, time), from a composition or grain labels, up to a model's start."""

    @abstractmethod
    def first_tolerance(self, stage: FirstStage) -> float:
        """Tolerance of the solver in the first stage."""

    @abstractmethod
    def taken_over(self, fields: torch.Tensor, ages: np.ndarray) -> torch.Tensor:
        """Whether a model would have taken over: bool (batch, time) of network fields (batch, time, y, x)."""

    @abstractmethod
    def trainable(self, fields: np.ndarray, ages: np.ndarray, groups: Mapping[str, np.ndarray]) -> np.ndarray:
        """Frames that a model may start from: bool (trajectory, time) of network fields (trajectory, time, y, x)."""

    @abstractmethod
    def energy(self, problem: P, frames: torch.Tensor) -> torch.Tensor:
        """Total free energy (batch, time), float64, of predicted frames (batch, time, y, x) in the user's units."""

    @abstractmethod
    def guard(self, problem: P, batch: int) -> Guard | None:
        """What keeps the energy of a rollout from rising; None where nothing can."""

    def labels(self, problem: P, frames: torch.Tensor) -> torch.Tensor | None:
        """Grains int32 (batch, time, y, x) in predicted frames; None for a process without grains."""
        return None

    def band_floors(self, groups: Mapping[str, np.ndarray], spacing: float) -> dict[str, np.ndarray]:
        """Smallest differences that a box resolves, name -> (batch,), by a prediction's groups."""
        return {}

    @abstractmethod
    def periodic_features(self, field: torch.Tensor, kappa: torch.Tensor) -> torch.Tensor:
        """(batch, feature) of periodic float64 fields (batch, y, x) at kappa' (batch,)."""

    def frame_features(self, field: torch.Tensor, kappa: torch.Tensor, boundary: str = "periodic") -> torch.Tensor:
        """Numbers that say what frames look like, (batch, feature) float64 in the order of ``features``; NaN if not
        finite.

        Args:
            field: (batch, y, x) in the network's units.
            kappa: (batch,) kappa', the squared interface length in cells.
            boundary: no-flux fields are evenly extended, which makes them periodic.

        Raises:
            InputError: for shapes that do not fit.
        """
        if field.ndim != 3 or kappa.shape != field.shape[:1]:
            shapes = f"{tuple(field.shape)} and {tuple(kappa.shape)}"
            raise InputError(f"frame_features: a field (batch, y, x) and kappa (batch,), but got {shapes}")
        with torch.no_grad():
            field = field.double()
            if boundary == "no_flux":
                field = mirrored(field, 2)
            found = self.periodic_features(field, kappa.double())
            finite = torch.isfinite(field).flatten(1).all(1, keepdim=True)
            return torch.where(finite, found, torch.nan)


#: A process, whatever the class of its problems.
AnyProcess = LearnedProcess[Any]
#: Processes that models can be trained for.
LEARNED_PROCESSES: Registry[AnyProcess] = Registry(
    "process of a learned model",
    "phasetwin.learned_processes",
    ("surrogate.rollout.cahn_hilliard:PROCESS", "surrogate.rollout.grain_growth:PROCESS"),
)


def learned_process(name: str) -> AnyProcess:
    """What learned models know of a process, by the name in ``Problem.process``; InputError where there is nothing."""
    return LEARNED_PROCESSES.get(name)
