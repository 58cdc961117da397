"""The Dask client of a run: a cluster is started, or a scheduler that runs already is used."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from distributed import Client, LocalCluster

from solvers.errors import InputError
from solvers.registries import resolve
from sweeps.cluster.hung_workers import replacing_hung_workers
from sweeps.cluster.security import exposure
from sweeps.config.cluster import ClusterBlock
from sweeps.config.cluster_kinds import CLUSTERS

if TYPE_CHECKING:
    from distributed.deploy import Cluster

logger = logging.getLogger("phasetwin")
START_TRIES = 3


@contextlib.contextmanager
def open_client(block: ClusterBlock, tasks: int) -> Iterator[Client]:
    """A client for the YAML's ``cluster`` block; what was started here is stopped at the end.

    Warns where others than this machine can connect.

    Args:
        block: see :mod:`sweeps.config.cluster`.
        tasks: how many tasks there will be at once; no more local workers than that are started.

    Raises:
        InputError: if the scheduler does not answer or refuses, or a package for the kind of cluster is missing.
    """
    for line in exposure(block):
        logger.warning(f"warning: {line}")
    with contextlib.ExitStack() as stack:
        stack.enter_context(_workers_without_main())
        # A browser tab closed while the dashboard loads would print a traceback into the progress bar.
        stack.enter_context(_quiet("tornado.application"))
        started = stack.enter_context(_started(block, tasks))
        if isinstance(started, Client):
            # The loss of the scheduler is reported, in one line, where results are awaited.
            stack.enter_context(_quiet("distributed.client"))
            yield started
            return
        if isinstance(started, LocalCluster):
            stack.enter_context(replacing_hung_workers(started))
        adaptive = getattr(block, "adaptive", None)
        if adaptive is not None:
            started.adapt(minimum=adaptive.minimum, maximum=adaptive.maximum)
        yield stack.enter_context(Client(started))


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
    off = getattr(block, "dashboard_address", "") is None
    return "" if off else client.dashboard_link or ""


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
