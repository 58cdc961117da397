"""The twin YAML as frozen models: what may be written, and the defaults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)

from solvers.qois.registry import qois_of
from studies.twin.priors import Prior
from studies.twin.processes import TWIN_PROCESSES, allowed_processes, twin_process
from surrogate.engine_kinds import SurrogateBlock
from sweeps.config.cluster import AutoCluster, Cluster
from sweeps.config.sweep import InputFile, ProcessName
from sweeps.engines.solver_kind import SolverBlock
from sweeps.inputs.strict_model import (
    NAME,
    Count,
    Finite,
    NotNegative,
    Positive,
    Seed,
    StrictModel,
    problem,
    unknown_key,
)

MAX_MEMBERS = 4096
MAX_FORECASTS = 100_000


def _level_pair(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] == value[1]:
        raise problem(f"{value[0]:g} twice", "two different grey values")
    return value


Levels = Annotated[tuple[Finite, Finite], Field(strict=False), AfterValidator(_level_pair)]


def _word_or(form: str) -> Callable[[object], str]:
    return lambda value: "word" if isinstance(value, str) else form


class Observations(StrictModel):
    """Where the frames are, and how they were taken.

    ``path`` is relative to the YAML file: a Zarr or NetCDF store (dims ``time, y, x``), a ``.npy`` array, a TIFF
    stack, or a folder of TIFF or PNG images with ``times.csv`` (columns ``file,time``). ``interval`` gives frames their
    times where the file has none. ``frames`` uses the first so many only. ``crop`` leaves out information bars,
    ``register`` takes out drift, ``bad_frames`` leaves out frames unlike their neighbours; each can be ``off``.
    """

    path: InputFile
    variable: str | None = None
    mask: str | None = None
    noise: Annotated[
        Annotated[Literal["auto"], Tag("word")] | Annotated[Positive, Tag("number")], Discriminator(_word_or("number"))
    ] = "auto"
    levels: Annotated[
        Annotated[Literal["auto"], Tag("word")] | Annotated[Levels, Tag("pair")], Discriminator(_word_or("pair"))
    ] = "auto"
    model_config = ConfigDict(serialize_by_alias=True)

    pixel_size: Positive | None = None
    crop: Literal["auto", "off"] = "auto"
    # `register` is a method of every model.
    registration: Annotated[Literal["auto", "off"], Field(alias="register")] = "auto"
    bad_frames: Literal["auto", "off"] = "auto"
    origin: Annotated[tuple[NotNegative, NotNegative], Field(strict=False)] = (0.0, 0.0)
    interval: Positive | None = None
    times: Annotated[tuple[Finite, ...], Field(strict=False, min_length=1)] | None = None
    frames: Count | None = None


class TwinGrid(StrictModel):
    """The model's box: cells of ``spacing``; without ``shape`` the box is that of the frames.

    With ``boundary: open``, the default, the box has a margin around the frames, for they may be a window of a larger
    specimen; where they show that they are the whole of a periodic box or of one without flux, the box is theirs. With
    a ``shape`` or an ``observations.origin`` the box is known, and ``no_flux`` the default.
    """

    spacing: Positive = 1.0
    boundary: Literal["periodic", "no_flux", "open"] = "open"
    shape: Annotated[tuple[Annotated[int, Field(ge=8)], Annotated[int, Field(ge=8)]], Field(strict=False)] | None = None


class Assimilation(StrictModel):
    """How the posterior is found; see :mod:`studies.twin.inference`.

    ``model_error`` is the error of a right model as a share of the grey range; it adds to the noise that residuals are
    measured with.
    """

    method: Literal["esmda"] = "esmda"
    members: Annotated[int, Field(ge=8, le=MAX_MEMBERS)] = 64
    steps: Annotated[int, Field(ge=1, le=8)] = 1
    seed: Seed = 0
    iterations: Annotated[int, Field(ge=1, le=500)] = 40
    model_error: Annotated[float, Field(gt=0, le=0.2, allow_inf_nan=False)] = 0.003


class Threshold(StrictModel):
    """``{qoi: domain_size, above: 12}`` or ``below``: a level whose crossing time is forecast."""

    qoi: str
    above: Finite | None = None
    below: Finite | None = None

    @model_validator(mode="after")
    def _one_side(self) -> Threshold:
        if (self.above is None) == (self.below is None):
            raise problem("both or neither of `above` and `below`", "one of them", ("above",))
        return self

    @property
    def level(self) -> float:
        return self.below if self.above is None else self.above  # type: ignore[return-value]

    @property
    def text(self) -> str:
        return f"{self.qoi} {'below' if self.above is None else 'above'} {self.level:g}"


class ForecastConfig(StrictModel):
    """Times of the forecast: from the last frame to ``until`` in steps of ``every``; and thresholds."""

    until: Positive
    every: Positive
    thresholds: Annotated[tuple[Threshold, ...], Field(strict=False)] = ()
    members: Count | None = None


Engine = Annotated[
    Annotated[SolverBlock | SurrogateBlock, Discriminator("kind")],
    BeforeValidator(lambda value: {"kind": "solver", **value} if isinstance(value, dict) else value),
]


class TwinOutput(StrictModel):
    """The store, relative to the current directory; empty means ``runs/NAME.zarr``."""

    path: str = ""


def _known_parameters(value: object) -> object:
    known = list(dict.fromkeys(name for process in TWIN_PROCESSES.values() for name in process.priors))
    if isinstance(value, dict):
        for key in value:
            if key not in known:
                raise unknown_key(key, known)
    return value


def _can_be_followed(name: str) -> str:
    if name not in TWIN_PROCESSES:
        raise problem(repr(name), allowed_processes())
    return name


class TwinConfig(StrictModel):
    """A whole twin file, resolved: every default filled in."""

    schema_version: Literal[1]
    name: Annotated[str, StringConstraints(pattern=NAME, max_length=100)]
    process: Annotated[ProcessName, AfterValidator(_can_be_followed)]
    observations: Observations
    grid: TwinGrid = TwinGrid()
    parameters: Annotated[dict[str, Prior], BeforeValidator(_known_parameters)] = Field(default_factory=dict)
    assimilation: Assimilation = Assimilation()
    forecast: ForecastConfig
    engine: Engine = SolverBlock(tolerance=1e-2, dtype="float32")
    output: TwinOutput = TwinOutput()
    cluster: Cluster = AutoCluster()  # in this process

    @model_validator(mode="after")
    def _resolve(self) -> TwinConfig:
        box_known = self.grid.shape is not None or any(self.observations.origin)
        if box_known and "boundary" not in self.grid.model_fields_set:
            object.__setattr__(self, "grid", self.grid.model_copy(update={"boundary": "no_flux"}))
        if self.grid.boundary == "open":
            if self.grid.shape is not None:
                raise problem(
                    "a shape", "none with boundary open, whose box follows from the frames", ("grid", "shape")
                )
            if any(self.observations.origin):
                raise problem("an origin", "none with grid.boundary open", ("observations", "origin"))
        priors = twin_process(self.process).priors
        for name in self.parameters:
            if name not in priors:
                raise problem(f"{name} with {self.process}", " or ".join(priors), ("parameters", name))
        known = [name for name, info in qois_of(self.process).items() if info.extra_dim is None]
        for i, threshold in enumerate(self.forecast.thresholds):
            if threshold.qoi not in known:
                raise problem(f"{threshold.qoi!r}", " or ".join(known), ("forecast", "thresholds", i, "qoi"), known)
        if isinstance(self.engine, SurrogateBlock) and self.engine.precision != "float32":
            raise problem(f"{self.engine.precision!r}", "'float32': a twin's forecasts", ("engine", "precision"))
        if not self.output.path:
            object.__setattr__(self, "output", TwinOutput(path=f"runs/{self.name}.zarr"))
        object.__setattr__(self, "parameters", priors | {n: self.parameters[n] for n in priors if n in self.parameters})
        return self
