"""The trajectories of a batch: what is integrated together, and how every point is read off its own trajectory.

Nothing here depends on how many workers there are: what is integrated together follows from the batch alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from solvers.processes.registry import process_named
from solvers.qois.energy import energy_rises
from sweeps.engines.protocol import Engine, Request
from sweeps.engines.registry import resolve_device
from sweeps.execution.batch_task import ERROR_LENGTH, one_line
from sweeps.plan.problems import build_problem, build_start
from sweeps.store.group import Shard
from sweeps.store.layout import DIVERGED, DONE, ESTIMATE, FAILED, OVER_TOLERANCE, Layout

if TYPE_CHECKING:
    from sweeps.engines.protocol import Answer
    from sweeps.execution.batch_task import BatchTask

# Samples integrated together: their states fit the cache, beyond which transforms slow down 3 to 10 times.
STATE_BYTES = 2 * 2**20
# Frames held at once, float64; the shard itself comes on top.
FRAME_BYTES = 384 * 2**20
# On a GPU the more samples the better: as many as a share of its free memory holds, a sample being its frames and some
# tens of arrays that an integrator or a network works with.
GPU_SHARE = 0.5
GPU_WORK = 64


@dataclass
class Filling:
    """A batch being filled."""

    task: BatchTask
    engine: Engine
    shard: Shard
    status: np.ndarray
    errors: dict[tuple[int, int], str] = field(default_factory=dict)
    engine_of: dict[tuple[int, int], str] = field(default_factory=dict)


def compute_rows(batch: Filling, compute: np.ndarray) -> None:
    """Everything at once; if that raises, point by point, so that one bad point does not spoil its batch."""
    wanted = np.repeat(compute[:, None], batch.task.layout.realizations, axis=1)
    if batch.task.samples is not None:
        wanted &= batch.task.samples
    try:
        _simulate(batch, wanted)
    except Exception:  # noqa: BLE001 whatever an engine raises belongs to a point; the point is found below
        for row, realization in np.argwhere(wanted).tolist():
            _compute_alone(batch, row, realization)


def _compute_alone(batch: Filling, row: int, realization: int) -> None:
    batch.errors.pop((row, realization), None)
    wanted = np.zeros_like(batch.status, dtype=bool)
    wanted[row, realization] = True
    try:
        _simulate(batch, wanted)
    except Exception as error:  # noqa: BLE001 recorded with the point, the sweep goes on
        batch.status[row, realization] = FAILED
        batch.errors[row, realization] = one_line(error)
        for name, variable in batch.task.layout.results().items():
            batch.shard[name][row, realization] = variable.fill


@dataclass(frozen=True)
class _Rollout:
    """Points that share a trajectory.

    Attributes:
        points: (point,) rows of the batch.
        times: (time,) scaled times at which some of them is wanted, increasing.
        wanted: (point, stored time) where in ``times`` a point is read at its own times.
    """

    points: np.ndarray
    times: np.ndarray
    wanted: np.ndarray


#: A trajectory to integrate: the points on it and the number of its start.
_Sample = tuple[_Rollout, int]


def _simulate(batch: Filling, wanted: np.ndarray) -> None:
    """Run the trajectories of some samples, bool (row, realization), and fill in what they give."""
    task = batch.task
    samples: list[_Sample] = []
    for number in np.unique(task.rollout[wanted.any(axis=1)]):
        here = wanted & (task.rollout == number)[:, None]
        rollout = _rollout(task, np.flatnonzero(here.any(axis=1)))
        samples += [(rollout, int(r)) for r in np.flatnonzero(here.any(axis=0))]
    longest = max((len(rollout.times) for rollout, _ in samples), default=0)
    for part in _portions(task.layout, samples, longest, device_of(batch.engine)):
        _simulate_together(batch, part)


def _rollout(task: BatchTask, points: np.ndarray) -> _Rollout:
    """The trajectory of some points; equal scaled times are read once."""
    scaled = np.multiply.outer(_time_scale(task, points), task.layout.times)
    times, wanted = np.unique(scaled, return_inverse=True)
    return _Rollout(points, times, wanted.reshape(scaled.shape))


def _time_scale(task: BatchTask, points: np.ndarray) -> np.ndarray:
    """What multiplies the times of some points, float64 (point,)."""
    name = process_named(task.config.process).time_scale
    return task.parameters[name][points] if name else np.ones(len(points))


def device_of(engine: Engine) -> str:
    """Where an engine computes, ``cpu`` or ``cuda...``."""
    return resolve_device(getattr(engine, "device", "cpu"))


def _portions(layout: Layout, samples: list[_Sample], frames: int, device: str = "cpu") -> Iterator[list[_Sample]]:
    """Cut samples into groups that fit the cache (states) and the memory (frames), or the memory of a GPU."""
    state = 8 * layout.shape[0] * layout.shape[1]
    if device.startswith("cuda"):
        size = max(1, int(GPU_SHARE * torch.cuda.mem_get_info(device)[0]) // (state * (GPU_WORK + max(1, frames))))
    else:
        size = max(1, min(STATE_BYTES // state, FRAME_BYTES // (state * max(1, frames))))
    for start in range(0, len(samples), size):
        yield samples[start : start + size]


def _simulate_together(batch: Filling, samples: list[_Sample]) -> None:
    task, layout = batch.task, batch.task.layout
    time_scale = process_named(task.config.process).time_scale
    first = np.array([rollout.points[0] for rollout, _ in samples])
    parameters = {n: torch.from_numpy(v[first]) for n, v in task.parameters.items() if n != time_scale}
    problem = build_problem(task.config, parameters)
    start = build_start(task.config, parameters, torch.tensor([r for _, r in samples]))
    unions = [rollout.times for rollout, _ in samples]
    longest = max(len(union) for union in unions)
    # Shorter rows repeat their last time.
    times = np.stack([np.pad(union, (0, longest - len(union)), mode="edge") for union in unions])
    slab = max(1, FRAME_BYTES // (8 * layout.shape[0] * layout.shape[1] * len(samples)))
    wants_fields = bool(len(layout.field_index))
    parts = []
    for begin in range(0, longest, slab):
        # More than one slab only where one trajectory alone exceeds the memory: it then starts over for each.
        asked = torch.from_numpy(times[:, begin : begin + slab])
        answer = batch.engine.answer(Request(problem, start, asked, parameters, wants_fields))
        _scatter(batch, samples, begin, _values(answer, layout), answer.fields)
        answer.fields = {}
        parts.append(answer)
    _judge(batch, samples, np.concatenate([a.finite for a in parts], axis=1))
    if layout.learned and parts[0].trust is not None:
        _judge_model(batch, samples, parts)
    if ESTIMATE in batch.shard:
        _judge_estimate(batch, samples, parts[0].tolerance)


def _values(answer: Answer, layout: Layout) -> dict[str, np.ndarray]:
    """What an answer gives at each time beside fields."""
    if answer.error_estimate is None or layout.learned or not layout.estimates:
        return answer.values
    return {**answer.values, ESTIMATE: answer.error_estimate}


def _scatter(
    batch: Filling,
    samples: list[_Sample],
    begin: int,
    qois: dict[str, np.ndarray],
    fields: dict[str, np.ndarray],
) -> None:
    """Copy the frames of one slab of union times to the points that asked for them."""
    index = batch.task.layout.field_index
    for s, (rollout, realization) in enumerate(samples):
        points, wanted = rollout.points, rollout.wanted - begin
        _copy(batch.shard, qois, s, points, realization, wanted)
        if fields:
            # Point by point, as what is read for all of them may be large.
            for i in range(len(points)):
                _copy(batch.shard, fields, s, points[i : i + 1], realization, wanted[i : i + 1, index])


def _copy(
    shard: Shard, values: dict[str, np.ndarray], sample: int, points: np.ndarray, realization: int, wanted: np.ndarray
) -> None:
    """Values (sample, frame, ...) at frames ``wanted`` (point, time) to the points, where the slab has the frame."""
    for name, of_samples in values.items():
        row, column = np.nonzero((wanted >= 0) & (wanted < of_samples.shape[1]))
        shard[name][points[row], realization, column] = of_samples[sample, wanted[row, column]]


def _judge(batch: Filling, samples: list[_Sample], finite: np.ndarray) -> None:
    """Set the status: done, or diverged where a frame is not finite."""
    times = batch.task.layout.times
    for s, (rollout, realization) in enumerate(samples):
        good = finite[s, rollout.wanted]
        whole = good.all(axis=1)
        batch.status[rollout.points, realization] = np.where(whole, DONE, DIVERGED)
        for point in rollout.points:
            batch.errors.pop((int(point), realization), None)
        for i in np.flatnonzero(~whole):
            when = times[int(np.argmin(good[i]))]
            batch.errors[int(rollout.points[i]), realization] = f"not finite from t = {when:g} on"


def _judge_estimate(batch: Filling, samples: list[_Sample], tolerance: float) -> None:
    """Says of samples whose measured error exceeds the tolerance that it does; they have results all the same."""
    times = batch.task.layout.times
    for rollout, realization in samples:
        for point in rollout.points.tolist():
            estimate = batch.shard[ESTIMATE][point, realization]
            worst = int(np.argmax(np.where(np.isnan(estimate), -np.inf, estimate)))
            if estimate[worst] > tolerance and (point, realization) not in batch.errors:
                batch.errors[point, realization] = (
                    f"{OVER_TOLERANCE} {estimate[worst]:.2g} at t = {times[worst]:g}, above the tolerance {tolerance:g}"
                )


def _judge_model(batch: Filling, samples: list[_Sample], parts: list[Answer]) -> None:
    """Trust and counters, one a point and realization, from the frames at the point's own times."""
    shard = batch.shard
    modelled = np.concatenate([np.asarray(a.modelled) for a in parts], axis=1)
    # A slab that ends while the solver still runs has no frame of the model; the last one reaches furthest.
    last = parts[-1]
    for s, (rollout, realization) in enumerate(samples):
        for point, wanted in zip(rollout.points, rollout.wanted, strict=True):
            row = (int(point), realization)
            # What the solver did to its end needs no trust in a model.
            used = bool(modelled[s, wanted].any())
            shard["trust"][row] = last.trust[s] if used else 1.0  # type: ignore[index]
            shard["energy_rises"][row] = energy_rises(shard["free_energy"][row])
            if "mass_drift" in shard:
                shard["mass_drift"][row] = _drift(batch.task, shard["mean"][row])
            if used and last.reasons[s] and row not in batch.errors:
                batch.errors[row] = f"not trusted: {last.reasons[s]}"[:ERROR_LENGTH]
            if s in last.engine_of:
                batch.engine_of[row] = last.engine_of[s]


def _drift(task: BatchTask, mean: np.ndarray) -> float:
    """Largest change of a mean (time,) from its first value, where half the distance of the two phases is 1."""
    low, high = process_named(task.config.process).phase_values(task.config.options)
    return float(np.abs(mean - mean[0]).max() / (0.5 * (high - low)))
