"""Workers of this machine that hang are replaced.

Dask forgets a worker that says nothing for ``distributed.scheduler.worker-ttl`` (five minutes) and gives its tasks to
others, but leaves its process alone, however long it hangs: with all workers stopped a sweep would wait for ever. Here
the process is ended and another one started in its place.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from distributed import LocalCluster, Nanny, Status
from tornado.ioloop import PeriodicCallback

LOOK_SECONDS = 1.0
# A worker that starts or says good-bye is unknown to the scheduler for a moment.
PATIENCE_SECONDS = 20.0
# On a busy machine a process needs a minute to load all libraries.
START_SECONDS = 150.0
RESTART_SECONDS = 120.0


@contextlib.contextmanager
def nursed(cluster: LocalCluster) -> Iterator[LocalCluster]:
    """Replace hanging workers of a cluster while the block runs."""
    nurse = _Nurse(cluster)
    callback = PeriodicCallback(nurse.look, LOOK_SECONDS * 1000)
    loop: Any = cluster.loop
    loop.add_callback(callback.start)
    try:
        yield cluster
    finally:
        loop.add_callback(callback.stop)


class _Nurse:
    """Looks which workers the scheduler knows; runs in the cluster's event loop."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._cluster = cluster
        self._unknown_since: dict[Nanny, float] = {}

    async def look(self) -> None:
        """Restart the workers that have been unknown to the scheduler for too long."""
        nannies = [w for w in self._cluster.workers.values() if isinstance(w, Nanny)]
        for nanny in nannies:
            scheduler: Any = self._cluster.scheduler
            known = nanny.worker_address in scheduler.workers
            if known or nanny.status in (Status.closing, Status.closed):
                self._unknown_since.pop(nanny, None)
                continue
            since = self._unknown_since.setdefault(nanny, time.monotonic())
            patience = PATIENCE_SECONDS if nanny.status == Status.running else START_SECONDS
            if time.monotonic() - since > patience:
                self._unknown_since.pop(nanny)
                with contextlib.suppress(TimeoutError, OSError):
                    await nanny.restart(timeout=RESTART_SECONDS)
