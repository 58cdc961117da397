"""Learned steppers and the emulator of statistics: networks, training, shipped weights with model cards, trust.

Names are imported when they are first used: torch takes a second to load.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from surrogate.models.files import load_surrogate, shipped
    from surrogate.models.protocol import Surrogate
    from surrogate.rollout.prediction import Prediction

_HOME = {
    "Prediction": "rollout.prediction",
    "Surrogate": "models.protocol",
    "load_surrogate": "models.files",
    "shipped": "models.files",
}

__all__ = ["Prediction", "Surrogate", "load_surrogate", "shipped"]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'surrogate' has no attribute {name!r}")
    return getattr(importlib.import_module(f"surrogate.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
