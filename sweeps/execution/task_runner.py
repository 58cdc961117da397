"""Runs the tasks of a plan where its file says, or where that is left open. Loads no Dask before there is a task."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from solvers.registries import resolve
from sweeps.config.cluster_kinds import CLUSTERS
from sweeps.execution.prepare import Prepared, expected_pending
from sweeps.monitoring.watcher import Watcher
from sweeps.plan.plan import Plan
from sweeps.plan.remaining_work import choose_cluster_of, work_of
from sweeps.store.lock import Hold

if TYPE_CHECKING:
    from distributed import Client

    from sweeps.cluster.choice import ClusterChoice
    from sweeps.config.cluster import ClusterBlock
    from sweeps.execution.batch_task import BatchOutcome, BatchTask
    from sweeps.execution.dask_runner import DaskRunner

logger = logging.getLogger("phasetwin")
#: In the facts of a store's holder: it computes in its own process.
IN_PROCESS = "computes_in_process"


def ended_abruptly(hold: Hold) -> bool:
    """Whether the last holder ended without giving back what it held, while it computed in its own process.

    That is kept in mind until a holder ends in order.
    """
    if not hold.before.get(IN_PROCESS):
        return False
    hold.record({IN_PROCESS: True})
    return True


def settle(block: ClusterBlock, choice: ClusterChoice | None, hold: Hold, show: bool) -> ClusterBlock:
    """The block to start: the one that was chosen in the place of the file's, which is said; recorded if risky."""
    if choice is not None:
        block = choice.cluster
        if show:
            logger.info(f"computing {choice.reason}")
    if CLUSTERS.get(block.kind).in_process:
        hold.record({IN_PROCESS: True})
    return block


class TaskRunner(contextlib.ExitStack):
    """Runs tasks on the given client, or starts what computes them.

    Args:
        plan: of the sweep.
        client: to use instead of starting anything.
        show: print where it computes, the dashboard's address and the progress.
        hold: of the store.

    Attributes:
        choice: where to compute, if the file leaves it open and anything was computed.
    """

    def __init__(self, plan: Plan, client: Client | None, show: bool, hold: Hold) -> None:
        super().__init__()
        self.show = show
        self.choice: ClusterChoice | None = None
        self._plan, self._client, self._hold = plan, client, hold
        self._pending = np.ones(len(plan.keys), dtype=bool)
        self._watcher: Watcher | None = None
        self._runner: DaskRunner | None = None
        self._interrupted = ended_abruptly(hold)

    def start_early(self) -> None:
        """Start the worker processes that pay for what is probably left to compute, while the store is prepared."""
        if self._client is not None or not _starts_others(self._choice()):
            return
        pending = expected_pending(self._plan)
        if pending is None or not pending.any():
            return
        self._pending = pending
        if _starts_others(self._choice()):
            self._started().start(len(self._plan.batches))

    def begin(self, prepared: Prepared) -> None:
        """The store is there: what is pending is known, and facts are gathered from now on."""
        self._pending = prepared.pending
        self._watcher = Watcher(prepared, self._hold.publish)

    def enter(self, phase: str) -> None:
        """See :meth:`sweeps.monitoring.watcher.Watcher.enter`."""
        if self._watcher is not None:
            self._watcher.enter(phase)

    def run(self, tasks: Sequence[BatchTask], record: Callable[[BatchOutcome], None]) -> None:
        """Compute tasks; ``record`` gets what became of each, in this thread."""
        if not tasks:
            return

        def checked(outcome: BatchOutcome) -> None:
            self._hold.check()
            record(outcome)
            if self._watcher is not None:
                self._watcher.report()

        self._started().run(tasks, checked, self._watcher)

    def _choice(self) -> ClusterChoice | None:
        work = work_of(self._plan, self._pending, self._interrupted)
        return choose_cluster_of(self._plan.config.cluster, work)

    def _started(self) -> DaskRunner:
        """What runs tasks, made at the first call; its cluster starts when it has tasks, or is told to."""
        if self._runner is None:
            block = self._plan.config.cluster
            if self._client is None:
                self.choice = self._choice()
                block = settle(block, self.choice, self._hold, self.show)
            make = resolve("sweeps.execution.dask_runner:DaskRunner")
            self._runner = self.enter_context(make(self._plan.config, block, self._client, self.show))
        return self._runner


def _starts_others(choice: ClusterChoice | None) -> bool:
    return choice is not None and not CLUSTERS.get(choice.cluster.kind).in_process
