"""Trajectories of single samples in one compiled function, from one requested time to the next without Python.

The arithmetic is that of :class:`~solvers.integrators.adaptive_bdf.AdaptiveMultistep`, kernel by kernel, for a batch
of one; only who calls whom differs. One sample's history stays in the cache, and no sample waits for another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from solvers.compiled import compiled
from solvers.grids.spectral_basis import PeriodicBasis
from solvers.grids.transforms import cosine_scaling
from solvers.integrators import kernels
from solvers.integrators.adaptive_bdf import FAR_PAST, GIVE_UP, LAG, ROUNDING, SCALE_EVERY, SLACK, TINY
from solvers.integrators.kernels import SLOTS

if TYPE_CHECKING:
    from solvers.integrators.protocol import CompiledTerms, Equation, Explicit

_TWICE_FAR = 3 * FAR_PAST
# Places in the arrays of numbers that a trajectory keeps between calls.
_NEWEST, _EVALUATIONS, _REACHED = 0, 1, 2
_STABILISER, _CHANGE, _WANTED = 0, 1, 2
_TOLERANCE, _ATTAINABLE, _SLOPE, _OFFSET = 0, 1, 2, 3


class _Memory(NamedTuple):
    """States and terms of a trajectory, and views of them as the transforms take them."""

    history: np.ndarray  # (1, 2 * slot, component, F): states u, then explicit terms
    predictions: np.ndarray  # (1, slot, component, F)
    known: np.ndarray  # (1, component, F)
    spectra: np.ndarray  # of the predictions
    out: np.ndarray  # (1, component, F): N(u*)
    out_spectrum: np.ndarray


class _Typed(NamedTuple):
    """Numbers of a step, in float64 and in the precision of the states."""

    weights: np.ndarray  # (1, 2, slot)
    beta_h: np.ndarray  # (1,)
    own_weights: np.ndarray
    own_beta_h: np.ndarray
    stabiliser: np.ndarray  # (1,)
    change: np.ndarray  # (1,)


class _Clock(NamedTuple):
    """Where a trajectory is: arrays (1,) as a batch's of the same names, and what is kept between calls."""

    time: np.ndarray
    nodes: np.ndarray  # (1, slot): times of the history
    step: np.ndarray
    magnitude: np.ndarray
    square: np.ndarray
    accepted_steps: np.ndarray
    rejections: np.ndarray
    diverged: np.ndarray
    accepted: np.ndarray
    counts: np.ndarray
    stabilisation: np.ndarray
    typed: _Typed
    settings: np.ndarray


class _Material(NamedTuple):
    """The linear terms of a sample, what errors are measured in, and the order of its scheme."""

    stiff: np.ndarray  # (1, F)
    damping: np.ndarray  # (F,)
    error_weights: np.ndarray  # (F,)
    scale_weights: np.ndarray  # (1, F)
    order: np.ndarray  # (1,)


@cache
def begin_with(explicit: Explicit) -> Callable[..., None]:
    """The compiled start of a trajectory with these explicit terms."""

    @compiled
    def begin(memory: Any, clock: Any, material: Any, work: Any, initial: np.ndarray) -> None:
        """First state, explicit terms, stabilisation and step, from ``initial`` (component, F)."""
        history, predictions, out, settings = memory.history, memory.predictions, memory.out, clock.settings
        stiff, damping, error_weights = material.stiff, material.damping, material.error_weights
        for g in range(len(initial)):
            for i in range(len(damping)):
                history[0, 0, g, i] = initial[g, i]
                predictions[0, 0, g, i] = initial[g, i]
        largest = explicit(memory.spectra[0], predictions[0, 0], memory.out_spectrum, out[0], work)
        s = settings[_SLOPE] * largest + settings[_OFFSET]
        clock.stabilisation[_STABILISER] = s
        scale_weights, attainable = material.scale_weights, settings[_ATTAINABLE]
        kernels.scale(history, scale_weights, error_weights, attainable, 0, clock.magnitude)
        square = 0.0
        for g in range(len(initial)):
            for i in range(len(damping)):
                history[0, SLOTS, g, i] = out[0, g, i] + s * damping[i] * initial[g, i]
                rate = np.float64(out[0, g, i] - stiff[0, i] * initial[g, i])
                square += error_weights[i] * rate * rate
        relative = math.sqrt(square / max(clock.magnitude[0], TINY))
        clock.step[0] = 0.5 * math.sqrt(settings[_TOLERANCE]) / max(relative, 1e-12)
        clock.counts[_EVALUATIONS] = 1

    return begin


