"""Run batches on a Dask cluster: a few in flight for each worker, results taken in and released as they come."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from distributed import Client, Future, as_completed

from solvers.errors import InputError
from solvers.registries import resolve
from sweeps.execution.batch_task import BatchOutcome, BatchTask, one_line
from sweeps.store.layout import FAILED, PENDING

# Enough that a worker never waits for the driver, few enough that memory stays flat on both sides.
IN_FLIGHT_PER_THREAD = 3
# A batch whose task raises is tried this often again; one that kills its workers has Dask's own limit
# (`distributed.scheduler.allowed-failures`, 3).
RETRIES = 2
# How often the number of workers is looked up: clusters grow while a sweep runs.
THREADS_SECONDS = 5.0


def _compute(task: BatchTask) -> BatchOutcome:
    """On a worker, which alone loads what computes."""
    outcome: BatchOutcome = resolve("sweeps.execution.task:compute_batch")(task)
    return outcome


def _probe(task: BatchTask) -> None:
    resolve("sweeps.execution.task:probe_batch")(task)


def run_batches(
    client: Client,
    tasks: Iterable[BatchTask],
    name: str,
    record: Callable[[BatchOutcome], None],
    compute: Callable[[BatchTask], BatchOutcome] = _compute,
    probe: Callable[[BatchTask], None] = _probe,
) -> None:
    """Compute batches and hand each report to ``record``, in this thread, as soon as its shard is on disk.

    A batch that kills its workers is taken apart: each of its trajectories is tried alone (``probe``), those that kill
    again are reported as failed, and the rest of the batch is computed without them.

    Args:
        client: of the cluster.
        tasks: may be a generator, consumed as slots come free.
        name: of the sweep, first word of the tasks' names.
        record, compute, probe: see above; the latter two run on the workers.

    Raises:
        InputError: if the store cannot be written, or the scheduler goes away. What is recorded stays.
    """
    run = uuid.uuid4().hex[:6]
    waiting = map(_Job, tasks)
    extra: deque[_Job] = deque()
    flying: dict[Future, _Job] = {}
    completed = as_completed(raise_errors=False)
    slots = _Slots(client)

    def fill() -> None:
        # Dask suspects all tasks that a worker holds when it dies: what is tried alone shares it with none.
        while len(flying) < slots.count(alone=bool(extra) or any(job.case for job in flying.values())):
            job = extra.popleft() if extra else next(waiting, None)
            if job is None:
                return
            key = f"{task_key(name, job.task, run)}{job.suffix}"
            what: Any = probe if job.case and job.rollout >= 0 else compute
            future = client.submit(what, job.task, key=key, pure=False, retries=RETRIES)
            flying[future] = job
            completed.add(future)

    with scheduler_needed(), contextlib.ExitStack() as stack:
        stack.callback(_let_go, client, flying)
        fill()
        while flying:
            future = next(completed)
            job = flying.pop(future)
            if job.case is not None or _killed(future):
                more, outcome = _investigate(job, future)
                extra.extend(more)
            else:
                outcome = _outcome(future, job.task)
            if outcome is not None:
                record(outcome)
            future.release()
            fill()


LOST = "cluster: the connection to the Dask scheduler was lost; the same command resumes the sweep"


@contextlib.contextmanager
def scheduler_needed() -> Iterator[None]:
    """Raises InputError for what Dask raises where its scheduler goes away."""
    try:
        yield
    except (CancelledError, TimeoutError, ConnectionError):
        raise InputError(LOST) from None
    except OSError as error:
        if error.errno is not None:
            raise  # of the file system; Dask's own have no number
        raise InputError(LOST) from None


def _let_go(client: Client, flying: dict[Future, _Job]) -> None:
    """Leave nothing running on a cluster that is still there."""
    with contextlib.suppress(OSError, TimeoutError):
        client.cancel(list(flying), force=True, reason="the sweep stopped")


@dataclass
class _Case:
    """A batch that killed its workers: how many of its trajectories are still being tried, and which ones kill."""

    task: BatchTask
    left: int
    deadly: dict[int, BaseException] = field(default_factory=dict)


@dataclass(frozen=True)
class _Job:
    """A batch, one trajectory of it alone (``rollout``), or the batch without its deadly ones (a case, no rollout)."""

    task: BatchTask
    case: _Case | None = None
    rollout: int = -1

    @property
    def suffix(self) -> str:
        """Keeps its key apart from the batch's own."""
        return "" if self.case is None else f"-alone-{self.rollout}" if self.rollout >= 0 else "-rest"


