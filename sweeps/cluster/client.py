"""Where tasks run: workers on this machine, a scheduler that is there already, or one that starts workers elsewhere."""

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
from sweeps.cluster.hung_workers import START_SECONDS, nursed
from sweeps.cluster.security import exposure, is_loopback, tls_security
from sweeps.config import cluster as cluster_config
from sweeps.config.cluster import LOOPBACK

DASHBOARD_PORT = 8787
CONNECT_SECONDS = 15
START_TRIES = 3


@contextlib.contextmanager
def open_client(cluster: cluster_config.Cluster, tasks: int) -> Iterator[Client]:
    """A client for the YAML's ``cluster`` block; what was started here is stopped at the end.

    Warns on stderr where others than this machine can connect.

    Args:
        cluster: the block.
        tasks: no more local workers than that are started.

    Raises:
        InputError: if the scheduler does not answer or refuses, or a package for the kind of cluster is missing.
    """
    for line in exposure(cluster):
        print(f"warning: {line}", file=sys.stderr, flush=True)
    if isinstance(cluster, cluster_config.RunningCluster):
        # A scheduler that goes away is said in one line by whoever waits for results.
        with _quiet("distributed.client"), _connect(cluster) as client:
            yield client
        return
    with contextlib.ExitStack() as stack:
        stack.enter_context(_workers_without_main())
        # A browser tab closed while the dashboard loads must not print a traceback into the progress bar.
        stack.enter_context(_quiet("tornado.application"))
        started = stack.enter_context(_started(cluster, tasks))
        if isinstance(started, LocalCluster):
            stack.enter_context(nursed(started))
        adaptive = getattr(cluster, "adaptive", None)
        if adaptive is not None:
            started.adapt(minimum=adaptive.minimum, maximum=adaptive.maximum)
        yield stack.enter_context(Client(started))


def _started(cluster: Any, tasks: int) -> Any:
    """Start a cluster; once more where a worker died on the way up."""
    for left in reversed(range(START_TRIES)):
        try:
            return _start(cluster, tasks)
        # Dask's nanny asserts where a worker that hangs while it starts is given up.
        except (RuntimeError, OSError, TimeoutError, AssertionError) as error:
            if not left:
                cause = " ".join(str(error.__cause__ or error).split())[:200]
                raise InputError(f"cluster: it could not be started ({cause}); the same command tries again") from None
    raise AssertionError("unreachable")


def _start(cluster: Any, tasks: int) -> Any:
    if isinstance(cluster, cluster_config.LocalCluster):
        return _local(cluster, tasks)
    from sweeps.cluster.remote import STARTERS

    return STARTERS[cluster.kind](cluster)


def _connect(cluster: cluster_config.RunningCluster) -> Client:
    security = tls_security(cluster.tls)
    try:
        return Client(cluster.address, timeout=CONNECT_SECONDS, security=security)
    except (OSError, TimeoutError) as error:
        why = "no Dask scheduler answers at" if cluster.tls is None else "no Dask scheduler takes this certificate at"
        raise InputError(f"cluster.address: {why} {cluster.address} ({error})") from None


def local_workers(cluster: cluster_config.LocalCluster, tasks: int) -> int:
    """Number of worker processes: as asked, or the cores this process may use, and not more than there are tasks."""
    if cluster.workers != "auto":
        return min(cluster.workers, max(1, tasks))
    return max(1, min(cores() // cluster.threads_per_worker, tasks))


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# Dask tells workers to give every freed 64 KiB back to the system: an integrator that allocates and frees such arrays
# thousands of times a second then spends more time on page faults than on arithmetic.
WORKER_MEMORY = {"MALLOC_TRIM_THRESHOLD_": 256 * 2**20, "MALLOC_MMAP_THRESHOLD_": 32 * 2**20}
# Every task computes in one thread; libraries that would start their own are told so before they load.
WORKER_THREADS = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "BLOSC_NTHREADS"), 1
)
# Dask looks into its workers a hundred times a second to draw the dashboard's profile. Each look takes the
# interpreter from the task, which here is a tenth of the worker's time; ten a second draw the same picture. The other
# clocks tick in the driver too, for the scheduler and each nanny; their work is time that no worker gets.
WORKER_WATCH = {
    "distributed.worker.profile.interval": "100ms",
    "distributed.admin.tick.interval": "500ms",
    "distributed.admin.system-monitor.interval": "2s",
    "distributed.worker.memory.monitor-interval": "250ms",
}


def worker_settings() -> dict[str, Any]:
    """Dask's configuration for workers that are started from here."""
    environment = WORKER_MEMORY | WORKER_THREADS
    settings = {f"distributed.nanny.pre-spawn-environ.{name}": value for name, value in environment.items()}
    return {**settings, **WORKER_WATCH}


def _local(cluster: cluster_config.LocalCluster, tasks: int) -> LocalCluster:
    workers = local_workers(cluster, tasks)
    if workers * cluster.threads_per_worker > cores():
        wanted = f"{workers} workers x {cluster.threads_per_worker} threads"
        print(f"warning: cluster.workers: {wanted} on {cores()} cores will be slower", file=sys.stderr, flush=True)
    security = tls_security(cluster.tls)
    dashboard = dashboard_address(cluster.dashboard_address)
    with dask.config.set({**worker_settings(), **dashboard_settings(dashboard, cluster.tls)}):
        return LocalCluster(
            n_workers=workers,
            threads_per_worker=cluster.threads_per_worker,
            processes=True,
            memory_limit=cluster.memory_limit,
            host=cluster.host,
            protocol="tls://" if security else "tcp://",
            security=security,
            scheduler_kwargs=dashboard_options(dashboard),
            # A worker that hangs while it starts must not hold up the rest for ever.
            death_timeout=START_SECONDS,
            # What matters is said in one line; a heartbeat that misses a scheduler that ends is not.
            silence_logs=logging.CRITICAL,
        )


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


def dashboard_options(address: str | None) -> dict[str, Any]:
    """Options of Dask's scheduler for :func:`dashboard_address`; off, its web server still listens, with no page."""
    return {"dashboard": address is not None, "dashboard_address": address or f"{LOOPBACK}:0"}


def dashboard_link(client: Client, cluster: cluster_config.Cluster) -> str:
    """Where a cluster's dashboard is; empty where it is turned off."""
    off = getattr(cluster, "dashboard_address", "") is None
    return "" if off else client.dashboard_link or ""


def dashboard_settings(address: str | None, tls: Any) -> dict[str, Any]:
    """Dask's configuration for a dashboard: beyond this machine encrypted where there are certificates.

    On this machine its live data go to its own pages alone: by default Dask gives them to any page of any site that is
    open in the same browser.
    """
    if address is None:
        return {"distributed.scheduler.http.routes": []}
    host, _, port = address.rpartition(":")
    if is_loopback(host):
        names = dict.fromkeys(("localhost", LOOPBACK, host))
        origins = [f"{name}:{port}" for name in names]
        return {"distributed.scheduler.dashboard.bokeh-application.allow_websocket_origin": origins}
    if isinstance(tls, cluster_config.TlsFiles):
        place = "distributed.scheduler.dashboard.tls"
        return {f"{place}.ca-file": tls.ca_file, f"{place}.cert": tls.cert, f"{place}.key": tls.key}
    return {}


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
def _quiet(name: str) -> Iterator[None]:
    """Nothing but what is critical from a logger while the block runs."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
