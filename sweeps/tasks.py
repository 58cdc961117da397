"""One batch on a worker: simulate every trajectory once, read every point off it, write one shard.

Nothing here depends on how many workers there are: what is integrated together follows from the batch alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from solvers.qois import evaluate_qois
from sweeps.config import SweepConfig
from sweeps.engines import Engine, build_engine, reference_engine
from sweeps.layout import DIVERGED, DONE, FAILED, PENDING, Layout
from sweeps.outcome import BatchOutcome
from sweeps.problems import build_problem, build_start
from sweeps.store import Shard, empty_shard, open_store, read_shard, write_shard

# Samples integrated together: their states fit the cache, beyond which transforms slow down 3 to 10 times.
STATE_BYTES = 2 * 2**20
# Frames held at once, float64; the shard itself comes on top.
FRAME_BYTES = 384 * 2**20
ERROR_LENGTH = 300
# What reading a damaged or vanished store raises.
UNREADABLE = (OSError, ValueError, KeyError, RuntimeError)


@dataclass(frozen=True)
class Reuse:
    """Rows to copy from another store: ``source[i]`` there becomes ``target[i]`` of the batch."""

    url: str
    source: np.ndarray
    target: np.ndarray


@dataclass(frozen=True)
class BatchTask:
    """All a worker needs for one batch; small and picklable.

    Attributes:
        url: the store.
        config: the resolved configuration.
        layout: of the store.
        number: of the batch.
        start, stop: its rows in storage order.
        parameters: name -> float64 (row,).
        rollout: int64 (row,), equal where a trajectory is shared.
        compute: bool (row,), rows to compute; rows neither here nor in ``reuse`` stay as they are in the
            store.
        reuse: rows to copy.
        group: sub-group of the store to write to.
        reference: compute with the reference solver instead of the configured engine.
    """

    url: str
    config: SweepConfig
    layout: Layout
    number: int
    start: int
    stop: int
    parameters: dict[str, np.ndarray]
    rollout: np.ndarray
    compute: np.ndarray
    reuse: tuple[Reuse, ...] = ()
    group: str = ""
    reference: bool = False

    @property
    def rows(self) -> int:
        """Points of the batch."""
        return self.stop - self.start


@dataclass
class _Batch:
    """A batch being filled."""

    task: BatchTask
    engine: Engine
    shard: Shard
    status: np.ndarray
    errors: dict[tuple[int, int], str] = field(default_factory=dict)


def compute_batch(task: BatchTask) -> BatchOutcome:
    """Compute a batch, write its shard, report. Doing it twice writes the same numbers.

    Raises:
        InputError: if the store cannot be written. What goes wrong with single points is reported, not
            raised.
    """
    started = time.perf_counter()
    # One task has one core: torch's own threads would fight with the other workers for it.
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)
    status = np.full((task.rows, task.layout.realizations), PENDING, dtype=np.int8)
    build: Callable[..., Engine] = reference_engine if task.reference else build_engine
    batch = _Batch(task, build(task.config.engine), empty_shard(task.layout, task.rows), status)
    compute, copied = _copy_known_rows(batch)
    with torch.inference_mode():
        _compute_rows(batch, compute)
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
        reused=int(copied.sum()),
    )


def _copy_known_rows(batch: _Batch) -> tuple[np.ndarray, np.ndarray]:
    """Fill in rows that need no computing; what cannot be read after all is computed.

    Returns:
        bool (row,) rows to compute, and bool (row,) rows copied from other stores.
    """
    task = batch.task
    compute, copied = task.compute.copy(), np.zeros(task.rows, dtype=bool)
    for reuse in task.reuse:
        copied[reuse.target] = _copied(batch, reuse)
        compute[reuse.target] |= ~copied[reuse.target]
    keep = ~(compute | copied)
    if keep.any():
        try:
            there = read_shard(open_store(task.url), batch.shard, task.start, task.stop)
        except UNREADABLE:
            return compute | keep, copied
        for name, values in there.items():
            batch.shard[name][keep] = values[keep]
    return compute, copied


def _copied(batch: _Batch, reuse: Reuse) -> bool:
    try:
        source = open_store(reuse.url)
        found = {name: source[name].oindex[reuse.source] for name in batch.shard}  # type: ignore[union-attr]
    except UNREADABLE:
        return False
    for name, values in found.items():
        batch.shard[name][reuse.target] = values
    batch.status[reuse.target] = DONE
    return True


def _compute_rows(batch: _Batch, compute: np.ndarray) -> None:
    """Everything at once; if that raises, point by point, so that one bad point does not spoil its batch."""
    rows = np.flatnonzero(compute)
    realizations = np.arange(batch.task.layout.realizations)
    try:
        _simulate(batch, rows, realizations)
    except Exception:  # noqa: BLE001 whatever an engine raises belongs to a point; the point is found below
        for row in rows:
            for realization in realizations:
                _compute_alone(batch, int(row), int(realization))


def _compute_alone(batch: _Batch, row: int, realization: int) -> None:
    batch.errors.pop((row, realization), None)
    try:
        _simulate(batch, np.array([row]), np.array([realization]))
    except Exception as error:  # noqa: BLE001 recorded with the point, the sweep goes on
        batch.status[row, realization] = FAILED
        batch.errors[row, realization] = one_line(error)
        for name, variable in batch.task.layout.results().items():
            batch.shard[name][row, realization] = variable.fill


def one_line(error: BaseException) -> str:
    """An error as one short line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:ERROR_LENGTH]


