"""Inverse design and digital twins on top of sweeps. Names are imported when they are first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from studies.twin.twin import Twin

_HOME = {"Twin": "twin.twin"}

__all__ = ["Twin"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'studies' has no attribute {name!r}")
    return getattr(importlib.import_module(f"studies.{_HOME[name]}"), name)
