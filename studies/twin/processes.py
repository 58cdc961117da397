"""The processes that a twin can follow: one object each, with all that estimation, checks and forecast need of it.

Another process needs a :class:`TwinProcess` handed to :func:`register_twin_process`, or named by an entry point in the
group ``phasetwin.twin_processes``. Nothing here loads torch: equations and states are a
:class:`studies.twin.model.process_model.ProcessModel`, imported when it is first used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from solvers.errors import InputError
from solvers.processes.registry import process_named
from solvers.registries import Reference, Registry, resolve
from studies.twin.priors import Fixed, LogNormal, Prior

if TYPE_CHECKING:
    import numpy as np
    import torch

    from studies.twin.model.process_model import ProcessModel

    Values = TypeVar("Values", float, np.ndarray, torch.Tensor)


@dataclass(frozen=True)
class EstimatedParameter:
    """A parameter with its default prior, and how the twin's store describes it."""

    name: str
    prior: Prior
    units: str
    long_name: str


@dataclass(frozen=True)
class DimensionlessGroup:
    """A product of powers of mobility and kappa; lengths and times are in cells and time units, W = 1."""

    name: str
    meaning: str
    mobility: float
    kappa: float


@dataclass(frozen=True)
class CheckedStatistic:
    """A quantity of interest that the model check compares."""

    name: str  #: of the quantity
    allowance: float  #: share of it by which a right model may be off
    signed: bool = False  #: whether it may be near 0 and is measured from one grey range below the dark phase instead


@dataclass(frozen=True)
class TwinProcess:
    """A process as a twin sees it."""

    name: str  #: of the registered process
    #: what is estimated, in order; ``mobility``, which multiplies time, and ``kappa`` must be among them
    parameters: tuple[EstimatedParameter, ...]
    equations: Reference  #: reference of its :class:`studies.twin.model.process_model.ProcessModel`
    field_meaning: str  #: of the field in the store
    field_levels: tuple[float, float]  #: values of the field at the dark and at the bright grey level
    #: standard deviations of grey levels that are read from frames, shares of the grey range
    level_doubt: tuple[float, float]
    bounds: tuple[float, float]  #: of the values of a start
    bulk: float  #: share of a start increment's amplitude in the bulk; it is 1 at interfaces
    stabiliser: float  #: implicit share of the damping: the least that is stable with the longest step
    longest_step: float  #: in units of 1/(M W), for an error of 0.1 % of the grey range in coarsening
    groups: tuple[DimensionlessGroup, ...]  #: rows of the identifiability table, after the parameters
    statistics: tuple[CheckedStatistic, ...]  #: of the model check
    #: factor of the parameters' bands, for the posterior takes its prior of the start, and the grains of the start, for
    #: the right ones: conformal 90 % quantile of abs(z) over that of a normal distribution, on other truths than any
    #: reported (docs/benchmarks/digital-twin.md says which)
    widening: float
    #: relative standard error of each parameter from fits of windows of larger specimens, whose thousands of unknowns
    #: outside never settle quite; opposite signs for errors that come together with opposite ones
    #: (``python benchmarks/windows.py --seeds choose``)
    window_doubt: Mapping[str, float] = field(default_factory=dict)
    #: share of the grey range; more noise may lead to a wrong start, and one from a mean of the first frames is tried
    #: too
    doubtful_noise: float = math.inf

    @cached_property
    def model(self) -> ProcessModel:
        found: ProcessModel = resolve(self.equations)(self)
        return found

    @property
    def priors(self) -> dict[str, Prior]:
        return {p.name: p.prior for p in self.parameters}

    @property
    def conserves_mean(self) -> bool:
        """Whether the mean of the field never changes."""
        return process_named(self.name).conserves_mean

    @property
    def contrast(self) -> float:
        """Field per grey range."""
        return self.field_levels[1] - self.field_levels[0]

    def grey_share(self, field: Values) -> Values:
        """The field as a share of the grey range: 0 at the dark level, 1 at the bright one."""
        return (field - self.field_levels[0]) / self.contrast

    def field_at(self, share: Values) -> Values:
        """The inverse of :meth:`grey_share`."""
        return self.field_levels[0] + self.contrast * share


