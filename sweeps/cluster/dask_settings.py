"""Dask's settings for what is started here: memory and threads of workers, and who may see the dashboard."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import TypedDict

import dask

from sweeps.cluster.security import is_loopback
from sweeps.config.cluster import LOOPBACK, GpuCluster, InProcessCluster, LocalCluster, SlurmCluster, TlsFiles

DASHBOARD_PORT = 8787


class SchedulerOptions(TypedDict):
    """Of a Dask scheduler: whether it shows its dashboard, and where its web server listens."""

    dashboard: bool
    dashboard_address: str


# Dask sets workers to give every freed 64 KiB back to the system: an integrator that allocates and frees such arrays
# thousands of times a second then spends more time on page faults than on arithmetic.
WORKER_MEMORY = {"MALLOC_TRIM_THRESHOLD_": 256 * 2**20, "MALLOC_MMAP_THRESHOLD_": 32 * 2**20}
# Every task computes in one thread; libraries that start their own read these when they load.
WORKER_THREADS = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "BLOSC_NTHREADS"), 1
)
# Dask samples its workers' stacks a hundred times a second for the dashboard's profile, which takes the interpreter
# from the task: a tenth of the worker's time. Ten a second draw the same picture. The other clocks tick in the driver
# too, for the scheduler and each nanny.
WORKER_CLOCKS = {
    "distributed.worker.profile.interval": "100ms",
    "distributed.admin.tick.interval": "500ms",
    "distributed.admin.system-monitor.interval": "2s",
    "distributed.worker.memory.monitor-interval": "250ms",
}


def worker_settings() -> dict[str, object]:
    """Dask's configuration for workers that are started from here."""
    environment = WORKER_MEMORY | WORKER_THREADS
    before_start = {f"distributed.nanny.pre-spawn-environ.{name}": value for name, value in environment.items()}
    return {**before_start, **WORKER_CLOCKS}


@contextlib.contextmanager
def applied_settings(block: LocalCluster | GpuCluster | SlurmCluster | InProcessCluster) -> Iterator[SchedulerOptions]:
    """Dask's configuration for workers and dashboard of a block while the block of code runs.

    Yields:
        Options of the scheduler. With the dashboard off its web server still listens, with no page.
    """
    address = dashboard_address(block.dashboard_address)
    with dask.config.set({**worker_settings(), **dashboard_settings(address, getattr(block, "tls", None))}):
        yield {"dashboard": address is not None, "dashboard_address": address or f"{LOOPBACK}:0"}


def dashboard_address(address: str | None) -> str | None:
    """``HOST:PORT``; without a host this machine alone, with port 0 the usual port when it is free, else any."""
    if address is None:
        return None
    host, _, port = address.rpartition(":")
    host = host or LOOPBACK
    if int(port):
        return f"{host}:{port}"
    for wanted in (DASHBOARD_PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, wanted))
            except OSError:
                continue
            return f"{host}:{probe.getsockname()[1]}"
    return f"{host}:0"


def dashboard_settings(address: str | None, tls: object = None) -> dict[str, object]:
    """Beyond this machine a dashboard is encrypted where there are certificates.

    On this machine its live data go to its own pages alone: by default Dask gives them to any page of any site that is
    open in the same browser.
    """
    if address is None:
        return {"distributed.scheduler.http.routes": []}
    host, _, port = address.rpartition(":")
    if is_loopback(host):
        origins = [f"{name}:{port}" for name in dict.fromkeys(("localhost", LOOPBACK, host))]
        return {"distributed.scheduler.dashboard.bokeh-application.allow_websocket_origin": origins}
    if isinstance(tls, TlsFiles):
        keys = {"ca-file": tls.ca_file, "cert": tls.cert, "key": tls.key}
        return {f"distributed.scheduler.dashboard.tls.{key}": value for key, value in keys.items()}
    return {}
