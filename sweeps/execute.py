"""Run batches on a Dask cluster: a few in flight for each worker, results taken in and released as they come."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from distributed import Client, Future, as_completed

from solvers.errors import InputError
from sweeps.layout import FAILED, PENDING
from sweeps.outcome import BatchOutcome
from sweeps.rollouts import one_line
from sweeps.tasks import BatchTask, compute_batch

# Enough that a worker never waits for the driver, few enough that memory stays flat on both sides.
IN_FLIGHT_PER_THREAD = 3
# A batch whose task raises is tried this often again; one that kills its workers has Dask's own limit
# (`distributed.scheduler.allowed-failures`, 3).
RETRIES = 2
# How often the number of workers is looked up: clusters grow while a sweep runs.
THREADS_SECONDS = 5.0


def run_batches(
    client: Client,
    tasks: Iterable[BatchTask],
    name: str,
    record: Callable[[BatchOutcome], None],
    compute: Callable[[BatchTask], BatchOutcome] = compute_batch,
) -> None:
    """Compute batches and hand each report to ``record`` as soon as its shard is on disk.

    Args:
        client: of the cluster.
        tasks: what to do; may be a generator, consumed as slots come free.
        name: of the sweep, first word of the tasks' names.
        record: called in this thread, once for each batch.
        compute: runs on the workers.

    Raises:
        InputError: if the store cannot be written, or the scheduler goes away. What is recorded stays.
    """
    run = uuid.uuid4().hex[:6]
    waiting = iter(tasks)
    flying: dict[Future, BatchTask] = {}
    completed = as_completed(raise_errors=False)
    slots = _Slots(client)

    def fill() -> None:
        while len(flying) < slots.count():
            task = next(waiting, None)
            if task is None:
                return
            key = task_key(name, task, run)
            future = client.submit(compute, task, key=key, pure=False, retries=RETRIES)
            flying[future] = task
            completed.add(future)

    try:
        fill()
        while flying:
            future = next(completed)
            task = flying.pop(future)
            record(_outcome(future, task))
            future.release()
            fill()
    finally:
        client.cancel(list(flying), force=True, reason="the sweep stopped")


def task_key(name: str, task: BatchTask, run: str) -> str:
    """``spinodal-batch-0007-kappa-0.71-3fa2c1``: the dashboard groups by the words before the first number.

    ``run`` keeps two runs on one scheduler apart.
    """
    varied = {n: v for n, v in task.parameters.items() if n != "mobility"}
    shown = varied.get("kappa")
    kappa = f"-kappa-{shown[0]:.3g}" if shown is not None and len(shown) else ""
    return f"{name}-batch-{task.number:04d}{kappa}-{run}"


class _Slots:
    """How many tasks may be in flight: follows the number of worker threads."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._threads = 0
        self._looked = -np.inf

    def count(self) -> int:
        if time.monotonic() - self._looked > THREADS_SECONDS:
            self._threads = sum(self._client.nthreads().values())
            self._looked = time.monotonic()
        return IN_FLIGHT_PER_THREAD * max(1, self._threads)


def _outcome(future: Future, task: BatchTask) -> BatchOutcome:
    """What became of a task; a lost batch is reported as failed, with the reason.

    Raises:
        InputError: where going on makes no sense.
    """
    if future.status == "finished":
        return future.result()
    if future.status in ("cancelled", "lost"):
        raise InputError("cluster: the connection to the Dask scheduler was lost; the same command resumes the sweep")
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
    status = np.full((task.rows, task.layout.realizations), PENDING, dtype=np.int8)
    status[task.compute] = FAILED
    errors = {
        (int(row), realization): reason
        for row in np.flatnonzero(task.compute)
        for realization in range(task.layout.realizations)
    }
    return BatchOutcome(task.number, task.start, task.stop, task.compute, status, errors)
