"""The kinds of YAML file: their models, how to tell them apart, and their JSON Schema.

Rooms above this one add their kinds with :func:`register`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from solvers.errors import InputError, suggestion
from solvers.registries import resolve

if TYPE_CHECKING:
    from sweeps.inputs.yaml_source import Source


@dataclass(frozen=True)
class Kind:
    """A kind of YAML file.

    Attributes:
        name: what `phasetwin schema NAME` calls it.
        model: ``module:Class`` of its pydantic model, imported when it is needed.
        marker: a key that only files of this kind have.
        checker: ``module:function`` that gets the model and the :class:`~sweeps.inputs.yaml_source.Source`, checks what
            the model alone cannot and returns what the file is, in a few words. Empty for none.
        verb: of the command line, that does what such a file says.
        examples: package in whose folder ``examples`` example files of this kind are; empty for none.
        inputs: ``module:function`` that gets the path of a new example file, makes what it reads where that is missing,
            and returns the paths made. Empty where examples come with all that they read.
    """

    name: str
    model: str
    marker: str
    checker: str = ""
    verb: str = "run"
    examples: str = ""
    inputs: str = ""

    def load(self) -> type[BaseModel]:
        model: type[BaseModel] = resolve(self.model)
        return model

    def describe(self, config: BaseModel, source: Source) -> str:
        """What a file is, in a few words; raises InputError for what only the checker finds."""
        return str(resolve(self.checker)(config, source)) if self.checker else self.name


_KINDS: dict[str, Kind] = {}


def register(kind: Kind) -> None:
    """Make a kind of file known to ``lint`` and ``schema``."""
    _KINDS[kind.name] = kind


register(Kind("sweep", "sweeps.config.sweep:SweepConfig", "design", examples="sweeps"))
register(Kind("recipe", "surrogate.training.recipe:Recipe", "training", verb="train"))


def kinds() -> tuple[Kind, ...]:
    """All kinds of file, in the order of the rooms."""
    return tuple(_KINDS.values())


def kind_of(data: Any) -> Kind:
    """The kind of a file's content; a sweep where nothing marks it as another."""
    keys = data if isinstance(data, Mapping) else ()
    return next((k for k in _KINDS.values() if k.marker in keys), _KINDS["sweep"])


def json_schema(name: str = "sweep") -> dict[str, Any]:
    """JSON Schema of a kind of file, for editors; raises InputError for a kind that does not exist."""
    if name not in _KINDS:
        raise InputError(f"schema: found {name!r}, allowed {', '.join(_KINDS)}{suggestion(name, _KINDS)}")
    schema = _KINDS[name].load().model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"phasetwin {name}"} | {
        k: v for k, v in schema.items() if k != "title"
    }
