"""Parameter sweeps: a YAML file becomes a plan, batches on Dask, and a Zarr store.

The heavy parts load when they are first used, so that ``import sweeps`` stays cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from sweeps.config.cluster_kinds import ClusterKind, register_cluster
    from sweeps.config.samplers import DesignSampler, register_sampler
    from sweeps.engines.registry import EngineKind, register_engine
    from sweeps.execution.run import RunResult
    from sweeps.store.dataset import open_sweep
    from sweeps.sweep import Sweep

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "config.cluster_kinds": ["ClusterKind", "register_cluster"],
        "config.samplers": ["DesignSampler", "register_sampler"],
        "engines.registry": ["EngineKind", "register_engine"],
        "execution.run": ["RunResult"],
        "store.dataset": ["open_sweep"],
        "sweep": ["Sweep"],
    },
)
