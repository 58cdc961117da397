"""The Dask client of a run: a cluster is started, or a scheduler that runs already is used."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from distributed import Client, LocalCluster

from solvers.errors import InputError
from solvers.registries import resolve
from sweeps.cluster.hung_workers import replacing_hung_workers
from sweeps.cluster.security import exposure, is_loopback
from sweeps.config.cluster import LOOPBACK, ClusterBlock
from sweeps.config.cluster_kinds import CLUSTERS

if TYPE_CHECKING:
    from distributed.deploy import Cluster

logger = logging.getLogger("phasetwin")
START_TRIES = 3


@contextlib.contextmanager
def open_client(block: ClusterBlock, tasks: int) -> Iterator[Client]:
    """A client for the YAML's ``cluster`` block; what was started here is stopped at the end.

    Arguments and errors are those of :func:`starting_client`.
    """
    with starting_client(block, tasks) as ready:
        yield ready()


@contextlib.contextmanager
def starting_client(block: ClusterBlock, tasks: int) -> Iterator[Callable[[], Client]]:
    """Start a cluster in a thread of its own; what was started here is stopped at the end.

    Warns where others than this machine can connect.

    Args:
        block: see :mod:`sweeps.config.cluster`.
        tasks: how many tasks there will be at once; no more local workers than that are started.

    Yields:
        A function that waits until the cluster is there and gives its client, the same one each time. It raises
        InputError if the scheduler does not answer or refuses, or a package for the kind of cluster is missing.
    """
    for line in exposure(block):
        logger.warning(f"warning: {line}")
    with contextlib.ExitStack() as stack:
        stack.enter_context(_workers_without_main())
        # A browser tab closed while the dashboard loads would print a traceback into the progress bar.
        stack.enter_context(_quiet("tornado.application"))
        starting = stack.enter_context(ThreadPoolExecutor(1, "cluster-start")).submit(_started, block, tasks)
        stack.callback(_close, starting)
        clients = stack.enter_context(contextlib.ExitStack())

        @cache
        def ready() -> Client:
            return _client(block, starting.result(), clients)

        yield ready


def _client(block: ClusterBlock, started: Cluster | Client, stack: contextlib.ExitStack) -> Client:
    """The client of a cluster, to be closed with the stack."""
    if isinstance(started, Client):
        # The loss of the scheduler is reported, in one line, where results are awaited.
        stack.enter_context(_quiet("distributed.client"))
        return started
    if isinstance(started, LocalCluster):
        stack.enter_context(replacing_hung_workers(started))
    adaptive = getattr(block, "adaptive", None)
    if adaptive is not None:
        started.adapt(minimum=adaptive.minimum, maximum=adaptive.maximum)
    return stack.enter_context(Client(started))


def _close(starting: Future[Cluster | Client]) -> None:
    """Stop what was started; errors of its start have been raised, or nobody waited for it."""
    if starting.exception() is None:
        starting.result().close()


def _started(block: ClusterBlock, tasks: int) -> Cluster | Client:
    """Start a cluster; again where a worker died while it started."""
    for left in reversed(range(START_TRIES)):
        try:
            return _start(block, tasks)
        # Dask's nanny asserts where a worker that hangs while it starts is given up.
        except (RuntimeError, OSError, TimeoutError, AssertionError) as error:
            if not left:
                cause = " ".join(str(error.__cause__ or error).split())[:200]
                raise InputError(f"cluster: it could not be started ({cause}); the same command tries again") from None
    raise AssertionError("unreachable")


def _start(block: ClusterBlock, tasks: int) -> Cluster | Client:
    kind = CLUSTERS.get(block.kind)
    kind.check_installed()
    return resolve(kind.start)(block, tasks)


def dashboard_link(client: Client, block: ClusterBlock) -> str:
    """Where a cluster's dashboard is; empty where it is turned off."""
    address = getattr(block, "dashboard_address", "")
    if address is None:
        return ""
    link = client.dashboard_link or ""
    host = address.rpartition(":")[0] or LOOPBACK
    if getattr(client.cluster, "scheduler_address", "").startswith("inproc://") and is_loopback(host):
        # Dask names the machine, while its web server listens where this machine alone reaches it.
        return link.replace(urlsplit(link).hostname or "", host)
    return link


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