_MOBILITY = EstimatedParameter(
    "mobility", LogNormal(prior="lognormal", median=1.0, sigma=1.0), "length^5/(energy time)", "mobility M"
)
_KAPPA = EstimatedParameter(
    "kappa", LogNormal(prior="lognormal", median=1.0, sigma=0.5), "energy/length", "gradient energy coefficient"
)
_SCALED_TIME = DimensionlessGroup("M W t", "scaled time", 1.0, 0.0)

CAHN_HILLIARD = TwinProcess(
    name="cahn_hilliard",
    parameters=(_MOBILITY, _KAPPA),
    equations="studies.twin.model.cahn_hilliard:CahnHilliardModel",
    field_meaning="composition",
    field_levels=(-1.0, 1.0),
    level_doubt=(0.03, 0.03),
    # The composition of a pure phase lies this far beyond its well at most (Gibbs and Thomson).
    bounds=(-1.15, 1.15),
    bulk=0.1,
    stabiliser=1.5,
    longest_step=1.0,
    groups=(
        _SCALED_TIME,
        DimensionlessGroup("sqrt(kappa/W)/dx", "interface length in cells", 0.0, 0.5),
        DimensionlessGroup("M sqrt(kappa W)", "rate of coarsening: mobility times interface energy", 1.0, 0.5),
    ),
    statistics=(
        CheckedStatistic("mean", 0.01, signed=True),
        CheckedStatistic("domain_size", 0.05),
        CheckedStatistic("interface_density", 0.05),
    ),
    widening=1.2,
    window_doubt={"mobility": 0.015, "kappa": -0.025},
)

GRAIN_GROWTH = TwinProcess(
    name="grain_growth",
    parameters=(_MOBILITY, _KAPPA, EstimatedParameter("gamma", Fixed(at=1.5), "1", "coupling of order parameters")),
    equations="studies.twin.model.grain_growth:GrainGrowthModel",
    field_meaning="phi = sum of squared order parameters",
    field_levels=(0.0, 1.0),
    level_doubt=(0.15, 0.03),
    bounds=(-0.1, 1.05),
    bulk=0.3,
    stabiliser=1.5,
    longest_step=0.4,
    groups=(
        _SCALED_TIME,
        DimensionlessGroup("sqrt(kappa/W)/dx", "boundary width in cells", 0.0, 0.5),
        DimensionlessGroup("M kappa", "speed of a boundary over its curvature", 1.0, 1.0),
    ),
    statistics=(CheckedStatistic("mean", 0.01), CheckedStatistic("interface_density", 0.05)),
    widening=2.0,
    doubtful_noise=0.01,
)

#: Every process that a twin can follow.
TWIN_PROCESSES: Registry[TwinProcess] = Registry(
    "process",
    "phasetwin.twin_processes",
    (CAHN_HILLIARD, GRAIN_GROWTH),
)


def register_twin_process(process: TwinProcess) -> TwinProcess:
    """Make a process known to the twins of this program.

    Raises:
        InputError: for a name that another one has.
    """
    return TWIN_PROCESSES.register(process)


def twin_process(name: str) -> TwinProcess:
    """A process by name; InputError, naming those that twins can follow, for another."""
    if name not in TWIN_PROCESSES:
        raise InputError(f"process: found {name!r}, allowed {allowed_processes()}")
    return TWIN_PROCESSES[name]


def allowed_processes() -> str:
    """Those that twins can follow, and how another is added, for messages."""
    names = " or ".join(TWIN_PROCESSES)
    return f"{names} (a twin needs a TwinProcess of a process, see studies.twin.processes.register_twin_process)"
