"""The base of every YAML model: frozen, strict, no unknown keys, and errors that know what is allowed.

A check raises :func:`problem`; :mod:`sweeps.inputs.yaml_source` turns it into one line with file, line and key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetCoreSchemaHandler, model_validator
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from solvers.registries import Named, Reference, Registry, resolve

PROBLEM = "phasetwin_problem"
#: What sweeps, studies and twins may be called; files are named after them.
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"

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


class StrictModel(BaseModel):
    """A frozen model that converts no types and refuses unknown keys, telling which exist."""

    # A model is built with the first file that needs it, and its blocks with it rather than each by itself.
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", protected_namespaces=(), defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            known = [field.alias or name for name, field in cls.model_fields.items()]
            for key in data:
                if key not in known:
                    raise unknown_key(key, known)
        return data


class HasBlock(Named, Protocol):
    """An object of a registry that has a block of its own in YAML files."""

    @property
    def block(self) -> Reference:
        """Its model, with a key ``kind`` that is its name."""


@dataclass(frozen=True)
class BlockOf:
    """Annotates a key that holds the block of one of a registry's objects, chosen by its ``kind``."""

    registry: Registry[Any]

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        blocks: list[HasBlock] = self.registry.values()
        choices = {item.name: handler.generate_schema(resolve(item.block)) for item in blocks}
        return core_schema.tagged_union_schema(choices, discriminator="kind")


def rebuild_models() -> None:
    """Take what was registered after the models were built into them."""
    models: list[type[StrictModel]] = [StrictModel]
    for model in models:
        models += model.__subclasses__()
    for model in models[1:]:
        model.model_rebuild(force=True)
