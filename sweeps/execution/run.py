"""Runs a planned sweep: prepares its store, computes what is missing, checks a few points again.

Loads neither Dask nor torch: what computes is loaded where there is something to compute.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from solvers.errors import InputError
from sweeps.engines.registry import check_device
from sweeps.execution.prepare import Prepared, make_tasks, prepare
from sweeps.execution.spot_checks import Checks, verify_points
from sweeps.execution.task_runner import TaskRunner
from sweeps.monitoring.progress import lines_on_stderr, point_progress
from sweeps.monitoring.results import ResultLines
from sweeps.plan.plan import Plan
from sweeps.store.layout import DIVERGED, VERIFIED
from sweeps.store.lock import store_lock
from sweeps.store.store import Store

if TYPE_CHECKING:
    from distributed import Client

    from sweeps.execution.batch_task import BatchOutcome

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
        missed: points whose spot check found the tolerance missed or the bands wrong, a line each, and one for bands
            that are too narrow over all that was checked.
        untrusted: points with a sample outside the domain of a learned engine, over the whole store.
        damaged: objects of the store that were found damaged, a line each.
        unchecked: spot checks that could not be solved, a line each; the next run tries again.
        over_tolerance: samples whose measured error exceeds the tolerance asked for, a line each, over the whole store.
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
    over_tolerance: tuple[str, ...] = ()


def run_plan(plan: Plan, client: Client | None, progress: bool, check: bool) -> RunResult:
    """See :meth:`sweeps.sweep.Sweep.run`."""
    config = plan.config
    check_device(config.engine)
    started = time.monotonic()
    with _driving(plan, client, progress) as runner:
        runner.start_early()
        prepared = prepare(config.output.path, plan, check)
        if progress:
            for line in prepared.damaged[:DAMAGE_SHOWN]:
                logger.info(f"damaged, made again: {line}")
        runner.begin(prepared)
        counts = _fill(prepared, runner)
        runner.enter("verifying")
        checks = verify_points(prepared, runner.run) if config.verify.count else Checks()
        runner.enter("finished")
        return _result(prepared, runner, counts, checks, time.monotonic() - started)


def verify_plan(plan: Plan, client: Client | None, progress: bool, count: int | None) -> RunResult:
    """See :meth:`sweeps.sweep.Sweep.verify`."""
    Store.open(plan.config.output.path)
    started = time.monotonic()
    with _driving(plan, client, progress) as runner:
        prepared = prepare(plan.config.output.path, plan, check=False)
        if not prepared.store.table.usable.any():
            raise InputError(f"{prepared.store.url}: nothing in it is done yet; run the sweep first")
        checks = verify_points(prepared, runner.run, count)
        return _result(prepared, runner, (0, 0), checks, time.monotonic() - started)


@contextlib.contextmanager
def _driving(plan: Plan, client: Client | None, progress: bool) -> Iterator[TaskRunner]:
    """Hold the lock of the store while its plan is run."""
    with (
        lines_on_stderr(progress),
        store_lock(plan.config.output.path) as hold,
        TaskRunner(plan, client, progress, hold) as runner,
    ):
        yield runner


def _fill(prepared: Prepared, runner: TaskRunner) -> tuple[int, int]:
    """Compute every pending point; returns how many were computed and how many copied."""
    tasks = make_tasks(prepared)
    total, left = len(prepared.pending), int(prepared.pending.sum())
    counts = np.zeros(2, dtype=int)
    name, results = prepared.plan.config.name, ResultLines(prepared, runner.show)
    checks = prepared.plan.estimate.check_share
    with point_progress(name, total, total - left, runner.show, checks) as advance:

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


def _result(
    prepared: Prepared, runner: TaskRunner, counts: tuple[int, int], checks: Checks, wall_s: float
) -> RunResult:
    store = prepared.store
    status = store.table.status
    wall_before = float(store.attributes.get("wall_time_s", 0.0))
    done = f"{counts[0]} points computed, {counts[1]} reused, in {wall_s:.1f} s"
    attributes = {**prepared.attributes, "wall_time_s": round(wall_before + wall_s, 3)}
    attributes["history"] = f"{attributes.get('history', store.attributes.get('history', ''))}; {done}"
    if runner.choice is not None:
        attributes["cluster_choice"] = json.dumps(runner.choice.as_dict())
    store.update_attributes(attributes)
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
        over_tolerance=store.table.over_tolerance(prepared.plan),
    )