def _simulate(batch: _Batch, rows: np.ndarray, realizations: np.ndarray) -> None:
    """Run the trajectories of some rows and fill in what they give."""
    task = batch.task
    rollouts = [rows[task.rollout[rows] == number] for number in np.unique(task.rollout[rows])]
    unions = [_union_times(task, points) for points in rollouts]
    samples = [(i, int(r)) for i in range(len(rollouts)) for r in realizations]
    longest = max((len(u) for u in unions), default=0)
    for part in _portions(task.layout, samples, longest):
        _simulate_together(batch, [(rollouts[i], unions[i], r) for i, r in part])


def _union_times(task: BatchTask, points: np.ndarray) -> np.ndarray:
    """Scaled times M t at which some point of a rollout is wanted, float64, increasing."""
    return np.unique(np.multiply.outer(task.parameters["mobility"][points], task.layout.times))


def _portions(layout: Layout, samples: list[tuple[int, int]], frames: int) -> Iterator[list[tuple[int, int]]]:
    """Cut samples into groups that fit the cache (states) and the memory (frames)."""
    state = 8 * layout.shape[0] * layout.shape[1]
    size = max(1, min(STATE_BYTES // state, FRAME_BYTES // (state * max(1, frames))))
    for start in range(0, len(samples), size):
        yield samples[start : start + size]


_Sample = tuple[np.ndarray, np.ndarray, int]


def _simulate_together(batch: _Batch, samples: list[_Sample]) -> None:
    """Integrate samples (points, their union of times, realization) as one batch."""
    task, layout = batch.task, batch.task.layout
    first = np.array([points[0] for points, _, _ in samples])
    parameters = {n: torch.from_numpy(v[first]) for n, v in task.parameters.items() if n != "mobility"}
    problem = build_problem(task.config, parameters)
    start = build_start(task.config, parameters, torch.tensor([r for _, _, r in samples]))
    longest = max(len(union) for _, union, _ in samples)
    # Shorter rows repeat their last time.
    times = np.stack([np.pad(union, (0, longest - len(union)), mode="edge") for _, union, _ in samples])
    finite = np.empty(times.shape, dtype=bool)
    slab = max(1, FRAME_BYTES // (8 * layout.shape[0] * layout.shape[1] * len(samples)))
    for begin in range(0, longest, slab):
        # More than one slab only where one trajectory alone exceeds the memory: it then starts over for each,
        # which gives the same numbers because steps do not depend on the times asked for.
        part = slice(begin, begin + slab)
        frames = batch.engine.rollout(problem, start, torch.from_numpy(times[:, part]))
        finite[:, part] = torch.isfinite(frames.field).flatten(2).all(-1).cpu().numpy()
        values = {n: q.cpu().numpy() for n, q in evaluate_qois(problem, frames).items()}
        fields = {"field": frames.field.cpu().numpy()} if len(layout.field_index) else {}
        if fields and frames.grain_id is not None:
            fields["grain_id"] = frames.grain_id.cpu().numpy()
        _scatter(batch, samples, begin, values, fields)
    _judge(batch, samples, finite)


def _wanted(task: BatchTask, point: int, union: np.ndarray) -> np.ndarray:
    """Where the times of a point are in its rollout's union, int64 (time,)."""
    return np.searchsorted(union, task.parameters["mobility"][point] * task.layout.times)


def _scatter(
    batch: _Batch,
    samples: list[_Sample],
    begin: int,
    qois: dict[str, np.ndarray],
    fields: dict[str, np.ndarray],
) -> None:
    """Copy the frames of one slab of union times to the points that asked for them."""
    index = batch.task.layout.field_index
    for s, (points, union, realization) in enumerate(samples):
        for point in points:
            wanted = _wanted(batch.task, point, union) - begin
            _copy(batch.shard, qois, s, (point, realization), wanted)
            _copy(batch.shard, fields, s, (point, realization), wanted[index])


def _copy(shard: Shard, values: dict[str, np.ndarray], sample: int, row: tuple[int, int], wanted: np.ndarray) -> None:
    for name, of_samples in values.items():
        here = (wanted >= 0) & (wanted < of_samples.shape[1])
        shard[name][row][here] = of_samples[sample, wanted[here]]


def _judge(batch: _Batch, samples: list[_Sample], finite: np.ndarray) -> None:
    """Set the status: done, or diverged where a frame is not finite."""
    times = batch.task.layout.times
    for s, (points, union, realization) in enumerate(samples):
        for point in points:
            good = finite[s, _wanted(batch.task, point, union)]
            batch.status[point, realization] = DONE if good.all() else DIVERGED
            batch.errors.pop((int(point), realization), None)
            if not good.all():
                when = times[int(np.argmin(good))]
                batch.errors[int(point), realization] = f"not finite from t = {when:g} on"
