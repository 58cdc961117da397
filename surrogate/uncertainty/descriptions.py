"""Dataclasses from the JSON of a model's description, checked by their types."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, TypeVar

from pydantic import BeforeValidator, TypeAdapter, ValidationError

from solvers.errors import InputError

T = TypeVar("T")
#: A number that may be infinite, which JSON has as null.
NullIsInfinite = Annotated[float, BeforeValidator(lambda value: math.inf if value is None else value)]


def parsed(kind: type[T], data: Mapping[str, object], what: str) -> T:
    """A dataclass of what its ``as_dict`` wrote, by way of JSON; InputError if something is missing or does not fit."""
    try:
        return TypeAdapter(kind).validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(key) for key in first["loc"])
        raise InputError(f"{what}: expected what as_dict() wrote, but found {where}: {first['msg']}") from None
