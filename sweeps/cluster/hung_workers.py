"""Workers of this machine that hang are replaced.

Dask forgets a worker that is silent for ``distributed.scheduler.worker-ttl`` (five minutes) and gives its tasks to
others, but does not end its process: with all workers stopped a sweep would wait without end. Here the process is ended
and another one started in its place.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from distributed import LocalCluster, Nanny, Scheduler, Status
from tornado.ioloop import PeriodicCallback

LOOK_SECONDS = 1.0
# A worker that starts or closes is unknown to the scheduler for a moment.
PATIENCE_SECONDS = 20.0
# On a busy machine a process needs a minute to load all libraries.
START_SECONDS = 150.0
RESTART_SECONDS = 120.0


@contextlib.contextmanager
def replacing_hung_workers(cluster: LocalCluster) -> Iterator[LocalCluster]:
    """Replace hanging workers of a cluster while the block runs."""
    callback = PeriodicCallback(_Watchdog(cluster).look, LOOK_SECONDS * 1000)
    loop = cluster.loop
    assert loop is not None
    loop.add_callback(callback.start)
    try:
        yield cluster
    finally:
        loop.add_callback(callback.stop)


class _Watchdog:
    """Compares the worker processes with those that the scheduler knows; runs in the cluster's event loop."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._cluster = cluster
        self._unknown_since: dict[Nanny, float] = {}

    async def look(self) -> None:
        """Restart the workers that have been unknown to the scheduler for too long."""
        scheduler = self._cluster.scheduler
        assert isinstance(scheduler, Scheduler)
        for nanny in [w for w in self._cluster.workers.values() if isinstance(w, Nanny)]:
            if nanny.worker_address in scheduler.workers or nanny.status in (Status.closing, Status.closed):
                self._unknown_since.pop(nanny, None)
                continue
            since = self._unknown_since.setdefault(nanny, time.monotonic())
            patience = PATIENCE_SECONDS if nanny.status == Status.running else START_SECONDS
            if time.monotonic() - since > patience:
                self._unknown_since.pop(nanny)
                with contextlib.suppress(TimeoutError, OSError):
                    await nanny.restart(timeout=RESTART_SECONDS)