def _killed(future: Future) -> bool:
    return future.status == "error" and type(future.exception()).__name__ == "KilledWorker"


def _investigate(job: _Job, future: Future) -> tuple[list[_Job], BatchOutcome | None]:
    """What a batch that kills workers leads to: further jobs, or its report."""
    task, case = job.task, job.case
    if case is None:
        numbers = np.unique(task.rollout[task.compute]).tolist()
        if len(numbers) <= 1:
            return [], _failed(task, future.exception())
        case = _Case(task, len(numbers))
        return [_Job(_without(task, task.rollout != n), case, int(n)) for n in numbers], None
    if job.rollout < 0:  # the rest of the batch
        outcome = _failed(task, future.exception()) if _killed(future) else _outcome(future, task)
        return [], _with_failures(outcome, case)
    if _killed(future):
        case.deadly[job.rollout] = future.exception()  # type: ignore[assignment]
    elif future.status != "finished":
        _outcome(future, task)  # raises where going on makes no sense
    case.left -= 1
    if case.left:
        return [], None
    rest = _without(case.task, np.isin(case.task.rollout, list(case.deadly)))
    if not rest.compute.any() and not rest.reuse:
        return [], _with_failures(BatchOutcome(task.number, task.start, task.stop, rest.compute, _pending(task)), case)
    return [_Job(rest, case)], None


def _without(task: BatchTask, rows: np.ndarray) -> BatchTask:
    return replace(task, compute=task.compute & ~rows)


def _with_failures(outcome: BatchOutcome, case: _Case) -> BatchOutcome:
    computed, status, errors = outcome.computed.copy(), outcome.status.copy(), dict(outcome.errors)
    for number, error in case.deadly.items():
        failed = _failed(_without(case.task, case.task.rollout != number), error)
        computed |= failed.computed
        status[failed.computed] = failed.status[failed.computed]
        errors |= failed.errors
    return replace(outcome, computed=computed, status=status, errors=errors)


def _pending(task: BatchTask) -> np.ndarray:
    return np.full((task.rows, task.layout.realizations), PENDING, dtype=np.int8)


def task_key(name: str, task: BatchTask, run: str) -> str:
    """``spinodal-batch-0007-kappa-0.71-3fa2c1``: the dashboard groups by the words before the first number.

    ``run`` keeps two runs on one scheduler apart.
    """
    varied = {n: v for n, v in task.parameters.items() if n != "mobility"}
    shown = varied.get("kappa")
    kappa = f"-kappa-{shown[0]:.3g}" if shown is not None and len(shown) else ""
    return f"{name}-batch-{task.number:04d}{kappa}-{run}"


class _Slots:
    """How many tasks may be in flight: follows the number of worker threads, one to each or a few."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._threads = 0
        self._looked = -np.inf

    def count(self, alone: bool) -> int:
        if time.monotonic() - self._looked > THREADS_SECONDS:
            self._threads = sum(self._client.nthreads().values())
            self._looked = time.monotonic()
        return (1 if alone else IN_FLIGHT_PER_THREAD) * max(1, self._threads)


def _outcome(future: Future, task: BatchTask) -> BatchOutcome:
    """What became of a task; a lost batch is reported as failed. Raises InputError where going on makes no sense."""
    if future.status == "finished":
        return future.result()
    if future.status in ("cancelled", "lost"):
        raise InputError(LOST)
    error = future.exception()
    if isinstance(error, InputError):
        raise error
    return _failed(task, error)


def _failed(task: BatchTask, error: Any) -> BatchOutcome:
    if type(error).__name__ == "KilledWorker":
        reason = (
            "the worker died each time it computed this batch (out of memory?); "
            "fewer batch.rollouts or more cluster.memory_limit may help"
        )
    else:
        reason = one_line(error)
    status = _pending(task)
    status[task.compute] = FAILED
    errors = {
        (int(row), realization): reason
        for row in np.flatnonzero(task.compute)
        for realization in range(task.layout.realizations)
    }
    return BatchOutcome(task.number, task.start, task.stop, task.compute, status, errors)