@compiled
def emit(memory: Any, clock: Any, wanted: np.ndarray, found: Any, filled: int) -> int:
    """Interpolates the states of ``wanted`` times (time,) that are behind into ``found``, where there is room.

    ``found`` are (states (row, component, F), indices of their times (row,), steps accepted until then (row,)), the
    first ``filled`` of which are taken; returns how many are at the end.
    """
    count, counts = clock.accepted_steps, clock.counts
    states, indices, steps = found
    by_slot, own_row = clock.typed.weights[0, :1], clock.typed.own_weights[0, :1]
    one = counts[3:4]  # the index of the only sample
    while counts[_REACHED] < len(wanted) and wanted[counts[_REACHED]] <= clock.time[0] and filled < len(states):
        at = wanted[counts[_REACHED] : counts[_REACHED] + 1]
        kernels.interpolation_weights(clock.nodes, count, counts[_NEWEST], one, at, by_slot)
        for j in range(SLOTS):
            own_row[0, j] = by_slot[0, j]
        kernels.combine(memory.history, one, own_row, states[filled : filled + 1])
        indices[filled], steps[filled] = counts[_REACHED], count[0] - 1
        counts[_REACHED] += 1
        filled += 1
    return filled


@compiled
def predict(memory: Any, clock: Any, material: Any) -> int:
    """The prediction of the next step, into the slot that is returned."""
    typed = clock.typed
    slot = (clock.counts[_NEWEST] + 1) % SLOTS
    kernels.set_weights(
        clock.time, clock.nodes, clock.step, material.order, _TWICE_FAR, slot, typed.weights, typed.beta_h
    )
    for kind in range(typed.weights.shape[1]):
        for j in range(typed.weights.shape[2]):
            typed.own_weights[0, kind, j] = typed.weights[0, kind, j]
    typed.own_beta_h[0] = typed.beta_h[0]
    typed.stabiliser[0] = clock.stabilisation[_STABILISER]
    kernels.predict(
        memory.history,
        memory.predictions,
        memory.known,
        typed.own_weights,
        typed.own_beta_h,
        material.stiff,
        material.damping,
        typed.stabiliser,
        slot,
    )
    return slot  # type: ignore[no-any-return]


@compiled
def correct(memory: Any, clock: Any, material: Any, slot: int, largest: float) -> None:
    """Corrects, accepts or rejects the step into ``slot``, and sets the next one and its stabilisation."""
    history, predictions, typed = memory.history, memory.predictions, clock.typed
    counts, settings = clock.counts, clock.settings
    kernels.correct(
        history,
        predictions,
        memory.known,
        memory.out,
        typed.own_beta_h,
        material.stiff,
        material.damping,
        typed.stabiliser,
        material.error_weights,
        slot,
        clock.square,
    )
    if counts[_EVALUATIONS] % SCALE_EVERY == 1:
        scale_weights, attainable = material.scale_weights, settings[_ATTAINABLE]
        kernels.scale(history, scale_weights, material.error_weights, attainable, slot, clock.magnitude)
    counts[_EVALUATIONS] += 1
    if kernels.control(
        clock.square,
        clock.magnitude,
        settings[_TOLERANCE],
        material.order,
        slot,
        clock.time,
        clock.nodes,
        clock.step,
        clock.accepted_steps,
        clock.rejections,
        clock.diverged,
        GIVE_UP,
        clock.accepted,
    ):
        counts[_NEWEST] = slot
        stabilise(memory, clock, material, largest)
    elif not math.isfinite(clock.square[0]):
        kernels.clear(history, predictions, slot)  # infinity times a weight of zero is NaN


