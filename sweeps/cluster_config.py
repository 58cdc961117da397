"""Where a sweep runs: Dask workers on this machine, a scheduler that is there already, or Slurm jobs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, StringConstraints

from solvers.inputs.strict import Count, StrictModel

MemorySize = Annotated[str, StringConstraints(pattern=r"^\d+(\.\d+)? *([kKMGT]i?)?B$")]


class LocalCluster(StrictModel):
    """Workers on this machine; ``auto`` is one for each core."""

    kind: Literal["local"] = "local"
    workers: Literal["auto"] | Count = "auto"
    threads_per_worker: Count = 1
    memory_limit: Literal["auto"] | MemorySize = "auto"
    dashboard_address: str | None = ":0"


class RunningCluster(StrictModel):
    """A Dask scheduler that runs already."""

    kind: Literal["address"] = "address"
    address: Annotated[str, StringConstraints(pattern=r"^(tcp|tls|ucx|ws|wss|inproc)://\S+$")]


class SlurmCluster(StrictModel):
    """Slurm jobs through dask-jobqueue, each a Dask worker process or more."""

    kind: Literal["slurm"] = "slurm"
    jobs: Count = 1
    cores: Count = 1
    processes: Count = 1
    memory: MemorySize = "4GB"
    walltime: Annotated[str, StringConstraints(pattern=r"^(\d+-)?\d{1,2}:\d{2}:\d{2}$")] = "01:00:00"
    queue: str | None = None
    account: str | None = None
    interface: str | None = None
    job_extra_directives: Annotated[tuple[str, ...], Field(strict=False)] = ()
    job_script_prologue: Annotated[tuple[str, ...], Field(strict=False)] = ()


def _default_kind(value: Any) -> Any:
    """``{address: tcp://...}`` means ``{kind: address, address: tcp://...}``; without a kind it is local."""
    if not isinstance(value, dict):
        return value
    return {"kind": "address" if "address" in value else "local", **value}


Cluster = Annotated[
    Annotated[LocalCluster | RunningCluster | SlurmCluster, Discriminator("kind")],
    BeforeValidator(_default_kind),
]
