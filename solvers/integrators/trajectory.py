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
# Share of a GPU's free memory for histories; about as much again is used around them.
_GPU_SHARE = 0.25


@dataclass(frozen=True)
class States:
    """Coefficients (m, component, F) of ``samples`` at ``times``, (m,) indices into the batch and its rows of times.

    ``steps`` (m,) is how many steps of its sample had been accepted when a state was reached.
    """

    samples: np.ndarray
    times: np.ndarray
    coefficients: torch.Tensor
    steps: np.ndarray


def chunks(batch: int, components: int, size: int, like: torch.Tensor) -> Iterator[slice]:
    """Slices of a batch with ``size`` coefficients a component, in the precision and place of ``like``.

    On a CPU their working set stays in cache; a GPU takes as many as its free memory holds.
    """
    per_sample = _ROWS * components * size * like.element_size()
    space = _CHUNK_BYTES
    if like.device.type == "cuda":
        space = max(space, int(_GPU_SHARE * torch.cuda.mem_get_info(like.device)[0]))
    length = max(1, space // per_sample)
    for start in range(0, batch, length):
        yield slice(start, min(batch, start + length))


def rollout(
    equation: Equation,
    initial: torch.Tensor,
    times: np.ndarray,
    step_tolerance: float,
    after_step: Callable[[AdaptiveMultistep], None] | None = None,
    together: int = 1,
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
        together: how many states are yielded at once, where there are as many: transforms and writes cost less for
            many. With 1 those of a step are yielded before ``after_step`` is called.
    """
    batch, count = times.shape
    samples = np.arange(batch)
    reached = np.array([np.searchsorted(row, 0.0, side="right") for row in times])
    yield from _initial_states(initial, reached)
    stepper = AdaptiveMultistep(equation, initial, step_tolerance)
    waiting = _Waiting(times, together)
    changed = True
    while True:
        if changed:
            active = (reached[samples] < count) & ~stepper.diverged
            if not active.any():
                break
            if active.sum() <= 0.75 * len(samples):
                stepper.keep(np.flatnonzero(active))
                samples = samples[active]
        accepted = stepper.step()
        found, ended = take_passed(accepted, stepper.time, samples, times, reached, *waiting.lists)
        changed = ended or stepper.diverged_now
        if found:
            yield from waiting.add(stepper, found)
        if after_step is not None:
            after_step(stepper)
    yield from waiting.rest()


class _Waiting:
    """States that have been reached and not yet been yielded.

    Attributes:
        lists: what :func:`take_passed` fills for one step.
    """

    def __init__(self, times: np.ndarray, together: int) -> None:
        self._together = together
        self.lists = (*(np.empty(times.size, dtype=np.int64) for _ in range(3)), np.empty(times.size))
        self._samples, self._times, self._steps = (np.empty(times.size, dtype=np.int64) for _ in range(3))
        self._states: torch.Tensor | None = None
        self._length = 0

    def add(self, stepper: AdaptiveMultistep, found: int) -> Iterator[States]:
        """Interpolates the first ``found`` of the lists; yields when there are enough."""
        if self._states is not None and self._length + found > len(self._states):
            yield from self.rest()
        if self._states is None:
            self._states = stepper.newest().new_empty((max(found, self._together), *stepper.newest().shape[1:]))
        here = slice(self._length, self._length + found)
        positions, owners, indices, wanted = (values[:found] for values in self.lists)
        stepper.interpolate(positions, wanted, out=self._states[here])
        self._samples[here], self._times[here], self._steps[here] = owners, indices, stepper.steps[positions]
        self._length += found
        if self._length >= self._together:
            yield from self.rest()

    def rest(self) -> Iterator[States]:
        """All that wait."""
        if self._states is not None:
            n = self._length
            yield States(self._samples[:n].copy(), self._times[:n].copy(), self._states[:n], self._steps[:n].copy())
            self._states, self._length = None, 0


def _initial_states(initial: torch.Tensor, reached: np.ndarray) -> Iterator[States]:
    samples = np.repeat(np.arange(len(reached)), reached)
    if len(samples):
        index = np.concatenate([np.arange(n) for n in reached])
        yield States(samples, index, initial[torch.from_numpy(samples).to(initial.device)], np.zeros_like(samples))


@compiled
def take_passed(
    accepted: np.ndarray,
    time: np.ndarray,
    samples: np.ndarray,
    times: np.ndarray,
    reached: np.ndarray,
    positions: np.ndarray,
    owners: np.ndarray,
    indices: np.ndarray,
    wanted: np.ndarray,
) -> tuple[int, bool]:
    """Lists in the last four arrays the requested times that accepted steps have passed, and moves ``reached`` on.

    Returns how many they are, and whether some sample has reached its last time.
    """
    k, ended = 0, False
    for position in range(len(samples)):
        if not accepted[position]:
            continue
        sample = samples[position]
        row = times[sample]
        while reached[sample] < len(row) and row[reached[sample]] <= time[position]:
            positions[k], owners[k], indices[k] = position, sample, reached[sample]
            wanted[k] = row[reached[sample]]
            reached[sample] += 1
            k += 1
            ended = ended or reached[sample] == len(row)
    return k, ended