@compiled
def stabilise(memory: Any, clock: Any, material: Any, largest: float) -> None:
    """Sets the stabilisation of the steps to come, from the ``largest`` sum of squared components in the last one."""
    stabilisation, settings = clock.stabilisation, clock.settings
    stabilisation[_WANTED] = settings[_SLOPE] * largest + settings[_OFFSET]
    wanted, change = stabilisation[_WANTED : _WANTED + 1], stabilisation[_CHANGE : _CHANGE + 1]
    if kernels.stabilisation_change(wanted, stabilisation[:1], clock.accepted, LAG, SLACK, change):
        clock.typed.change[0] = change[0]
        kernels.restabilise(memory.history, memory.predictions, material.damping, clock.typed.change)


@cache
def advance_with(explicit: Explicit) -> Callable[..., int]:
    """The compiled steps of a trajectory with these explicit terms."""

    @compiled
    def advance(
        memory: Any, clock: Any, material: Any, work: Any, wanted: np.ndarray, found: Any, filled: int, stop: float
    ) -> int:
        """Steps until all times ``wanted`` are behind, ``found`` is full, the sample has diverged, or ``stop``.

        Arguments and result as :func:`emit`'s.
        """
        while True:
            filled = emit(memory, clock, wanted, found, filled)
            if clock.counts[_REACHED] >= len(wanted) or filled == len(found[0]):
                return filled
            if clock.diverged[0] or clock.time[0] >= stop:
                return filled
            slot = predict(memory, clock, material)
            largest = explicit(
                memory.spectra[slot], memory.predictions[0, slot], memory.out_spectrum, memory.out[0], work
            )
            correct(memory, clock, material, slot, largest)

    return advance


