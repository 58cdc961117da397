"""The base of every YAML model: frozen, strict, no unknown keys, and errors that know what is allowed.

A check raises :func:`problem`; :mod:`sweeps.inputs.yaml_source` turns it into one line with file, line and key.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

PROBLEM = "phasetwin_problem"

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


def problem(found: str, allowed: str, at: Sequence[str | int] = (), options: Iterable[str] = ()) -> PydanticCustomError:
    """An error for a validator to raise.

    Args:
        found: what stands there, as the user would write it.
        allowed: what may stand there.
        at: keys from the model that raises down to the culprit.
        options: words to compare a misspelt ``found`` with.
    """
    context: dict[str, Any] = {
        "found": found,
        "allowed": allowed,
        "at": list(at),
        "options": list(options),
    }
    return PydanticCustomError(PROBLEM, "found {found}, allowed {allowed}", context)


def unknown_key(key: object, options: Iterable[str]) -> PydanticCustomError:
    """The error for a key that does not exist, naming those that do."""
    names = list(options)
    return problem(f"unknown key {key!r}", "the keys " + ", ".join(names), (str(key),), names)


def word_of(options: Callable[[], Iterable[str]]) -> AfterValidator:
    """A validator of a text that must be one of some words, which may become more while the program runs."""

    def known(word: str) -> str:
        words = list(options())
        if word in words:
            return word
        quoted = [repr(w) for w in words]
        allowed = " or ".join(filter(None, (", ".join(quoted[:-1]), quoted[-1])))
        raise problem(repr(word), allowed, options=words)

    return AfterValidator(known)


def suggestion(word: object, options: Iterable[str]) -> str:
    """``"; did you mean 'kappa'?"``, or nothing when no option is near."""
    near = difflib.get_close_matches(str(word), list(options), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


class StrictModel(BaseModel):
    """A frozen model that converts no types and refuses unknown keys, telling which exist."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    raise unknown_key(key, cls.model_fields)
        return data
