"""The sweep YAML as frozen models: what may be written, the defaults, and nothing else.

Each model is one block of the file. What a single block cannot know (does the start fit the process, is
every ``fields_at`` among the times) is in :mod:`sweeps.config.cross_checks`; :mod:`sweeps.inputs.yaml_source` reads a
file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, StringConstraints, Tag, model_validator

from solvers.grids.grid import Grid
from solvers.processes.registry import PROCESSES, process_named
from sweeps.config.cluster import AutoCluster, Cluster
from sweeps.config.parameters import Parameters, Spec
from sweeps.config.samplers import SAMPLERS
from sweeps.engines.registry import AnyEngineBlock
from sweeps.engines.solver_kind import SolverBlock
from sweeps.inputs.paths import InputFile, InputStore, OutputPath
from sweeps.inputs.strict_model import NAME, Count, Finite, NotNegative, Positive, Seed, StrictModel, problem, word_of

MAX_TIMES = 100_000


ProcessName = Annotated[str, word_of(lambda: PROCESSES)]


class GridConfig(StrictModel):
    """The user's grid: cells (y, x), cell size, and the boundary of the box."""

    shape: Annotated[tuple[Annotated[int, Field(ge=4)], Annotated[int, Field(ge=4)]], Field(strict=False)]
    spacing: Positive = 1.0
    boundary: Literal["periodic", "no_flux"] = "periodic"

    def build(self) -> Grid:
        return Grid(shape=self.shape, spacing=self.spacing, boundary=self.boundary)


class WellConfig(StrictModel):
    """A double well rho (c - ca)^2 (cb - c)^2 with minima ca < cb; without it, (c^2 - 1)^2 / 4."""

    rho: Positive
    ca: Finite
    cb: Finite

    @model_validator(mode="after")
    def _ordered(self) -> WellConfig:
        if not self.ca < self.cb:
            raise problem(f"ca {self.ca:g} and cb {self.cb:g}", "ca < cb", ("cb",))
        return self


class SamplerDesign(StrictModel):
    """``{sampler: sobol, n: 256, seed: 0}``: n points spread over the ranges."""

    sampler: Annotated[str, word_of(lambda: SAMPLERS)]
    n: Annotated[int, Field(ge=1, le=10_000_000)]
    seed: Seed = 0


class TableDesign(StrictModel):
    """``{table: points.csv}``: one point a row, columns named as the parameters."""

    table: InputFile


class Realizations(StrictModel):
    """How many starts each point gets, and the seed that, with the number of the start, makes it.

    ``independent``: a start of its own for each point (training data), not the same starts for all (which shows the
    effect of a parameter with less noise). Points that differ in mobility alone always share theirs.
    """

    count: Count = 1
    seed: Seed = 0
    independent: bool = False


class NoiseInitial(StrictModel):
    """Gaussian noise of that standard deviation, mean exactly the composition, in the well's own units."""

    kind: Literal["noise"] = "noise"
    amplitude: NotNegative = 0.05


class VoronoiInitial(StrictModel):
    """A Voronoi tessellation of that many grains."""

    kind: Literal["voronoi"] = "voronoi"
    grains: Annotated[int, Field(ge=1)] = 100


class FileInitial(StrictModel):
    """A stored start (Zarr, NetCDF, npy): (y, x), or (sample, y, x) with one sample a realization.

    For grain growth the variable holds integer grain labels.
    """

    kind: Literal["file"] = "file"
    file: InputFile
    variable: str | None = None


class Pfhub1aInitial(StrictModel):
    """The formula of PFHub benchmark 1a at the nodes x = i dx; see :mod:`solvers.initial.pfhub`."""

    kind: Literal["pfhub_1a"] = "pfhub_1a"


class TimeRange(StrictModel):
    """``{start: 0, stop: 500, count: 51}``: evenly spaced times, both ends included."""

    start: NotNegative = 0.0
    stop: NotNegative
    count: Annotated[int, Field(ge=1, le=MAX_TIMES)]

    @model_validator(mode="after")
    def _ordered(self) -> TimeRange:
        if self.count > 1 and not self.start < self.stop:
            raise problem(f"start {self.start:g} and stop {self.stop:g}", "start < stop", ("stop",))
        if self.count == 1 and self.start != self.stop:
            raise problem("1", "at least 2 where start and stop differ", ("count",))
        return self


def _increasing(times: tuple[float, ...]) -> tuple[float, ...]:
    for i in range(1, len(times)):
        if not times[i] > times[i - 1]:
            raise problem(f"{times[i]:g} after {times[i - 1]:g}", "times that increase", (i,))
    return times


TimeList = Annotated[
    tuple[NotNegative, ...],
    Field(strict=False, min_length=1, max_length=MAX_TIMES),
    AfterValidator(_increasing),
]


Times = Annotated[
    Annotated[TimeRange, Tag("range")] | Annotated[TimeList, Tag("list")],
    Discriminator(lambda value: "range" if isinstance(value, dict | TimeRange) else "list"),
]


def _design_form(value: Any) -> str:
    if isinstance(value, dict | TableDesign | SamplerDesign):
        keys = value if isinstance(value, dict) else type(value).model_fields
        return "table" if "table" in keys else "sampler"
    return "name"


Design = Annotated[
    Annotated[Literal["grid"], Tag("name")]
    | Annotated[SamplerDesign, Tag("sampler")]
    | Annotated[TableDesign, Tag("table")],
    Discriminator(_design_form),
]


