"""One batch on a worker: copy what is known, compute the rest, write one shard, report."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from sweeps.engines.protocol import Engine
from sweeps.engines.reference import reference_engine
from sweeps.engines.registry import build_engine
from sweeps.execution.batch_task import BatchOutcome, BatchTask, Reuse
from sweeps.execution.trajectories import Filling, compute_rows
from sweeps.execution.worker_environment import check_here
from sweeps.store.layout import DONE, PENDING, empty_shard
from sweeps.store.store import UNREADABLE, Store, write_shard


def compute_batch(task: BatchTask) -> BatchOutcome:
    """Compute a batch, write its shard, report. Doing it twice writes the same numbers.

    What goes wrong with single points is reported, not raised.

    Raises:
        InputError: if the store cannot be written.
    """
    started = time.perf_counter()
    check_here(task.environment, task.config.engine)
    # One task has one core: torch's own threads would fight with the other workers for it.
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)
    batch = _empty(task)
    compute, copied = _copy_known_rows(batch)
    with torch.inference_mode():
        compute_rows(batch, compute)
    write_shard(task.url, task.start, batch.shard, task.group)
    return BatchOutcome(
        number=task.number,
        start=task.start,
        stop=task.stop,
        computed=compute | copied,
        status=batch.status,
        errors=batch.errors,
        wall_s=time.perf_counter() - started,
        engine=batch.engine.name,
        engine_of=batch.engine_of,
        reused=int(copied.sum()),
    )


def probe_batch(task: BatchTask) -> None:
    """Compute the rows of a batch that killed workers, and write nothing: only whether it is survived counts."""
    torch.set_num_threads(1)
    batch = _empty(task)
    with torch.inference_mode():
        compute_rows(batch, task.compute)


def _empty(task: BatchTask) -> Filling:
    status = np.full((task.rows, task.layout.realizations), PENDING, dtype=np.int8)
    engine: Engine
    engine = build_engine(task.config) if task.reference is None else reference_engine(task.config, task.reference)
    return Filling(task, engine, empty_shard(task.layout, task.rows), status)


def _copy_known_rows(batch: Filling) -> tuple[np.ndarray, np.ndarray]:
    """Fill in rows that need no computing; which are left to compute, and which were copied from other stores."""
    task = batch.task
    compute, copied = task.compute.copy(), np.zeros(task.rows, dtype=bool)
    for reuse in task.reuse:
        copied[reuse.target] = _copied(batch, reuse)
        compute[reuse.target] |= ~copied[reuse.target]
    keep = ~(compute | copied)
    if keep.any() and not task.group:  # a group's batches are computed whole, or some of it was not to be computed
        try:
            there = Store.open(task.url).read_shard(batch.shard, task.start, task.stop)
        except UNREADABLE:
            return compute | keep, copied
        kept = {name: values[keep] for name, values in there.items()}
        if not _was_written(kept):
            return compute | keep, copied
        for name, values in kept.items():
            batch.shard[name][keep] = values
    return compute, copied


def _was_written(rows: Mapping[str, Any]) -> bool:
    """Whether results of finished points were on disk: an emptied shard of fields reads as never written, no error."""
    fields = rows.get("field")
    return fields is None or not np.isnan(fields).all(axis=tuple(range(1, fields.ndim))).any()


def _copied(batch: Filling, reuse: Reuse) -> bool:
    try:
        source = Store.open(reuse.url)
        found = {name: np.asarray(source.array(name).oindex[reuse.source]) for name in batch.shard}
    except UNREADABLE:
        return False
    if not _was_written(found):
        return False
    for name, values in found.items():
        batch.shard[name][reuse.target] = values
    batch.status[reuse.target] = DONE
    return True
