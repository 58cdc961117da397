"""Integrates a batch and yields its states at the requested times."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from solvers.compiled import compiled
from solvers.integrators import AdaptiveMultistep, Equation
from solvers.integrators.protocol import CompiledTerms
from solvers.registries import resolve

if TYPE_CHECKING:
    from solvers.integrators.compiled_trajectory import CompiledTrajectory

# History of one chunk, in bytes: beyond this it leaves the cache and every transform costs several times more.
_CHUNK_BYTES = 6 * 2**20
_ROWS = 12
# Samples that are done are dropped when no more than this share is left. On a GPU the arrays of a step are set up
# again then, which costs as much as many steps.
_KEPT_ON_CPU, _KEPT_ON_GPU = 0.75, 0.5
# The smallest number above 0.
_AFTER_FIRST_STEP = 5e-324
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

    def those(self, chosen: np.ndarray) -> States:
        """The states ``chosen``, bool (m,)."""
        coefficients = self.coefficients[torch.from_numpy(chosen).to(self.coefficients.device)]
        return States(self.samples[chosen], self.times[chosen], coefficients, self.steps[chosen])


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


class BetweenSteps(Protocol):
    """What is integrated, between two steps: a batch, or one sample alone."""

    time: np.ndarray
    diverged: np.ndarray

    def newest(self) -> torch.Tensor:
        """The states last accepted (batch, component, F)."""

    def transform_history(self, transform: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Applies ``transform`` to every stored row, (row, component, F) to (row, component', F).

        For changes of representation that commute with the dynamics (a re-assignment of order parameters).
        """


#: Called between steps; returns the time before which it need not be called again.
Interrupt = Callable[[BetweenSteps], float]


def rollout(
    equation: Equation,
    initial: torch.Tensor,
    times: np.ndarray,
    step_tolerance: float,
    interrupt: Interrupt | None = None,
    together: int = 1,
    evaluations: np.ndarray | None = None,
) -> Iterator[States]:
    """Yields every sample's state at every one of its times, in the order in which they are reached.

    Steps never depend on the requested times: states between steps are interpolated. No states are yielded of a sample
    after it has diverged.

    Args:
        equation: what to integrate, for the whole batch.
        initial: (batch, component, F) coefficients at time 0.
        times: (batch, time) non-decreasing, in the equation's own units.
        step_tolerance: see :class:`~solvers.integrators.AdaptiveMultistep`.
        interrupt: called after the first step and then when it wants to be (re-assignment of order parameters).
        together: how many states are yielded at once, where there are as many: transforms and writes cost less for
            many. With 1 those of a step are yielded before ``interrupt`` is called.
        evaluations: (batch,) to be filled with the evaluations of the right-hand side that each sample cost.
    """
    reached = np.array([np.searchsorted(row, 0.0, side="right") for row in times])
    yield from _initial_states(initial, reached)
    evaluations = np.zeros(len(times), dtype=np.int64) if evaluations is None else evaluations
    terms = _compiled_terms(equation, initial)
    asked = _Asked(equation, initial, times, step_tolerance, interrupt, together, evaluations, reached)
    yield from _in_step(asked) if terms is None else _one_by_one(asked, terms)


@dataclass(frozen=True)
class _Asked:
    """What :func:`rollout` was asked for; ``reached`` (batch,) are the times that each sample has behind it."""

    equation: Equation
    initial: torch.Tensor
    times: np.ndarray
    step_tolerance: float
    interrupt: Interrupt | None
    together: int
    evaluations: np.ndarray
    reached: np.ndarray

    def first_interrupt(self) -> float:
        """Time after which ``interrupt`` is called first."""
        return math.inf if self.interrupt is None else _AFTER_FIRST_STEP


