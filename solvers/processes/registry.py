"""The processes that can be solved, swept and reported: one object each.

To add one, write its equation and register it, here Allen-Cahn in a module ``allen_cahn``::

    @dataclass(frozen=True)
    class AllenCahn: ...                      # parameters and free energy, see solvers.processes.base.Problem

    class AllenCahnEquation: ...              # N(u) and the stiff part, see solvers.integrators.protocol.Equation

    register_process(Process(
        name="allen_cahn",                    # the word after `process:` in YAML files
        parameters=(ParameterInfo("kappa", "κ", "gradient-energy coefficient", default=1.0, low=0.0, low_open=True),),
        problem="allen_cahn:build",           # build(grid, parameters, options) -> AllenCahn
        accuracy=AccuracyModel(linear=1.0, square=3100.0, time_factor=0.01),
        appearance=Appearance("Allen-Cahn"),
    ))

``solvers/processes/cahn_hilliard.py`` and ``cahn_hilliard_process.py`` are a whole example. An installed package makes
its processes known by an entry point of the group ``phasetwin.processes``. Nothing here loads torch: whatever does is
named by a :data:`Reference` and imported when it is first used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from solvers.accuracy import AccuracyModel
from solvers.registries import Reference, Registry, resolve

if TYPE_CHECKING:
    import torch

    from solvers.arguments import Times
    from solvers.frames import Frames
    from solvers.grids.grid import Grid
    from solvers.processes.base import Problem

#: Further blocks of a YAML file, as they were parsed: name -> content, such as ``{"well": {"rho": 1.0}}``.
Options = Mapping[str, Any]


@dataclass(frozen=True)
class ParameterInfo:
    """A scalar parameter of a process.

    Attributes:
        name: as it stands in YAML files and stores.
        symbol: as figures write it.
        long_name: a few words, for the variable of a store.
        label: fewer words and the symbol, for axes; empty for the name and the symbol.
        units: CF style; model units are written as powers of ``length``, ``energy`` and ``time``.
        default: value where the file has none.
        low, high: bounds, included unless ``low_open``.
        low_open: whether ``low`` itself is excluded.
        of_start: whether it belongs to a random start, so that a start from a file brings its own.
        between_phases: whether bounds and default follow from the values of the two phases.
    """

    name: str
    symbol: str
    long_name: str
    units: str = "1"
    label: str = ""
    default: float = 0.0
    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    of_start: bool = False
    between_phases: bool = False

    @property
    def axis_label(self) -> str:
        """``label``, or what stands for it, without units."""
        return self.label or f"{self.name.replace('_', ' ')} {self.symbol}"

    def violation(self, value: float) -> str | None:
        """What is allowed, if ``value`` is not; else None."""
        if not math.isfinite(value):
            return "a finite number"
        above = value > self.low if self.low_open else value >= self.low
        if above and value <= self.high:
            return None
        if self.high == math.inf:
            return f"a number {'>' if self.low_open else '>='} {self.low:g}"
        return f"a number in {'(' if self.low_open else '['}{self.low:g}, {self.high:g}]"


@dataclass(frozen=True)
class FieldInfo:
    """A field that a store keeps for each stored time; the first of a process is called ``field``.

    Attributes:
        long_name: a few words for axes.
        units: CF style.
        dtype: numpy name.
        fill: where nothing was computed.
        low, high: range outside of which no value can lie.
    """

    name: str
    long_name: str
    units: str = "1"
    dtype: str = "float32"
    fill: float = math.nan
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True)
class CostModel:
    """Seconds of one core for a trajectory of 64 x 64 internal cells at a tolerance of 1e-2 in float64.

    Attributes:
        hundred: seconds for the first 100 units of scaled time.
        growth: cost grows as scaled time to this power, because steps grow as the dynamics slows.
        order: cost grows as tolerance to minus this power.
        spacing: internal spacing over the interface length that the tolerance 1e-2 needs.
        factors: parameter name -> how many times more a trajectory costs where that parameter is above 0.
        samples: trajectories of 64 x 64 cells that a batch integrates together at most.
        samples_min: fewer than this lose more to the overhead of calls than they win by even loads.
    """

    hundred: float = 0.1
    growth: float = 0.8
    order: float = 0.4
    spacing: float = 1.0
    factors: Mapping[str, float] = field(default_factory=dict)
    samples: int = 16
    samples_min: int = 2


@dataclass(frozen=True)
class Appearance:
    """How reports and dashboards show a process.

    Attributes:
        title: heading, such as "Grain growth".
        colours: matplotlib colour map of the field.
        limits: (low, high) of the field's colours.
        field_label: of the colour bar.
        legend: one sentence on how to read a picture of the field.
        headline: the quantity that sorts points from fine to coarse.
        mapped: quantities drawn over the parameters and against time.
        curves: quantities drawn while a sweep runs.
        growth_law: exponent of the headline quantity in time, a guide for the eye; None for none.
        growth_note: what that guide is, one sentence.
    """

    title: str
    colours: str = "viridis"
    limits: tuple[float, float] = (-1.0, 1.0)
    field_label: str = "field"
    legend: str = ""
    headline: str = "free_energy"
    mapped: tuple[str, ...] = ("free_energy",)
    curves: tuple[str, ...] = ("free_energy",)
    growth_law: float | None = None
    growth_note: str = ""


class BuildProblem(Protocol):
    """Makes the problem of a batch."""

    def __call__(self, grid: Grid, parameters: Mapping[str, torch.Tensor], options: Options) -> Problem:
        """The problem of ``parameters``, name -> float64 (batch,), with further blocks of the file in ``options``."""


class SolveFrames(Protocol):
    """Solves a batch to a tolerance."""

    def __call__(
        self,
        problem: Problem,
        initial: torch.Tensor,
        times: Times,
        *,
        tolerance: float,
        dtype: torch.dtype,
        device: torch.device | str,
        refine: int,
    ) -> Frames:
        """Frames at ``times``, (time,) or (batch, time); ``refine`` asks for that many refinements beyond the
        tolerance."""


@dataclass(frozen=True)
class Process:
    """A kind of evolution.

    Attributes:
        name: the word after ``process:``.
        parameters: in storage order.
        batch_order: parameters from the most to the least significant when points are put into batches, which hold
            problems of similar cost; empty for the storage order without ``time_scale``.
        problem: see :class:`BuildProblem`.
        accuracy: what its solver needs to keep a tolerance.
        appearance: how it is shown.
        solve: see :class:`SolveFrames`; the default is :func:`solvers.simulation.solve_frames`, which integrates
            ``problem.equation``.
        fields: what a store keeps; the first is named ``field``.
        starts: kinds of ``initial:`` it takes, the default first.
        time_scale: the parameter that multiplies time exactly, c(x, t; M) = c(x, M t; 1): points that differ in it
            alone share a trajectory. None where there is none.
        options: blocks of the file that belong to it, such as ``well``.
        conserves_mean: whether the spatial mean of the field never changes.
        quantities: names of registered quantities it has, beside those that name it themselves; in the order in which
            they are stored. ``free_energy`` must be among them.
        measures: quantity -> function in the place of the quantity's own, where this process measures it differently.
        cost: what a trajectory costs.
        phases: options -> (low, high) value of the field in its two phases; bounds of ``composition`` and scale of
            ``mass_drift``.
        interface_scale: options -> W, the height of its bulk free energy: lengths scale with sqrt(kappa / W), rates
            with W.
        finest: quantity that is largest where resolution errors show first; spot checks look there.
        fingerprint: changes when its numbers change; empty for those of this project, whose changes
            are counted in ``sweeps.plan.point_keys.NUMBERS_VERSION``. :func:`register_process` fills it with the hash
            of the defining file where it is None.
    """

    name: str
    parameters: tuple[ParameterInfo, ...]
    problem: Reference
    accuracy: AccuracyModel
    appearance: Appearance
    solve: Reference = "solvers.simulation:solve_frames"
    fields: tuple[FieldInfo, ...] = (FieldInfo("field", "field"),)
    starts: tuple[str, ...] = ("noise", "file")
    time_scale: str | None = None
    batch_order: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    conserves_mean: bool = False
    quantities: tuple[str, ...] = ("free_energy", "mean")
    measures: Mapping[str, Reference] = field(default_factory=dict)
    cost: CostModel = CostModel()
    phases: Reference | None = None
    interface_scale: Reference | None = None
    finest: str = "free_energy"
    fingerprint: str | None = None

    def parameter(self, name: str) -> ParameterInfo:
        """One of its parameters; raises KeyError for another name."""
        return {p.name: p for p in self.parameters}[name]

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Names in storage order."""
        return tuple(p.name for p in self.parameters)

    def build(self, grid: Grid, parameters: Mapping[str, torch.Tensor], options: Options | None = None) -> Problem:
        """The problem of a batch, see :class:`BuildProblem`."""
        build: BuildProblem = resolve(self.problem)
        return build(grid, parameters, options or {})

    @property
    def varied_order(self) -> tuple[str, ...]:
        """``batch_order``, or what stands for it."""
        return self.batch_order or tuple(n for n in self.parameter_names if n != self.time_scale)

    def bounds(self, name: str, options: Options) -> ParameterInfo:
        """A parameter with the bounds and the default that hold with some options of the file."""
        info = self.parameter(name)
        if not info.between_phases:
            return info
        low, high = self.phase_values(options)
        return replace(info, low=low, high=high, default=0.5 * (low + high))

    def phase_values(self, options: Options) -> tuple[float, float]:
        return resolve(self.phases)(options) if self.phases is not None else self.appearance.limits

    def scale(self, options: Options) -> float:
        """W, see ``interface_scale``; 1 where the process has none."""
        return float(resolve(self.interface_scale)(options)) if self.interface_scale is not None else 1.0


#: Every process known here.
PROCESSES: Registry[Process] = Registry(
    "process",
    "phasetwin.processes",
    ("solvers.processes.cahn_hilliard_process:PROCESS", "solvers.processes.grain_growth_process:PROCESS"),
)


def register_process(process: Process) -> Process:
    """Make a process known here and to the workers of the sweeps started here.

    Raises:
        InputError: for a name that another process has.
    """
    return PROCESSES.register(process)


def all_parameter_names() -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for process in PROCESSES.values() for name in process.parameter_names))


def process_named(name: str) -> Process:
    """A process by name; raises InputError, naming those that there are."""
    return PROCESSES.get(name)
