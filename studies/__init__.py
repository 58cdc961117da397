"""Studies on top of sweeps: inverse design and digital twins.

Names are imported when they are first used, so that ``import studies`` stays cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from studies.inverse.samplers.registry import SamplerKind, register_sampler
    from studies.inverse.study import Study, StudyResult
    from studies.twin.twin import Twin

_HOME = {
    "SamplerKind": "inverse.samplers.registry",
    "Study": "inverse.study",
    "StudyResult": "inverse.study",
    "Twin": "twin.twin",
    "register_sampler": "inverse.samplers.registry",
}

__all__ = ["SamplerKind", "Study", "StudyResult", "Twin", "register_sampler"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'studies' has no attribute {name!r}")
    return getattr(importlib.import_module(f"studies.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