def _file_kind(value: Any) -> Any:
    """``{file: start.zarr}`` means ``{kind: file, file: start.zarr}``."""
    return {"kind": "file", **value} if isinstance(value, dict) and "file" in value else value


Initial = Annotated[
    Annotated[NoiseInitial | VoronoiInitial | FileInitial | Pfhub1aInitial, Discriminator("kind")],
    BeforeValidator(_file_kind),
]


#: The solver, where the block names no kind.
EngineConfig = Annotated[
    AnyEngineBlock,
    BeforeValidator(lambda value: {"kind": "solver", **value} if isinstance(value, dict) else value),
]


class FieldsAt(StrictModel):
    """``{fields_at: [100, 500]}``: fields at those times only, QoIs at all."""

    fields_at: TimeList


Retain = Annotated[
    Annotated[Literal["fields", "qoi"], Tag("name")] | Annotated[FieldsAt, Tag("fields_at")],
    Discriminator(lambda value: "fields_at" if isinstance(value, dict | FieldsAt) else "name"),
]


class OutputConfig(StrictModel):
    """The store. Its path is relative to the current directory; empty means ``runs/NAME.zarr``.

    ``performance`` saves Dask's own report of what every worker did, beside the sweep's report.
    """

    path: OutputPath = ""
    retain: Retain = "fields"
    performance: bool = False


class BatchConfig(StrictModel):
    """How many rollouts one task computes; null lets the planner choose."""

    rollouts: Count | None = None


class VerifyConfig(StrictModel):
    """How many points are solved again to a tighter tolerance, and how they are picked; 0 for none.

    ``share`` is how much time that may take, as a share of the estimated time of the sweep itself. It decides how many
    trajectories are solved again: the points share them where they can, some of the realizations may be left out.
    """

    count: Annotated[int, Field(ge=0)] = 8
    share: Positive = 0.3
    policy: Annotated[tuple[Literal["random", "worst", "best"], ...], Field(strict=False, min_length=1)] = (
        "random",
        "worst",
        "best",
    )
    seed: Seed = 0


class SweepConfig(StrictModel):
    """A whole sweep file, resolved: every default filled in."""

    schema_version: Literal[1]
    name: Annotated[str, StringConstraints(pattern=NAME, max_length=100)]
    process: ProcessName
    grid: GridConfig
    parameters: Parameters = Field(default_factory=dict)
    well: WellConfig | None = None
    design: Design = "grid"
    realizations: Realizations = Realizations()
    initial: Initial
    times: Times
    engine: EngineConfig = SolverBlock()
    output: OutputConfig = OutputConfig()
    batch: BatchConfig = BatchConfig()
    cluster: Cluster = AutoCluster()
    verify: VerifyConfig = VerifyConfig()
    reuse: Annotated[tuple[InputStore, ...], Field(strict=False)] = ()

    @model_validator(mode="after")
    def _resolve(self) -> SweepConfig:
        from sweeps.config.cross_checks import check_sweep

        if not self.output.path:
            output = self.output.model_copy(update={"path": f"runs/{self.name}.zarr"})
            object.__setattr__(self, "output", output)
        check_sweep(self)
        object.__setattr__(self, "parameters", self._with_defaults())
        return self

    def _with_defaults(self) -> dict[str, Spec]:
        """The parameters as written, in that order, then those left out."""
        process, options = process_named(self.process), self.options
        columns = table_columns(self.design)
        missing = [p for p in self.parameter_names if p not in self.parameters and p not in columns]
        return {**self.parameters, **{p: process.bounds(p, options).default for p in missing}}

    @property
    def options(self) -> dict[str, Any]:
        """Further blocks of the file that belong to the process, as plain data."""
        blocks = {name: getattr(self, name) for name in process_named(self.process).options}
        return {name: block.model_dump() for name, block in blocks.items() if block is not None}

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of this sweep's parameters in storage order; those of a random start only where it is random."""
        random = self.initial.kind == "noise"
        return tuple(p.name for p in process_named(self.process).parameters if random or not p.of_start)

    def time_values(self) -> np.ndarray:
        """The stored times, float64 (time,), increasing."""
        if isinstance(self.times, TimeRange):
            return np.linspace(self.times.start, self.times.stop, self.times.count)
        return np.asarray(self.times, dtype=np.float64)

    def field_time_indices(self) -> np.ndarray:
        """Which of the times store fields, int64; empty with ``retain: qoi``."""
        times = self.time_values()
        if isinstance(self.output.retain, FieldsAt):
            # linspace gives 0.30000000000000004 where the user writes 0.3: the nearest stored time is meant.
            wanted = np.asarray(self.output.retain.fields_at)
            return np.abs(times[None, :] - wanted[:, None]).argmin(axis=1).astype(np.int64)
        return np.arange(times.size if self.output.retain == "fields" else 0, dtype=np.int64)

    def field_times(self) -> np.ndarray:
        """The times at which fields are stored, float64; empty with ``retain: qoi``."""
        return self.time_values()[self.field_time_indices()]


def table_columns(design: Any) -> tuple[str, ...]:
    """The header of a table design, empty for other designs."""
    if not isinstance(design, TableDesign):
        return ()
    with Path(design.table).open(encoding="utf-8-sig") as file:
        return tuple(name.strip() for name in file.readline().split(","))