def _compiled_terms(equation: Equation, initial: torch.Tensor) -> CompiledTerms | None:
    """What a compiled trajectory needs; None on a GPU, where gradients are wanted, or where an equation has none."""
    make: Callable[[], CompiledTerms] | None = getattr(equation, "compiled_terms", None)
    # A class that changes the one and inherits the other would be integrated with its parent's terms.
    defined = [next((c for c in type(equation).__mro__ if n in vars(c)), None) for n in ("explicit", "compiled_terms")]
    if make is None or defined[0] is not defined[1] or initial.device.type != "cpu" or initial.requires_grad:
        return None
    return None if resolve("numba.core:config").DISABLE_JIT else make()


def _one_by_one(asked: _Asked, terms: CompiledTerms) -> Iterator[States]:
    """Each sample on its own, in a compiled loop."""
    equation, initial, interrupt = asked.equation, asked.initial, asked.interrupt
    make = resolve("solvers.integrators.compiled_trajectory:trajectories")
    found = _Found(min(asked.together, asked.times.size))
    for sample, trajectory in enumerate(make(equation, terms, initial, asked.step_tolerance)):
        row, mean = asked.times[sample], initial[sample, :, 0] if equation.conserves_mean else None
        trajectory.skip(asked.reached[sample])
        stop = asked.first_interrupt()
        while trajectory.reached() < len(row) and not trajectory.diverged[0]:
            found.fill(trajectory, sample, row, stop, mean)
            if found.full or (interrupt is not None and found.length):
                yield found.taken()
            if interrupt is not None and trajectory.time[0] >= stop:
                stop = interrupt(trajectory)
        asked.evaluations[sample] = trajectory.evaluations
    if found.length:
        yield found.taken()


class _Found:
    """States of compiled trajectories that have not been yielded yet, at most ``capacity``."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self.length = 0
        self._states: np.ndarray | None = None
        self._samples, self._times, self._steps = (np.empty(capacity, dtype=np.int64) for _ in range(3))

    @property
    def full(self) -> bool:
        return self.length == self._capacity

    def fill(
        self, trajectory: CompiledTrajectory, sample: int, times: np.ndarray, stop: float, mean: torch.Tensor | None
    ) -> None:
        """Lets a trajectory go on until there is no room, or it ends, or has passed ``stop``."""
        newest = trajectory.newest().numpy()
        if self._states is None or (self.length == 0 and self._states.shape[1:] != newest.shape[1:]):
            self._states = np.empty((self._capacity, *newest.shape[1:]), dtype=newest.dtype)
        length = trajectory.advance(times, (self._states, self._times, self._steps), self.length, stop)
        self._samples[self.length : length] = sample
        if mean is not None:
            self._states[self.length : length, :, 0] = mean.numpy()
        self.length = length

    def taken(self) -> States:
        """All of them."""
        assert self._states is not None
        here = slice(0, self.length)
        states = torch.from_numpy(self._states[here])
        self.length, self._states = 0, None
        return States(self._samples[here].copy(), self._times[here].copy(), states, self._steps[here].copy())


def _in_step(asked: _Asked) -> Iterator[States]:
    """The whole batch at once, a step of every sample at a time."""
    times, reached, interrupt = asked.times, asked.reached, asked.interrupt
    batch, count = times.shape
    samples = np.arange(batch)
    stepper = AdaptiveMultistep(asked.equation, asked.initial, asked.step_tolerance)
    waiting = _Waiting(times, asked.together)
    kept = _KEPT_ON_CPU if asked.initial.device.type == "cpu" else _KEPT_ON_GPU
    changed, stop = True, asked.first_interrupt()
    while True:
        if changed:
            active = (reached[samples] < count) & ~stepper.diverged
            if not active.any():
                break
            if active.sum() <= kept * len(samples):
                stepper.keep(np.flatnonzero(active))
                samples = samples[active]
        accepted = stepper.step()
        found, ended = take_passed(accepted, stepper.time, samples, times, reached, *waiting.lists)
        changed = ended or stepper.diverged_now
        if found:
            yield from waiting.add(stepper, found)
        asked.evaluations[samples] = stepper.evaluations
        if interrupt is not None and stepper.time[0] >= stop:
            stop = interrupt(stepper)
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