class CompiledTrajectory:
    """One sample on its way; what :class:`~solvers.integrators.adaptive_bdf.AdaptiveMultistep` is for a batch.

    Args:
        equation, terms: what to integrate; ``sample`` is its index in them.
        initial: (component, F) coefficients at time 0.
        step_tolerance: relative size of u - u* that a step may have.

    Attributes:
        time, diverged: (1,) numpy, as those of a batch.
    """

    def __init__(
        self, equation: Equation, terms: CompiledTerms, sample: int, initial: np.ndarray, step_tolerance: float
    ) -> None:
        self._equation, self._terms, self._sample = equation, terms, sample
        self.time, self.diverged = np.zeros(1), np.zeros(1, dtype=bool)
        self._nodes = -FAR_PAST * np.arange(SLOTS, 0, -1.0)[None]
        self._nodes[0, 0] = 0.0
        self._counts = np.zeros(4, dtype=np.int64)
        attainable = (ROUNDING * float(np.finfo(initial.dtype).eps) / step_tolerance) ** 2
        settings = np.array([step_tolerance, attainable, *terms.stabiliser(sample)])
        kind = initial.dtype
        typed = _Typed(
            np.zeros((1, 2, SLOTS)),
            np.zeros(1),
            *(np.zeros(shape, dtype=kind) for shape in ((1, 2, SLOTS), 1, 1, 1)),
        )
        self._clock = _Clock(
            time=self.time,
            nodes=self._nodes,
            step=np.zeros(1),
            magnitude=np.zeros(1),
            square=np.zeros(1),
            accepted_steps=np.ones(1, dtype=np.int64),
            rejections=np.zeros(1, dtype=np.int64),
            diverged=self.diverged,
            accepted=np.zeros(1, dtype=bool),
            counts=self._counts,
            stabilisation=np.zeros(3),
            typed=typed,
            settings=settings,
        )
        self._material = _material(equation, sample)
        self._history, self._predictions = (np.zeros((1, n * SLOTS, *initial.shape), dtype=kind) for n in (2, 1))
        self._allocate()
        begin_with(terms.explicit)(self._memory, self._clock, self._material, self._work, initial)

    def _allocate(self) -> None:
        """Views of the history and arrays for work, which depend on the number of components."""
        components, size = self._history.shape[2:]
        basis, kind, terms = self._equation.basis, self._history.dtype, self._terms
        out = np.empty((1, components, size), dtype=kind)
        self._memory = _Memory(
            self._history,
            self._predictions,
            np.empty((1, components, size), dtype=kind),
            _spectrum(self._predictions[0], basis),
            out,
            _spectrum(out[0], basis),
        )
        spectra = [np.empty((components, size), dtype=kind) for _ in range(terms.spectra)]
        self._work = (
            np.empty((terms.fields, components, *basis.shape), dtype=kind),
            tuple((_spectrum(spectrum, basis), spectrum) for spectrum in spectra),
            terms.rows(self._sample),
            np.empty(math.prod(basis.shape), dtype=kind),
            terms.numbers(self._sample),
            np.arange(1, 1 + len(basis.shape)),
            _scaling(basis.shape, kind.str),
        )

    @property
    def evaluations(self) -> int:
        """Evaluations of N made so far."""
        return int(self._counts[_EVALUATIONS])

    def advance(self, wanted: np.ndarray, found: tuple[np.ndarray, ...], filled: int, stop: float) -> int:
        """See :func:`advance_with`."""
        advance = advance_with(self._terms.explicit)
        return advance(self._memory, self._clock, self._material, self._work, wanted, found, filled, stop)

    def skip(self, times: int) -> None:
        """The first ``times`` requested times are no longer wanted."""
        self._counts[_REACHED] = times

    def reached(self) -> int:
        """How many of the requested times are behind."""
        return int(self._counts[_REACHED])

    def newest(self) -> torch.Tensor:
        """The state last accepted (1, component, F)."""
        return torch.from_numpy(self._history[:, self._counts[_NEWEST]])

    def transform_history(self, transform: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Applies ``transform`` to every stored row, (row, component, F) to (row, component', F)."""
        changed = [transform(torch.from_numpy(rows[0])) for rows in (self._history, self._predictions)]
        self._history, self._predictions = (rows.contiguous().numpy()[None] for rows in changed)
        self._allocate()


def _material(equation: Equation, sample: int) -> _Material:
    """What a trajectory needs of the equation of a sample."""

    def row(values: torch.Tensor) -> np.ndarray:
        return values[sample : sample + 1].numpy() if len(values) > 1 else values.numpy()

    return _Material(
        row(equation.stiff[:, 0]),
        equation.damping.numpy(),
        equation.basis.weights.numpy(),
        row(equation.scale_weights[:, :, 0]),
        np.atleast_1d(equation.order[sample] if len(equation.order) > 1 else equation.order[0]).astype(np.int64),
    )


def _spectrum(coefficients: np.ndarray, basis: Any) -> np.ndarray:
    """Coefficients (..., F) as the transform takes them: the same memory."""
    if not isinstance(basis, PeriodicBasis):
        return coefficients.reshape(*coefficients.shape[:-1], *basis.shape)
    kind = np.result_type(coefficients.dtype, np.complex64)
    return coefficients.view(kind).reshape(*coefficients.shape[:-1], *basis.half_shape)


@cache
def _scaling(shape: tuple[int, ...], kind: str) -> np.ndarray:
    return cosine_scaling(shape, np.dtype(kind))


def trajectories(
    equation: Equation, terms: CompiledTerms, initial: torch.Tensor, step_tolerance: float
) -> Iterator[CompiledTrajectory]:
    """The samples of a batch (batch, component, F), one after the other."""
    for sample, start in enumerate(initial.contiguous().numpy()):
        yield CompiledTrajectory(equation, terms, sample, start, step_tolerance)
