"""Runs tasks on a Dask cluster, which is started when it is first needed and stopped at the end."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from distributed import Client, performance_report

from solvers.registries import resolve
from sweeps.cluster.client import dashboard_link, starting_client
from sweeps.config.cluster_kinds import CLUSTERS
from sweeps.execution.batch_task import BatchOutcome, BatchTask
from sweeps.execution.execute import run_batches, scheduler_needed
from sweeps.execution.extensions import packed_extensions
from sweeps.execution.worker_environment import check_workers, environment
from sweeps.report import report_folder

if TYPE_CHECKING:
    from sweeps.config.cluster import ClusterBlock
    from sweeps.config.sweep import SweepConfig
    from sweeps.monitoring.watcher import Watcher

logger = logging.getLogger("phasetwin")


class DaskRunner(contextlib.ExitStack):
    """Runs tasks on the given client, or on a cluster of its own.

    Args:
        config: of the sweep.
        cluster: what to start.
        client: to use instead.
        show: print the dashboard's address.
    """

    def __init__(self, config: SweepConfig, cluster: ClusterBlock, client: Client | None, show: bool) -> None:
        super().__init__()
        self._config, self._cluster, self._show = config, cluster, show
        self._ready: Callable[[], Client] | None = (lambda: client) if client is not None else None
        self._environment: tuple[tuple[str, str], ...] | None = None

    def start(self, tasks: int) -> None:
        """Have the cluster started in the background, for so many tasks, if it is not there."""
        if self._ready is None:
            wanted = max(tasks, self._config.verify.count)
            if CLUSTERS.get(self._cluster.kind).in_process:
                # Tasks set torch to one thread, which holds for all of the process; torch is loaded here alone.
                self.enter_context(resolve("solvers.torch_threads:torch_threads")(1))
            self._ready = self.enter_context(starting_client(self._cluster, wanted))

    def run(self, tasks: Sequence[BatchTask], record: Callable[[BatchOutcome], None], watcher: Watcher | None) -> None:
        """Compute tasks; ``record`` gets what became of each in this thread."""
        self.start(len(tasks))
        assert self._ready is not None
        client = self._ready()
        if self._environment is None:
            self._environment = self._join(client, watcher)
        extensions = packed_extensions()
        checked = (replace(task, environment=self._environment, extensions=extensions) for task in tasks)
        run_batches(client, checked, self._config.name, record)

    def _join(self, client: Client, watcher: Watcher | None) -> tuple[tuple[str, str], ...]:
        """Once a run has a cluster: are all machines alike, and where can it be watched? The environment they share."""
        with scheduler_needed():
            check_workers(client, self._config)
        link = dashboard_link(client, self._cluster)
        if watcher is not None:
            watcher.connect(client, link)
        if self._show and link:
            logger.info(f"dashboard: {link}, this sweep: {link.replace('/status', '/phasetwin')}")
        if self._config.output.performance:
            self.enter_context(_performance(client, self._config.output.path))
        return tuple(environment(self._config.engine).items())


@contextlib.contextmanager
def _performance(client: Client, store: str) -> Iterator[None]:
    """Save Dask's own account of what the cluster does, ``performance-TIME.html``, beside the sweep's report."""
    folder = report_folder(store)
    folder.mkdir(parents=True, exist_ok=True)
    name = time.strftime("performance-%Y%m%d-%H%M%S.html", time.gmtime())
    with client.as_current(), performance_report(filename=str(folder / name)):
        yield
