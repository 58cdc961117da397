"""Studies on top of sweeps: inverse design and digital twins.

Names are imported when they are first used, so that ``import studies`` stays cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from studies.inverse.samplers.registry import SamplerKind, register_sampler
    from studies.inverse.study import Study, StudyResult
    from studies.twin.processes import TwinProcess, register_twin_process
    from studies.twin.twin import Twin

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "inverse.samplers.registry": ["SamplerKind", "register_sampler"],
        "inverse.study": ["Study", "StudyResult"],
        "twin.processes": ["TwinProcess", "register_twin_process"],
        "twin.twin": ["Twin"],
    },
)
