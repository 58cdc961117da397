"""Workers of this machine: processes, one for each core or each GPU, or threads of this process."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from distributed import LocalCluster, Scheduler, Worker

from sweeps.cluster.choice import cores
from sweeps.cluster.dask_settings import SchedulerOptions, applied_settings, dashboard_settings
from sweeps.cluster.hung_workers import START_SECONDS
from sweeps.cluster.lazy_dashboard import LazyDashboard
from sweeps.cluster.security import tls_security
from sweeps.config import cluster as config

if TYPE_CHECKING:
    from distributed.deploy import Cluster

logger = logging.getLogger("phasetwin")


class _LoopbackWorker(Worker):
    """Its web server, which tells how it is, would listen to all machines: a worker of a process has no host."""

    def start_http_server(self, routes: Any, dashboard_address: Any, *arguments: Any, **options: Any) -> None:
        del dashboard_address
        super().start_http_server(routes, f"{config.LOOPBACK}:0", *arguments, **options)


def start_in_process(block: config.InProcessCluster, tasks: int) -> LocalCluster:
    """One worker in this process, its tasks in threads: no process is started, and none watches its memory."""
    del tasks
    with applied_settings(block) as scheduler:
        started = LocalCluster(
            n_workers=1,
            threads_per_worker=block.threads,
            processes=False,
            worker_class=_LoopbackWorker,
            memory_limit=0,
            scheduler_kwargs={**scheduler, "dashboard": False},
            silence_logs=logging.CRITICAL,
        )
    return _with_dashboard(started, scheduler)


def _with_dashboard(started: LocalCluster, scheduler: SchedulerOptions, tls: object = None) -> LocalCluster:
    if scheduler["dashboard"] and isinstance(started.scheduler, Scheduler):
        LazyDashboard(started.scheduler, dashboard_settings(scheduler["dashboard_address"], tls))
    return started


def start_for_unknown_work(block: config.AutoCluster, tasks: int) -> LocalCluster:
    """Worker processes, one for each core."""
    return start_workers(config.LocalCluster(dashboard_address=block.dashboard_address), tasks)


def start_workers(block: config.LocalCluster, tasks: int) -> LocalCluster:
    """Worker processes; no more than there are tasks."""
    workers = local_workers(block, tasks)
    if workers * block.threads_per_worker > cores():
        wanted = f"{workers} workers x {block.threads_per_worker} threads"
        logger.warning(f"warning: cluster.workers: {wanted} on {cores()} cores will be slower")
    security = tls_security(block.tls)
    with applied_settings(block) as scheduler:
        started = LocalCluster(
            n_workers=workers,
            threads_per_worker=block.threads_per_worker,
            processes=True,
            memory_limit=block.memory_limit,
            host=block.host,
            protocol="tls://" if security else "tcp://",
            security=security,
            scheduler_kwargs={**scheduler, "dashboard": False},
            # Without it a worker that hangs while it starts holds up the others without end.
            death_timeout=START_SECONDS,
            # Dask would log tracebacks, such as of a heartbeat that misses a scheduler that has ended.
            silence_logs=logging.CRITICAL,
        )
    return _with_dashboard(started, scheduler, block.tls)


def local_workers(block: config.LocalCluster, tasks: int) -> int:
    """Number of worker processes: as asked, or the cores this process may use, and not more than there are tasks."""
    if block.workers != "auto":
        return min(block.workers, max(1, tasks))
    return max(1, min(cores() // block.threads_per_worker, tasks))


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
