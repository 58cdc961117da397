"""Where tasks run: workers on this machine, a scheduler that is there already, or Slurm jobs."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
from collections.abc import Iterator
from typing import Any

import dask
from distributed import Client, LocalCluster

from solvers.errors import InputError
from sweeps import cluster_config

DASHBOARD_PORT = 8787
CONNECT_SECONDS = 15


@contextlib.contextmanager
def open_client(cluster: cluster_config.Cluster, tasks: int) -> Iterator[Client]:
    """A client for the YAML's ``cluster`` block; what was started here is stopped at the end.

    Args:
        cluster: the block.
        tasks: no more local workers than that are started.

    Raises:
        InputError: if the scheduler does not answer, or a package for the kind of cluster is missing.
    """
    if isinstance(cluster, cluster_config.RunningCluster):
        with _connect(cluster.address) as client:
            yield client
        return
    with contextlib.ExitStack() as stack:
        stack.enter_context(_workers_without_main())
        stack.enter_context(_quiet_web_server())
        if isinstance(cluster, cluster_config.SlurmCluster):
            started = stack.enter_context(_slurm(cluster))
        else:
            started = stack.enter_context(_local(cluster, tasks))
        yield stack.enter_context(Client(started))


def _connect(address: str) -> Client:
    try:
        return Client(address, timeout=CONNECT_SECONDS)
    except (OSError, TimeoutError) as error:
        raise InputError(f"cluster.address: no Dask scheduler answers at {address} ({error})") from None


def local_workers(cluster: cluster_config.LocalCluster, tasks: int) -> int:
    """Number of worker processes: as asked, or the cores this process may use, and not more than there are tasks."""
    if cluster.workers != "auto":
        return min(cluster.workers, max(1, tasks))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores // cluster.threads_per_worker, tasks))


# Dask tells workers to give every freed 64 KiB back to the system: an integrator that allocates and frees such arrays
# thousands of times a second then spends more time on page faults than on arithmetic.
WORKER_MEMORY = {"MALLOC_TRIM_THRESHOLD_": 256 * 2**20, "MALLOC_MMAP_THRESHOLD_": 32 * 2**20}
# Dask looks into its workers a hundred times a second to draw the dashboard's profile. Each look takes the
# interpreter from the task, which here is a tenth of the worker's time; ten a second draw the same picture.
WORKER_WATCH = {"distributed.worker.profile.interval": "100ms", "distributed.admin.tick.interval": "100ms"}


def _local(cluster: cluster_config.LocalCluster, tasks: int) -> LocalCluster:
    settings = {f"distributed.nanny.pre-spawn-environ.{name}": value for name, value in WORKER_MEMORY.items()}
    with dask.config.set({**settings, **WORKER_WATCH}):
        return LocalCluster(
            n_workers=local_workers(cluster, tasks),
            threads_per_worker=cluster.threads_per_worker,
            processes=True,
            memory_limit=cluster.memory_limit,
            dashboard_address=_dashboard(cluster.dashboard_address),
            silence_logs=logging.ERROR,
        )


def _dashboard(address: str | None) -> str | None:
    """The usual port when it is free, else any: two sweeps on one machine both get a dashboard."""
    if address != ":0":
        return address
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", DASHBOARD_PORT))
        except OSError:
            return "127.0.0.1:0"
    return f"127.0.0.1:{DASHBOARD_PORT}"


def _slurm(cluster: cluster_config.SlurmCluster) -> Any:
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError:
        raise InputError(
            "cluster.kind: slurm needs dask-jobqueue, which is not installed; pip install 'phasetwin[slurm]'"
        ) from None
    started = SLURMCluster(
        cores=cluster.cores,
        processes=cluster.processes,
        memory=cluster.memory,
        walltime=cluster.walltime,
        queue=cluster.queue,
        account=cluster.account,
        interface=cluster.interface,
        job_extra_directives=list(cluster.job_extra_directives),
        job_script_prologue=list(cluster.job_script_prologue),
        worker_extra_args=_lifetime(cluster.walltime),
    )
    started.scale(jobs=cluster.jobs)
    return started


def _lifetime(walltime: str) -> list[str]:
    """Workers end by themselves before Slurm ends them, so that their tasks go on elsewhere."""
    days, _, clock = walltime.rpartition("-")
    hours, minutes, seconds = (int(part) for part in clock.split(":"))
    total = ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds
    margin = min(300, total // 10)
    return ["--lifetime", f"{total - margin}s", "--lifetime-stagger", f"{margin // 2}s"]


@contextlib.contextmanager
def _workers_without_main() -> Iterator[None]:
    """Start worker processes without importing the main script in them.

    Python's spawn imports it in every child, so that a script without an ``if __name__ == "__main__"`` guard would
    start the sweep again there. Workers need nothing from it: tasks name functions of this package.
    """
    main = sys.modules["__main__"]
    hidden = {name: getattr(main, name) for name in ("__spec__", "__file__") if hasattr(main, name)}
    main.__spec__ = None
    if "__file__" in hidden:
        del main.__file__
    try:
        yield
    finally:
        for name, value in hidden.items():
            setattr(main, name, value)


@contextlib.contextmanager
def _quiet_web_server() -> Iterator[None]:
    """A browser tab closed while the dashboard loads must not print a traceback into the progress bar."""
    logger = logging.getLogger("tornado.application")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
