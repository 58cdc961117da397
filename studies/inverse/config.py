"""The study YAML as frozen models; what depends on its sweep as well is checked in :mod:`studies.inverse.problem`."""

from __future__ import annotations

from collections.abc import Sized
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, StringConstraints, Tag, model_validator

from solvers.processes.registry import all_parameter_names
from studies.inverse.samplers.registry import SAMPLERS
from sweeps.config.parameters import Range
from sweeps.config.sweep import EngineConfig, InputFile, InputStore
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
    word_of,
)

#: The variable that is no parameter of a sweep: the length of the process.
TIME = "time"
#: Default of a target, relative: ten times the tolerance of the reference solver, and far less than the scatter
#: between random starts.
TOLERANCE = 5e-3
EntriesT = TypeVar("EntriesT", bound=Sized)


class Quantile(StrictModel):
    """``{quantile: 0.9}``: the loss that this share of the starts does not exceed."""

    quantile: Annotated[float, Field(gt=0, lt=1)]


_RobustName = Annotated[Literal["mean", "worst"], Tag("name")]
Robust = Annotated[
    _RobustName | Annotated[Quantile, Tag("quantile")],
    Discriminator(lambda value: "quantile" if isinstance(value, dict | Quantile) else "name"),
]


def _ordered(window: tuple[float, float]) -> tuple[float, float]:
    if not window[0] < window[1]:
        raise problem(f"{window[0]:g} to {window[1]:g}", "a window from an earlier to a later time", (1,))
    return window


Window = Annotated[tuple[NotNegative, NotNegative], Field(strict=False), AfterValidator(_ordered)]


class When(StrictModel):
    """When a quantity is taken: at a stored time, or over a window of them.

    Without either it is the last time of the sweep, or the value of the variable ``time``. ``reduce`` is the mean by
    default.
    """

    at: NotNegative | None = None
    window: Window | None = None
    reduce: Literal["mean", "min", "max", "slope"] | None = None
    realizations: Robust = "mean"

    @model_validator(mode="after")
    def _one_of_them(self) -> When:
        if self.at is not None and self.window is not None:
            raise problem("both `at` and `window`", "one of them", ("window",))
        if self.window is None and self.reduce is not None:
            raise problem("`reduce` without a window", "`window: [from, to]` beside it", ("reduce",))
        return self


class Conductor(StrictModel):
    """How an effective diffusivity is computed: of the structure thresholded midway between the phases.

    Attributes:
        low, high: diffusivity of the phase at the lower and at the higher composition; 0 insulates.
        along: axis of the flux.
    """

    low: NotNegative = 0.0
    high: NotNegative = 1.0
    along: Literal["x", "y"] = "x"

    @model_validator(mode="after")
    def _something_conducts(self) -> Conductor:
        if self.low == 0 and self.high == 0:
            raise problem("two insulators", "at least one of low and high > 0", ("high",))
        return self


class Quantity(When):
    """A quantity: what a sweep stores, ``two_point_correlation`` or ``effective_diffusivity``.

    ``quantile`` picks one of the levels of ``grain_area_quantile``; ``coordinate`` a value on the further axis of any
    other quantity that has one.
    """

    qoi: Annotated[str, Field(min_length=1)]
    quantile: Finite | None = None
    coordinate: Finite | None = None
    conductor: Conductor = Conductor()


Target = Annotated[
    Annotated[Finite, Tag("number")] | Annotated[InputFile, Tag("file")],
    Discriminator(lambda value: "file" if isinstance(value, str) else "number"),
]


class QoiObjective(Quantity):
    """``{qoi: domain_size, at: 400, target: 12.0}``; or ``direction``; or for curves ``target: curve.csv``."""

    target: Target | None = None
    direction: Literal["minimize", "maximize"] | None = None
    tolerance: Annotated[float, Field(gt=0, le=1)] = TOLERANCE

    @model_validator(mode="after")
    def _one_aim(self) -> QoiObjective:
        if (self.target is None) == (self.direction is None):
            found = "neither `target` nor `direction`" if self.target is None else "both `target` and `direction`"
            raise problem(found, "one of them", ("direction",) if self.direction else ())
        return self


class ImageObjective(When):
    """``{image: wanted.png, at: 400}``: the distance to a micrograph by its statistics.

    Attributes:
        image: PNG, TIFF or npy, grey values.
        statistics: ``fraction`` of the phase at the higher composition, ``domain_size``, ``structure_factor``,
            ``two_point_correlation``.
        levels: grey values of the two phases; auto takes the two classes that Otsu's threshold separates.
        spacing: size of a pixel; the sweep's cell by default.
        boundary: ``no_flux`` mirrors the image, as a micrograph needs.
    """

    image: InputFile
    statistics: Annotated[
        tuple[Literal["fraction", "domain_size", "structure_factor", "two_point_correlation"], ...],
        Field(strict=False, min_length=1),
    ] = ("fraction", "domain_size")
    levels: Literal["auto"] | Annotated[tuple[Finite, Finite], Field(strict=False)] = "auto"
    spacing: Positive | None = None
    boundary: Literal["periodic", "no_flux"] = "no_flux"
    tolerance: Annotated[float, Field(gt=0, le=1)] = 0.01


