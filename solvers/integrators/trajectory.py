"""Integrates a batch and yields its states at the requested times."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from solvers.compiled import compiled
from solvers.integrators import AdaptiveMultistep, Equation

# History of one chunk, in bytes: beyond this it leaves the cache and every transform costs several times more.
_CHUNK_BYTES = 6 * 2**20
_ROWS = 12


@dataclass(frozen=True)
class States:
    """Coefficients (m, component, F) of ``samples`` at ``times``, (m,) indices into the batch and its rows of times."""

    samples: np.ndarray
    times: np.ndarray
    coefficients: torch.Tensor


def chunks(batch: int, components: int, size: int, itemsize: int) -> Iterator[slice]:
    """Slices of the batch whose working set stays in cache."""
    per_sample = _ROWS * components * size * itemsize
    length = max(1, _CHUNK_BYTES // per_sample)
    for start in range(0, batch, length):
        yield slice(start, min(batch, start + length))


def rollout(
    equation: Equation,
    initial: torch.Tensor,
    times: np.ndarray,
    step_tolerance: float,
    after_step: Callable[[AdaptiveMultistep], None] | None = None,
) -> Iterator[States]:
    """Yields every sample's state at every one of its times, in the order in which they are reached.

    Steps never depend on the requested times: states between steps are interpolated. No states are yielded of a sample
    after it has diverged.

    Args:
        equation: what to integrate, for the whole batch.
        initial: (batch, component, F) coefficients at time 0.
        times: (batch, time) non-decreasing, in the equation's own units.
        step_tolerance: see :class:`~solvers.integrators.AdaptiveMultistep`.
        after_step: called after each step (re-assignment of order parameters).
    """
    batch = len(times)
    samples = np.arange(batch)
    reached = np.array([np.searchsorted(row, 0.0, side="right") for row in times])
    yield from _initial_states(initial, reached)
    stepper = AdaptiveMultistep(equation, initial, step_tolerance)
    padded = np.concatenate([times, np.full((batch, 1), np.inf)], axis=1)
    next_time = padded[samples, reached[samples]]  # inf for a sample that is done
    changed = True
    while True:
        if changed:
            active = np.isfinite(next_time) & ~stepper.diverged
            if not active.any():
                return
            if active.sum() <= 0.75 * len(samples):
                stepper.keep(np.flatnonzero(active))
                samples, next_time = samples[active], next_time[active]
        accepted = stepper.step()
        changed = stepper.diverged_now
        due = accepted & (next_time <= stepper.time)
        if due.any():
            yield _collect(stepper, samples, times, reached, np.flatnonzero(due))
            next_time = padded[samples, reached[samples]]
            changed = True
        if after_step is not None:
            after_step(stepper)


def gathered(stream: Iterator[States], frames: int = 24) -> Iterator[States]:
    """The same states, some steps at a time: transforms and writes cost less for many frames together."""
    waiting: list[States] = []
    for states in stream:
        waiting.append(states)
        if sum(len(w.samples) for w in waiting) >= frames:
            yield _joined(waiting)
            waiting = []
    if waiting:
        yield _joined(waiting)


def _joined(parts: list[States]) -> States:
    return States(
        np.concatenate([p.samples for p in parts]),
        np.concatenate([p.times for p in parts]),
        torch.cat([p.coefficients for p in parts]),
    )


def _initial_states(initial: torch.Tensor, reached: np.ndarray) -> Iterator[States]:
    samples = np.repeat(np.arange(len(reached)), reached)
    if len(samples):
        index = np.concatenate([np.arange(n) for n in reached])
        yield States(samples, index, initial[torch.from_numpy(samples).to(initial.device)])


def _collect(
    stepper: AdaptiveMultistep, samples: np.ndarray, times: np.ndarray, reached: np.ndarray, due: np.ndarray
) -> States:
    """States of the samples at positions ``due``, at their times up to the step just made."""
    count = passed(stepper.time, samples, times, reached, due)
    positions, owners, indices = (np.empty(count, dtype=np.int64) for _ in range(3))
    wanted = np.empty(count)
    take_passed(stepper.time, samples, times, reached, due, positions, owners, indices, wanted)
    return States(owners, indices, stepper.interpolate(positions, wanted))


@compiled
def passed(time: np.ndarray, samples: np.ndarray, times: np.ndarray, reached: np.ndarray, due: np.ndarray) -> int:
    """How many requested times, not yet listed, the samples at positions ``due`` have passed."""
    count = 0
    for position in due:
        row = times[samples[position]]
        i = reached[samples[position]]
        while i < len(row) and row[i] <= time[position]:
            i += 1
            count += 1
    return count


@compiled
def take_passed(
    time: np.ndarray,
    samples: np.ndarray,
    times: np.ndarray,
    reached: np.ndarray,
    due: np.ndarray,
    positions: np.ndarray,
    owners: np.ndarray,
    indices: np.ndarray,
    wanted: np.ndarray,
) -> None:
    """Lists these times in the last four arrays, and moves ``reached`` past them."""
    k = 0
    for position in due:
        sample = samples[position]
        while reached[sample] < times.shape[1] and times[sample, reached[sample]] <= time[position]:
            positions[k], owners[k], indices[k] = position, sample, reached[sample]
            wanted[k] = times[sample, reached[sample]]
            reached[sample] += 1
            k += 1
