"""Parameter sweeps: a YAML file becomes a plan, batches on Dask, and a Zarr store.

The heavy parts load when they are first used, so that ``import sweeps`` stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweeps.cluster.registry import ClusterKind, register_cluster
    from sweeps.config.samplers import DesignSampler, register_sampler
    from sweeps.engines.registry import EngineKind, register_engine
    from sweeps.execution.run import RunResult
    from sweeps.store.dataset import open_sweep
    from sweeps.sweep import Sweep

__all__ = [
    "ClusterKind",
    "DesignSampler",
    "EngineKind",
    "RunResult",
    "Sweep",
    "open_sweep",
    "register_cluster",
    "register_engine",
    "register_sampler",
]

_HOME = {
    "ClusterKind": "sweeps.cluster.registry",
    "DesignSampler": "sweeps.config.samplers",
    "EngineKind": "sweeps.engines.registry",
    "RunResult": "sweeps.execution.run",
    "Sweep": "sweeps.sweep",
    "open_sweep": "sweeps.store.dataset",
    "register_cluster": "sweeps.cluster.registry",
    "register_engine": "sweeps.engines.registry",
    "register_sampler": "sweeps.config.samplers",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'sweeps' has no attribute {name!r}")