def _objective_form(value: object) -> str:
    # Tags that are no keys of the file do not show in the key of an error.
    of_image = isinstance(value, ImageObjective) or (isinstance(value, dict) and "image" in value)
    return "of an image" if of_image else "of a quantity"


Objective = Annotated[
    Annotated[QoiObjective, Tag("of a quantity")] | Annotated[ImageObjective, Tag("of an image")],
    Discriminator(_objective_form),
]


class Constraint(Quantity):
    """``{qoi: interface_density, at: 400, max: 0.35}``; min, max or both."""

    min: Finite | None = None
    max: Finite | None = None

    @model_validator(mode="after")
    def _some_limit(self) -> Constraint:
        if self.min is None and self.max is None:
            raise problem("neither `min` nor `max`", "at least one of them")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise problem(f"min {self.min:g} and max {self.max:g}", "min <= max", ("max",))
        return self


class SamplerConfig(StrictModel):
    """What proposes trials, one of :data:`studies.inverse.samplers.registry.SAMPLERS`.

    ``refine`` trials at a time come from a model of the quantities instead (0 for none).
    """

    kind: Annotated[
        str,
        word_of(lambda: SAMPLERS),
        Field(json_schema_extra=lambda schema: schema.update(enum=list(SAMPLERS))),
    ] = "tpe"
    seed: Seed = 0
    refine: Annotated[int, Field(ge=0)] = 4


class StudyVerify(StrictModel):
    """Re-solves by the reference solver.

    Attributes:
        top: best candidates in a round; trials on the trajectory of the best one are solved along with it.
        random: trials picked at random in the first round, for the engine's error all over the box.
        rounds: most rounds.
        tolerance: of the reference solver; null is a twentieth of the engine's tolerance.
        equivalents: points of a curve of equivalent optima that are solved.
    """

    top: Count = 5
    random: Annotated[int, Field(ge=0)] = 8
    rounds: Count = 8
    tolerance: Annotated[float, Field(gt=0, le=0.5)] | None = None
    equivalents: Annotated[int, Field(ge=0)] = 3


class LearnedExplorer(StrictModel):
    """``explore: {learn: 16}``: an emulator learned from that many Sobol points run on the sweep's engine.

    Stores of ``warm_start`` count towards them.
    """

    learn: Annotated[int, Field(ge=4, le=400)]


def _explorer_form(value: object) -> str:
    return "learn" if isinstance(value, LearnedExplorer) or (isinstance(value, dict) and "learn" in value) else "engine"


_Learned = Annotated[LearnedExplorer, Tag("learn")]
Explorer = Annotated[_Learned | Annotated[EngineConfig, Tag("engine")], Discriminator(_explorer_form)]


class StudyOutput(StrictModel):
    """The study's folder, relative to the current directory; empty means ``runs/NAME``."""

    path: str = ""


def _known_variables(value: object) -> object:
    known = (*all_parameter_names(), TIME)
    for key in value if isinstance(value, dict) else ():
        if key not in known:
            raise unknown_key(key, known)
    return value


def _some(entries: EntriesT) -> EntriesT:
    # With `min_length` pydantic would report a wrong only entry twice: as wrong, and as missing.
    if not len(entries):
        raise problem("none", "at least one")
    return entries


Variables = Annotated[dict[str, Range], BeforeValidator(_known_variables), AfterValidator(_some)]


class StudyConfig(StrictModel):
    """A whole study file, resolved.

    Attributes:
        sweep: the base: process, grid, start, times, engine, cluster.
        changes: blocks of the sweep to replace, such as ``engine`` or ``realizations``.
        explore: a cheaper engine for the trials; candidates are then confirmed on the sweep's own.
        outside: what becomes of a trial outside a learned engine's domain.
        stop: `held` ends as soon as a verified optimum meets the targets; `budget` runs all trials first.
    """

    schema_version: Literal[1]
    name: Annotated[str, StringConstraints(pattern=NAME, max_length=80)]
    sweep: InputFile
    changes: dict[str, object] = Field(default_factory=dict)
    variables: Variables
    objectives: Annotated[tuple[Objective, ...], Field(strict=False), AfterValidator(_some)]
    constraints: Annotated[tuple[Constraint, ...], Field(strict=False)] = ()
    sampler: SamplerConfig = SamplerConfig()
    trials: Annotated[int, Field(ge=1, le=1_000_000)] = 256
    batch: Annotated[int, Field(ge=1, le=10_000)] = 32
    explore: Explorer | None = None
    outside: Literal["solver", "infeasible"] = "infeasible"
    stop: Literal["held", "budget"] = "held"
    warm_start: Annotated[tuple[InputStore, ...], Field(strict=False)] = ()
    verify: StudyVerify = StudyVerify()
    output: StudyOutput = StudyOutput()

    @model_validator(mode="after")
    def _resolve(self) -> StudyConfig:
        if not self.output.path:
            object.__setattr__(self, "output", StudyOutput(path=f"runs/{self.name}"))
        objectives, variables = len(self.objectives), len(self.variables)
        allowed = ", ".join(kind.name for kind in SAMPLERS.values() if kind.refusal(objectives, variables) is None)
        refusal = SAMPLERS.get(self.sampler.kind).refusal(objectives, variables)
        if refusal is not None:
            raise problem(f"{self.sampler.kind!r} with {refusal}", allowed, ("sampler", "kind"))
        return self
