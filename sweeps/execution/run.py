"""Runs a planned sweep: prepares its store, computes what is missing on a Dask cluster, checks a few points again."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from distributed import Client, performance_report

from solvers.errors import InputError
from sweeps.cluster.client import dashboard_link, open_client
from sweeps.config.sweep import SweepConfig
from sweeps.engines.registry import check_device
from sweeps.execution.execute import run_batches, scheduler_needed
from sweeps.execution.extensions import packed_extensions
from sweeps.execution.prepare import Prepared, make_tasks, prepare
from sweeps.execution.spot_checks import Checks, verify_points
from sweeps.execution.task import BatchOutcome, BatchTask
from sweeps.execution.worker_environment import check_workers, environment
from sweeps.monitoring.progress import lines_on_stderr, point_progress
from sweeps.monitoring.results import ResultLines
from sweeps.monitoring.watcher import Watcher
from sweeps.plan.plan import Plan
from sweeps.report import report_folder
from sweeps.store.layout import DIVERGED, VERIFIED
from sweeps.store.lock import store_lock
from sweeps.store.store import Store

logger = logging.getLogger("phasetwin")
#: Damaged objects that a run names one by one.
DAMAGE_SHOWN = 20


@dataclass(frozen=True)
class RunResult:
    """What a run did.

    Attributes:
        store: its URL.
        computed, reused: points computed, and copied from other stores, now.
        failed: samples that failed or diverged, a line each, over the whole store.
        diverged, verified: points with a diverged sample, and that passed the spot checks, over the whole store.
        missed: points whose spot check found the tolerance missed or the bands wrong, a line each.
        untrusted: points with a sample outside the domain of a learned engine, over the whole store.
        damaged: objects of the store that were found damaged, a line each.
        unchecked: spot checks that could not be solved, a line each; the next run tries again.
        wall_s: seconds this run took.
    """

    store: str
    points: int
    computed: int
    reused: int
    failed: tuple[str, ...]
    diverged: int
    verified: int
    missed: tuple[str, ...]
    wall_s: float
    untrusted: int = 0
    damaged: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()


def run_plan(plan: Plan, client: Client | None, progress: bool, check: bool) -> RunResult:
    """See :meth:`sweeps.sweep.Sweep.run`."""
    config = plan.config
    check_device(config.engine)
    started = time.monotonic()
    with _driving(config, client, progress) as (runner, publish):
        prepared = prepare(config.output.path, plan, check)
        if progress:
            for line in prepared.damaged[:DAMAGE_SHOWN]:
                logger.info(f"damaged, made again: {line}")
        watcher = runner.watcher = Watcher(prepared, publish)
        counts = _fill(prepared, runner)
        watcher.enter("verifying")
        checks = verify_points(prepared, runner.run) if config.verify.count else Checks()
        watcher.enter("finished")
        return _result(prepared, counts, checks, time.monotonic() - started)


def verify_plan(plan: Plan, client: Client | None, progress: bool, count: int | None) -> RunResult:
    """See :meth:`sweeps.sweep.Sweep.verify`."""
    Store.open(plan.config.output.path)
    started = time.monotonic()
    with _driving(plan.config, client, progress) as (runner, _):
        prepared = prepare(plan.config.output.path, plan, check=False)
        if not prepared.store.table.usable.any():
            raise InputError(f"{prepared.store.url}: nothing in it is done yet; run the sweep first")
        checks = verify_points(prepared, runner.run, count)
        return _result(prepared, (0, 0), checks, time.monotonic() - started)


@contextlib.contextmanager
def _driving(
    config: SweepConfig, client: Client | None, progress: bool
) -> Iterator[tuple[Runner, Callable[[dict[str, Any]], None]]]:
    """Hold the lock of the store and have a runner; the function adds facts to what others see of the holder."""
    with (
        lines_on_stderr(progress),
        store_lock(config.output.path) as hold,
        Runner(config, client, progress, hold.check) as runner,
    ):
        yield runner, hold.publish


class Runner:
    """Runs tasks on the given client, or on a cluster that is started when the first task comes.

    Args:
        config: names the cluster.
        client: to use instead.
        show: print the dashboard's address and the progress.
        check: called before anything is recorded; raises where the store is no longer this driver's.
    """

    def __init__(
        self, config: SweepConfig, client: Client | None, show: bool, check: Callable[[], None] = lambda: None
    ) -> None:
        self.show = show
        self._check = check
        self._config = config
        self._client = client
        self._stack = contextlib.ExitStack()
        self.watcher: Watcher | None = None
        self._environment: tuple[tuple[str, str], ...] = ()
        self._joined = False

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def run(self, tasks: Sequence[BatchTask], record: Callable[[BatchOutcome], None]) -> None:
        if not tasks:
            return
        client = self._connected(len(tasks))
        extensions = packed_extensions()
        checked = (replace(task, environment=self._environment, extensions=extensions) for task in tasks)
        run_batches(client, checked, self._config.name, self._recorded(record))

    def _recorded(self, record: Callable[[BatchOutcome], None]) -> Callable[[BatchOutcome], None]:
        def checked(outcome: BatchOutcome) -> None:
            self._check()
            record(outcome)
            if self.watcher is not None:
                self.watcher.report()

        return checked

    def _connected(self, tasks: int) -> Client:
        if self._client is None:
            wanted = max(tasks, self._config.verify.count)
            self._client = self._stack.enter_context(open_client(self._config.cluster, wanted))
        if not self._joined:
            self._joined = True
            self._join(self._client)
        return self._client

    def _join(self, client: Client) -> None:
        """Once a run has a cluster: are all machines alike, and where can it be watched?"""
        with scheduler_needed():
            check_workers(client, self._config)
        self._environment = tuple(environment(self._config.engine).items())
        link = dashboard_link(client, self._config.cluster)
        if self.watcher is not None:
            self.watcher.connect(client, link)
        if self.show and link:
            logger.info(f"dashboard: {link}, this sweep: {link.replace('/status', '/phasetwin')}")
        if self._config.output.performance:
            self._stack.enter_context(_performance(client, self._config.output.path))


@contextlib.contextmanager
def _performance(client: Client, store: str) -> Iterator[None]:
    """Save Dask's own account of what the cluster does, ``performance-TIME.html``, beside the sweep's report."""
    folder = report_folder(store)
    folder.mkdir(parents=True, exist_ok=True)
    name = time.strftime("performance-%Y%m%d-%H%M%S.html", time.gmtime())
    with client.as_current(), performance_report(filename=str(folder / name)):
        yield


def _fill(prepared: Prepared, runner: Runner) -> tuple[int, int]:
    """Compute every pending point; returns how many were computed and how many copied."""
    tasks = make_tasks(prepared)
    total, left = len(prepared.pending), int(prepared.pending.sum())
    counts = np.zeros(2, dtype=int)
    name, results = prepared.plan.config.name, ResultLines(prepared, runner.show)
    with point_progress(name, total, total - left, runner.show) as advance:

        def record(outcome: BatchOutcome) -> None:
            prepared.store.table.record(outcome)
            done = int(outcome.computed.sum())
            counts[:] += (done - outcome.reused, outcome.reused)
            advance(done)
            results.report(outcome)

        try:
            runner.run(tasks, record)
        finally:
            # Also when interrupted: what is on disk is then also in the status table.
            prepared.store.table.flush()
    return int(counts[0]), int(counts[1])


def _result(prepared: Prepared, counts: tuple[int, int], checks: Checks, wall_s: float) -> RunResult:
    store = prepared.store
    status = store.table.status
    wall_before = float(store.attributes.get("wall_time_s", 0.0))
    done = f"{counts[0]} points computed, {counts[1]} reused, in {wall_s:.1f} s"
    history = f"{store.attributes.get('history', '')}; {done}"
    store.update_attributes({"wall_time_s": round(wall_before + wall_s, 3), "history": history})
    return RunResult(
        store=store.url,
        points=len(status),
        computed=counts[0],
        reused=counts[1],
        failed=store.table.failures(prepared.plan),
        diverged=int((status == DIVERGED).any(axis=1).sum()),
        verified=int((status == VERIFIED).all(axis=1).sum()),
        missed=checks.missed,
        unchecked=checks.unsolved,
        wall_s=wall_s,
        untrusted=int((store.read("trust") < 1).any(axis=1).sum()) if store.layout.learned else 0,
        damaged=prepared.damaged,
    )
