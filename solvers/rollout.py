"""Runs a batch to every requested time and hands the states over, whoever observes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from solvers.integrators import AdaptiveMultistep, Equation

# History of one chunk, in bytes: beyond this it leaves the cache and every transform costs several times more.
_CHUNK_BYTES = 6 * 2**20
_ROWS = 12


@dataclass(frozen=True)
class States:
    """Some states, each of one sample at one requested time.

    Attributes:
        samples, times: (m,) indices into the batch and into the sample's row of times.
        coefficients: (m, component, F).
    """

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

    Steps never depend on the requested times: states between steps are interpolated.

    Args:
        equation: what to integrate, for the whole batch.
        initial: (batch, component, F) coefficients at time 0.
        times: (batch, time) non-decreasing, in the equation's own units.
        step_tolerance: see :class:`~solvers.integrators.AdaptiveMultistep`.
        after_step: called after each step (re-assignment of order parameters).

    States of a sample that diverged are simply never yielded.
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


def gathered(stream: Iterator[States], frames: int = 64) -> Iterator[States]:
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
    stops = [int(np.searchsorted(times[samples[p]], stepper.time[p], side="right")) for p in due]
    starts = reached[samples[due]]
    reached[samples[due]] = stops
    counts = np.array(stops) - starts
    positions, owners = np.repeat(due, counts), np.repeat(samples[due], counts)
    indices = np.concatenate([np.arange(a, b) for a, b in zip(starts, stops, strict=True)])
    return States(owners, indices, stepper.interpolate(positions, times[owners, indices]))
