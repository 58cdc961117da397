"""A sweep as an object: read the file, plan, run, verify, look."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeps.config.sweep import SweepConfig
from sweeps.monitoring.progress import lines_on_stderr, point_progress
from sweeps.plan.plan import Plan, make_plan

if TYPE_CHECKING:
    from distributed import Client

    from sweeps.execution.batch_report import BatchOutcome
    from sweeps.execution.prepare import Prepared
    from sweeps.execution.spot_checks import Checks
    from sweeps.execution.task import BatchTask
    from sweeps.monitoring.watcher import Watcher
    from sweeps.store.store import Store

logger = logging.getLogger("phasetwin")
#: Damaged objects that a run names one by one.
DAMAGE_SHOWN = 20


@dataclass(frozen=True)
class RunResult:
    """What a run did.

    Attributes:
        store: its URL.
        points: of the sweep.
        computed: points computed now.
        reused: points copied from other stores now.
        failed: samples that failed or diverged, a line each, over the whole store.
        diverged: points with a diverged sample, over the whole store.
        verified: points that passed the spot checks, over the whole store.
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


class Sweep:
    """A parameter sweep.

    Args:
        config: the resolved configuration.
    """

    def __init__(self, config: SweepConfig) -> None:
        self.config = config

    @classmethod
    def from_yaml(cls, path: str | Path, overrides: Iterable[str] = ()) -> Sweep:
        """Read a sweep file.

        Args:
            path: of the YAML file.
            overrides: ``key.path=value`` texts, each replacing one value of the file.

        Raises:
            InputError: naming file, line and key, what was found and what is allowed.
        """
        from sweeps.inputs.yaml_source import load_yaml

        return cls(load_yaml(Path(path), SweepConfig, overrides=tuple(overrides)))

    @classmethod
    def from_config(cls, config: SweepConfig | dict[str, Any]) -> Sweep:
        """From a configuration, or the dictionary a file would hold."""
        from sweeps.inputs.yaml_source import from_mapping

        if isinstance(config, SweepConfig):
            return cls(config)
        return cls(from_mapping(config, SweepConfig, label="configuration"))

    @property
    def store(self) -> str:
        """URL of the store."""
        return self.config.output.path

    @cached_property
    def _plan(self) -> Plan:
        return make_plan(self.config)

    def plan(self) -> Plan:
        """What will be computed; touches nothing."""
        return self._plan

    def run(self, client: Client | None = None, progress: bool = True, check: bool = True) -> RunResult:
        """Compute what is not in the store yet, then verify a few points.

        Args:
            client: Dask client to use; None starts what ``cluster`` says.
            progress: show a bar or lines on stderr, and the messages of the logger ``phasetwin``.
            check: first read all that the store holds; what is damaged is computed again.

        Raises:
            InputError: for an engine that is not there, a store of another sweep, or one in use.
        """
        from sweeps.engines.registry import check_device
        from sweeps.execution.prepare import prepare
        from sweeps.execution.spot_checks import Checks, verify_points
        from sweeps.monitoring.watcher import Watcher
        from sweeps.store.lock import store_lock

        check_device(self.config.engine)
        started = time.monotonic()
        plan = self.plan()
        with (
            lines_on_stderr(progress),
            store_lock(self.store) as hold,
            Runner(self.config, client, progress, hold.check) as runner,
        ):
            prepared = prepare(self.store, plan, check)
            if progress:
                for line in prepared.damaged[:DAMAGE_SHOWN]:
                    logger.info(f"damaged, made again: {line}")
            watcher = runner.watched_by(Watcher(prepared, hold.publish))
            counts = _fill(prepared, runner)
            watcher.enter("verifying")
            checks = verify_points(prepared, runner.run) if self.config.verify.count else Checks()
            watcher.enter("finished")
            return _result(prepared, counts, checks, time.monotonic() - started)

    def verify(self, client: Client | None = None, progress: bool = True, count: int | None = None) -> RunResult:
        """Solve a few points again to a twentieth of the tolerance and store how far off they were.

        Args:
            client: as in :meth:`run`.
            progress: as in :meth:`run`.
            count: how many points; None takes ``verify.count``.

        Raises:
            InputError: if there is no store of this sweep, or nothing in it is done.
        """
        from sweeps.execution.prepare import prepare
        from sweeps.execution.spot_checks import check_something_done, verify_points
        from sweeps.store.lock import store_lock
        from sweeps.store.store import Store

        Store.open(self.store)
        started = time.monotonic()
        with (
            lines_on_stderr(progress),
            store_lock(self.store) as hold,
            Runner(self.config, client, progress, hold.check) as runner,
        ):
            prepared = prepare(self.store, self.plan(), check=False)
            check_something_done(prepared)
            checks = verify_points(prepared, runner.run, count)
            return _result(prepared, (0, 0), checks, time.monotonic() - started)

    def status(self) -> dict[str, Any]:
        """How far the store is; see :func:`sweeps.monitoring.status.status`."""
        from sweeps.monitoring.status import status

        return status(self.store)

    def report(self, out_dir: str | Path | None = None) -> Path:
        """Write an HTML report from the store alone; returns its path."""
        from sweeps.report import write_report

        return write_report(self.store, Path(out_dir) if out_dir else None)


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
        self._watcher: Watcher | None = None
        self._environment: tuple[tuple[str, str], ...] = ()
        self._joined = False

    def watched_by(self, watcher: Watcher) -> Watcher:
        """Have a watcher told of what happens."""
        self._watcher = watcher
        return watcher

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def run(self, tasks: Sequence[BatchTask], record: Callable[[BatchOutcome], None]) -> None:
        """Compute batches; ``record`` is called with each report."""
        if not tasks:
            return
        from sweeps.execution.execute import run_batches
        from sweeps.execution.extensions import packed_extensions

        client = self._connected(len(tasks))
        extensions = packed_extensions()
        checked = (replace(task, environment=self._environment, extensions=extensions) for task in tasks)
        run_batches(client, checked, self._config.name, self._recorded(record))

    def _recorded(self, record: Callable[[BatchOutcome], None]) -> Callable[[BatchOutcome], None]:
        watcher = self._watcher

        def checked(outcome: BatchOutcome) -> None:
            self._check()
            record(outcome)
            if watcher is not None:
                watcher.report()

        return checked

    def _connected(self, tasks: int) -> Client:
        if self._client is None:
            from sweeps.cluster.client import open_client

            wanted = max(tasks, self._config.verify.count)
            self._client = self._stack.enter_context(open_client(self._config.cluster, wanted))
        if not self._joined:
            self._joined = True
            self._join(self._client)
        return self._client

    def _join(self, client: Client) -> None:
        """Once a run has a cluster: are all machines alike, and where can it be watched?"""
        from sweeps.cluster.client import dashboard_link
        from sweeps.execution.execute import scheduler_needed
        from sweeps.execution.worker_environment import check_workers, environment
        from sweeps.monitoring.performance_report import performance

        with scheduler_needed():
            check_workers(client, self._config)
        self._environment = tuple(environment(self._config.engine).items())
        link = dashboard_link(client, self._config.cluster)
        if self._watcher is not None:
            self._watcher.connect(client, link)
        if self.show and link:
            logger.info(f"dashboard: {link}, this sweep: {link.replace('/status', '/phasetwin')}")
        if self._config.output.performance:
            self._stack.enter_context(performance(client, self._config.output.path))


def _fill(prepared: Prepared, runner: Runner) -> tuple[int, int]:
    """Compute every pending point; returns how many were computed and how many copied."""
    from sweeps.execution.prepare import make_tasks

    tasks = make_tasks(prepared)
    total, left = len(prepared.pending), int(prepared.pending.sum())
    counts = np.zeros(2, dtype=int)
    name = prepared.plan.config.name
    with point_progress(name, total, total - left, runner.show) as advance:

        def record(outcome: BatchOutcome) -> None:
            prepared.store.table.record(outcome)
            done = int(outcome.computed.sum())
            counts[:] += (done - outcome.reused, outcome.reused)
            advance(done)

        try:
            runner.run(tasks, record)
        finally:
            # Also when interrupted: what is on disk is then also in the status table.
            prepared.store.table.flush()
    return int(counts[0]), int(counts[1])


def _result(prepared: Prepared, counts: tuple[int, int], checks: Checks, wall_s: float) -> RunResult:
    from sweeps.store.layout import DIVERGED, VERIFIED

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
        untrusted=_untrusted(store),
        damaged=prepared.damaged,
    )


def _untrusted(store: Store) -> int:
    return int((store.read("trust") < 1).any(axis=1).sum()) if store.layout.learned else 0
