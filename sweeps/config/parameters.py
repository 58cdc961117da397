"""What may stand under ``parameters:``: a number, a list, evenly spaced values, or a range for a sampler."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from solvers.processes.registry import all_parameter_names
from sweeps.inputs.strict_model import Finite, StrictModel, problem, unknown_key

FORMS = (
    "a number, a list of numbers, {linspace: [from, to, count]}, {logspace: [from, to, count]} or {low:, high:, log:}"
)
MAX_COUNT = 1_000_000


def _spaced(value: tuple[float, float, float]) -> tuple[float, float, int]:
    first, last, count = value
    if count != int(count) or not 1 <= count <= MAX_COUNT:
        raise problem(f"the count {count:g}", f"a whole number from 1 to {MAX_COUNT}", (2,))
    if count > 1 and first == last:
        raise problem(f"{int(count)} values from {first:g} to {last:g}", "two different ends", (1,))
    return (first, last, int(count))


def _positive_ends(value: tuple[float, float, int]) -> tuple[float, float, int]:
    for i in range(2):
        if value[i] <= 0:
            raise problem(f"{value[i]:g}", "an end value > 0 (ends of a logspace are values, not exponents)", (i,))
    return value


Triple = Annotated[
    tuple[Finite, Finite, Finite],
    Field(strict=False),
    AfterValidator(_spaced),
]


class Linspace(StrictModel):
    """``{linspace: [from, to, count]}``: evenly spaced values, both ends included."""

    linspace: Triple

    def values(self) -> np.ndarray:
        """The values, float64 (count,)."""
        first, last, count = self.linspace
        return np.linspace(first, last, int(count))

    def range(self) -> tuple[float, float, bool]:
        """Low end, high end, and whether a sampler spaces it logarithmically."""
        return min(self.linspace[:2]), max(self.linspace[:2]), False


class Logspace(StrictModel):
    """``{logspace: [from, to, count]}``: evenly spaced logarithms; the ends are values, not exponents."""

    logspace: Annotated[Triple, AfterValidator(_positive_ends)]

    def values(self) -> np.ndarray:
        """The values, float64 (count,); the two ends exactly as written."""
        first, last, count = self.logspace
        return np.geomspace(first, last, int(count))

    def range(self) -> tuple[float, float, bool]:
        """Low end, high end, and whether a sampler spaces it logarithmically."""
        return min(self.logspace[:2]), max(self.logspace[:2]), True


class Range(StrictModel):
    """``{low:, high:, log:}``: an interval for a sampler design."""

    low: Finite
    high: Finite
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if not self.low < self.high:
            raise problem(f"low {self.low:g} and high {self.high:g}", "low < high", ("high",))
        if self.log and self.low <= 0:
            raise problem(f"{self.low:g}", "a number > 0 where log is true", ("low",))
        return self

    def range(self) -> tuple[float, float, bool]:
        """Low end, high end, and whether a sampler spaces it logarithmically."""
        return self.low, self.high, self.log


def _form(value: Any) -> str | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, list | tuple):
        return "list"
    for name, cls in (("linspace", Linspace), ("logspace", Logspace), ("range", Range)):
        if isinstance(value, cls):
            return name
    if isinstance(value, dict):
        for name in ("linspace", "logspace"):
            if name in value:
                return name
        if "low" in value or "high" in value:
            return "range"
    return None


def _known_form(value: Any) -> Any:
    if _form(value) is None:
        if isinstance(value, dict) and value:
            raise unknown_key(next(iter(value)), ("linspace", "logspace", "low", "high", "log"))
        raise problem(repr(value), FORMS)
    return value


def _distinct(values: tuple[float, ...]) -> tuple[float, ...]:
    # Equal values would make two points that no name tells apart.
    seen: set[float] = set()
    for i, value in enumerate(values):
        if value in seen:
            raise problem(f"{value:g} twice", "different values", (i,))
        seen.add(value)
    return values


Values = Annotated[
    tuple[Finite, ...],
    Field(strict=False, min_length=1, max_length=MAX_COUNT),
    AfterValidator(_distinct),
]
Spec = Annotated[
    Annotated[Finite, Tag("number")]
    | Annotated[Values, Tag("list")]
    | Annotated[Linspace, Tag("linspace")]
    | Annotated[Logspace, Tag("logspace")]
    | Annotated[Range, Tag("range")],
    Discriminator(_form),
    BeforeValidator(_known_form),
]


def _known_parameters(value: Any) -> Any:
    if isinstance(value, dict):
        # Of any process: which of them this one has is checked with the rest of the file.
        names = all_parameter_names()
        for key in value:
            if key not in names:
                raise unknown_key(key, names)
    return value


#: Kept as a mapping, not a model: the order of the keys is the order of a grid design.
Parameters = Annotated[dict[str, Spec], BeforeValidator(_known_parameters)]


def extremes(spec: Any) -> tuple[tuple[float, tuple[str | int, ...]], ...]:
    """The smallest and the largest value a spec can give, each with the keys that lead to it."""
    if isinstance(spec, float | int):
        return ((float(spec), ()),)
    if isinstance(spec, tuple):
        return ((min(spec), (spec.index(min(spec)),)), (max(spec), (spec.index(max(spec)),)))
    if isinstance(spec, Range):
        return ((spec.low, ("low",)), (spec.high, ("high",)))
    key, ends = ("linspace", spec.linspace) if isinstance(spec, Linspace) else ("logspace", spec.logspace)
    return tuple((float(ends[i]), (key, i)) for i in range(2))
