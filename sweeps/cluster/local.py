"""Worker processes of this machine: one for each core, or one for each GPU."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from distributed import LocalCluster

from sweeps.cluster.dask_settings import applied_settings
from sweeps.cluster.hung_workers import START_SECONDS
from sweeps.cluster.security import tls_security
from sweeps.config import cluster as config

if TYPE_CHECKING:
    from distributed.deploy import Cluster

logger = logging.getLogger("phasetwin")


def start_workers(block: config.LocalCluster, tasks: int) -> LocalCluster:
    """Worker processes; no more than there are tasks."""
    workers = local_workers(block, tasks)
    if workers * block.threads_per_worker > cores():
        wanted = f"{workers} workers x {block.threads_per_worker} threads"
        logger.warning(f"warning: cluster.workers: {wanted} on {cores()} cores will be slower")
    security = tls_security(block.tls)
    with applied_settings(block) as scheduler:
        return LocalCluster(
            n_workers=workers,
            threads_per_worker=block.threads_per_worker,
            processes=True,
            memory_limit=block.memory_limit,
            host=block.host,
            protocol="tls://" if security else "tcp://",
            security=security,
            scheduler_kwargs=scheduler,
            # Without it a worker that hangs while it starts holds up the others without end.
            death_timeout=START_SECONDS,
            # Dask would log tracebacks, such as of a heartbeat that misses a scheduler that has ended.
            silence_logs=logging.CRITICAL,
        )


def local_workers(block: config.LocalCluster, tasks: int) -> int:
    """Number of worker processes: as asked, or the cores this process may use, and not more than there are tasks."""
    if block.workers != "auto":
        return min(block.workers, max(1, tasks))
    return max(1, min(cores() // block.threads_per_worker, tasks))


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start_gpus(block: config.GpuCluster, tasks: int) -> Cluster:
    """One process of one thread for each GPU, which sees that GPU alone."""
    from dask_cuda import LocalCUDACluster

    del tasks
    security = tls_security(block.tls)
    with applied_settings(block) as scheduler:
        return LocalCUDACluster(
            n_workers=None if block.gpus == "auto" else block.gpus,
            threads_per_worker=1,
            memory_limit=block.memory_limit,
            host=block.host,
            protocol="tls" if security else "tcp",
            security=security,
            scheduler_kwargs=scheduler,
        )
