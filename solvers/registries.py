"""Registries: what can be extended from outside, by a call or by the entry point of an installed package.

A registry holds one object for each name. Those of this project are named by references and loaded with the rest.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Iterator, Sequence
from dataclasses import is_dataclass, replace
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Generic, Protocol, TypeVar

from solvers.errors import InputError, suggestion

#: ``"module:name"``, imported when it is needed, or the object itself.
Reference = object


def resolve(reference: Reference) -> Any:
    """The object behind a reference."""
    if not isinstance(reference, str):
        return reference
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)


class Named(Protocol):
    """What a registry holds: objects with a name."""

    @property
    def name(self) -> str:
        """Unique in its registry."""


T = TypeVar("T", bound=Named)


class Registry(Generic[T]):
    """Objects by name.

    Args:
        what: the word for one of them, for messages.
        group: entry points of installed packages that are such objects; each is loaded when the registry is first used.
        own: references of those that belong to this project, in order.
        only: where several registries share a group, the class of this one's objects; None takes all of the group.
    """

    def __init__(self, what: str, group: str, own: Sequence[Reference], only: type[T] | None = None) -> None:
        self.what = what
        self._group = group
        self._own = tuple(own)
        self._only = only
        self._objects: dict[str, T] | None = None
        self._extra: dict[str, T] = {}

    def loaded(self) -> dict[str, T]:
        if self._objects is None:
            found: dict[str, T] = {}
            for reference in self._own:
                found |= {item.name: item for item in _several(resolve(reference))}
            for point in sorted(entry_points(group=self._group), key=lambda p: p.name):
                for item in map(_fingerprinted, _several(point.load())):
                    if self._only is not None and not isinstance(item, self._only):
                        continue
                    if item.name in found:
                        raise InputError(f"{self.what} {item.name!r}: two of that name, one from {point.value}")
                    found[item.name] = item
            self._objects = found
        return self._objects

    def register(self, item: T) -> T:
        """Add an object; the same one again changes nothing.

        Raises:
            InputError: if another has its name.
        """
        there = self.loaded().get(item.name)
        item = _fingerprinted(item)
        if there is not None and there != item:
            raise InputError(f"{self.what} {item.name!r}: there is one of that name already")
        if there is None:
            self.loaded()[item.name] = self._extra[item.name] = item
        return item

    def registered(self) -> dict[str, T]:
        """Those that were added by a call, which other Python processes do not have yet."""
        return dict(self._extra)

    def unregister(self, name: str) -> None:
        """Take back what :meth:`register` added."""
        self._extra.pop(name)
        self.loaded().pop(name)

    def adopt(self, item: T) -> None:
        """Take over an object that another process registered, in the place of an older one of its name."""
        there = self.loaded().get(item.name)
        if there is None or getattr(there, "fingerprint", None) != getattr(item, "fingerprint", None):
            self.loaded()[item.name] = item

    def get(self, name: str) -> T:
        """One by name; raises InputError, naming those that there are."""
        found = self.loaded().get(name)
        if found is None:
            raise InputError(f"{self.what}: found {name!r}, allowed {', '.join(self)}{suggestion(name, self)}")
        return found

    def __getitem__(self, name: str) -> T:
        return self.get(name)

    def __contains__(self, name: object) -> bool:
        return name in self.loaded()

    def __iter__(self) -> Iterator[str]:
        return iter(self.loaded())

    def values(self) -> list[T]:
        """All of them, this project's first."""
        return list(self.loaded().values())


def _several(found: object) -> tuple[Any, ...]:
    """What a reference or an entry point names: one object, or a tuple of them."""
    return tuple(found) if isinstance(found, tuple | list) else (found,)


def _fingerprinted(item: T) -> T:
    """An object from outside with its fingerprint filled in, where it has such a field and left it None."""
    if not is_dataclass(item) or getattr(item, "fingerprint", "") is not None:
        return item
    return replace(item, fingerprint=source_hash(item))  # type: ignore[type-var]


def source_hash(item: object) -> str:
    """Hash of the file in which the callables of an object are defined, 16 hexadecimal digits.

    A change anywhere in that file counts as a change of the numbers: rather computed once too often than passed off as
    the same.
    """
    digest = hashlib.blake2b(digest_size=8)
    for value in modules_of(item):
        module = sys.modules.get(value)
        try:
            digest.update(inspect.getsource(module).encode() if module else value.encode())
        except (OSError, TypeError):
            digest.update(value.encode())
    return digest.hexdigest()


def modules_of(item: object) -> list[str]:
    """Names of the modules in which the callables of an object are defined."""
    return sorted({_module_of(v) for v in vars(item).values()} - {""})


def installed_extensions(*groups: str) -> dict[str, str]:
    """Version of every installed package that has an entry point in one of the groups."""
    points = [point for group in groups for point in entry_points(group=group)]
    return {point.dist.name: point.dist.version for point in points if point.dist is not None}


def _module_of(value: object) -> str:
    if isinstance(value, str):
        return value.partition(":")[0] if ":" in value else ""
    return str(getattr(value, "__module__", "")) if callable(value) else ""
