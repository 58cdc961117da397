"""The two passes over the history that a multistep step makes, in torch: for GPUs, whose time goes into starting work.

A step is some forty operations of a few microseconds each, and starting them from Python takes a millisecond. So the
work of a step is done on arrays that stay where they are, recorded once as a CUDA graph for each slot of the history,
and started as a whole: numbers for all samples go there in one copy and come back in one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable

import numpy as np
import torch

from solvers.integrators.predictor_corrector import SLOTS
from solvers.integrators.protocol import Equation

logger = logging.getLogger(__name__)

# Runs of the same work before it is recorded: the first ones plan transforms, which recording does not allow.
_WARM_RUNS = 2


class TorchPasses:
    """Implements :class:`~solvers.integrators.predictor_corrector.Passes` on whatever device the arrays are."""

    def __init__(self, equation: Equation, history: torch.Tensor, predictions: torch.Tensor) -> None:
        batch, _, size = history.shape
        modes = len(equation.damping)
        shape = (batch, SLOTS, size // modes, modes)
        self._equation = equation
        self._rows = history.view(batch * 2, SLOTS, size)
        states = history.view(batch, 2, *shape[1:])
        self._states, self._terms = states[:, 0], states[:, 1]
        self._predictions = predictions.view(shape)
        self._given = _Exchange(history, batch * (2 * SLOTS + 1), history.dtype)
        weights, beta_h = self._given.there.split([2 * SLOTS * batch, batch])
        self._weights, self._beta_h = weights.view(-1, 1, SLOTS), beta_h.view(-1, 1, 1)
        self._found, self._measured = (_Exchange(history, 2 * batch, torch.float64) for _ in range(2))
        self._stabiliser = _Exchange(history, 2 * batch, history.dtype)
        self._held = history.new_zeros((batch, 1, modes))
        self._implicit = history.new_zeros((batch, 1, modes))
        self._run = _Recorder(history.device)

    def stabilise(self, stabiliser: np.ndarray, change: np.ndarray | None = None) -> None:
        self._stabiliser.put(stabiliser, np.zeros_like(stabiliser) if change is None else change)
        self._run("hold", self._hold)
        if change is not None:
            self._run("move", self._move)

    def _hold(self) -> None:
        torch.mul(self._stabiliser.there.view(2, -1, 1, 1)[0], self._equation.damping, out=self._held)
        torch.add(self._equation.stiff, self._held, out=self._implicit)

    def _move(self) -> None:
        change = self._stabiliser.there.view(2, -1, 1, 1, 1)[1]
        self._terms.addcmul_(self._predictions, change * self._equation.damping)

    def attempt(self, weights: np.ndarray, beta_h: np.ndarray, slot: int) -> tuple[np.ndarray, np.ndarray]:
        self._given.put(weights, beta_h)
        self._run(("step", slot), lambda: self._step(slot))
        square, largest = self._found.take().reshape(2, -1)
        return square, largest

    def _step(self, slot: int) -> None:
        # sum a u and b h sum e Q over the history; a row of weights for each, as one product with all rows would be
        # twice the work.
        sums = torch.bmm(self._weights, self._rows)
        known, past = sums.view(-1, 2, *self._states.shape[2:]).unbind(1)
        denominator = (self._implicit * self._beta_h).add_(1.0)
        predicted, corrected, terms = self._predictions[:, slot], self._states[:, slot], self._terms[:, slot]
        torch.div(past.add_(known), denominator, out=predicted)
        explicit, largest = self._equation.explicit(predicted)
        torch.addcmul(explicit, self._held, predicted, out=terms)
        torch.div(known.addcmul_(terms, self._beta_h), denominator, out=corrected)
        square = ((predicted - corrected).square_() @ self._equation.basis.weights).sum(-1)
        self._found.there.copy_(torch.cat([square, largest]))

    def scale(self, attainable: float, slot: int, magnitude: np.ndarray) -> None:
        self._run(("scale", slot), lambda: self._measure(slot))
        measured, mean_square = self._measured.take().reshape(2, -1)
        largest = np.maximum(measured, attainable * mean_square)
        magnitude[:] = np.where(np.isfinite(largest), largest, magnitude)

    def _measure(self, slot: int) -> None:
        square = self._states[:, slot].square()
        measured = (square @ self._equation.scale_weights).sum((1, 2))
        self._measured.there.copy_(torch.cat([measured, (square @ self._equation.basis.weights).sum(-1)]))

    def combine(self, owners: np.ndarray, weights: np.ndarray, out: torch.Tensor) -> None:
        rows = self._states[torch.from_numpy(owners).to(self._rows.device)].flatten(2)
        torch.bmm(torch.from_numpy(weights).to(rows)[:, None], rows, out=out[:, None])


class _Exchange:
    """Numbers that go to a device, or come from it, in one copy.

    Attributes:
        there: (n,) on the device.
    """

    def __init__(self, like: torch.Tensor, length: int, dtype: torch.dtype) -> None:
        self.there = torch.zeros(length, dtype=dtype, device=like.device)
        # In memory that the system does not move, which the device reads by itself.
        self._here = torch.zeros(length, dtype=dtype, pin_memory=like.device.type == "cuda")
        self._array = self._here.numpy()

    def put(self, *parts: np.ndarray) -> None:
        """Sends parts, one after the other. Not again before something has been taken that was computed from them."""
        np.concatenate([part.reshape(-1) for part in parts], out=self._array, casting="same_kind")
        self.there.copy_(self._here, non_blocking=True)

    def take(self) -> np.ndarray:
        """The numbers as they are once all work is done, (n,); valid until the next time."""
        self._here.copy_(self.there)
        return self._array


class _Recorder:
    """Runs work that reads and writes the same arrays each time; on a GPU from a recording, after the first times."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._recording = device.type == "cuda"
        self._runs: dict[Hashable, int] = {}
        self._graphs: dict[Hashable, torch.cuda.CUDAGraph] = {}
        self._pool = torch.cuda.graph_pool_handle() if self._recording else None

    def __call__(self, key: Hashable, work: Callable[[], None]) -> None:
        if key in self._graphs:
            self._graphs[key].replay()
            return
        runs = self._runs[key] = self._runs.get(key, 0) + 1
        if self._recording and runs > _WARM_RUNS and self._record(key, work):
            self._graphs[key].replay()
        else:
            work()

    def _record(self, key: Hashable, work: Callable[[], None]) -> bool:
        """Whether the work could be recorded: an equation that looks at its values on the host cannot."""
        here = torch.cuda.current_stream(self._device)
        aside = torch.cuda.Stream(self._device)
        aside.wait_stream(here)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.stream(aside):
                # Other threads may use the device meanwhile.
                graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
                try:
                    work()
                finally:
                    graph.capture_end()
        except RuntimeError as error:
            self._recording = False
            logger.warning("steps are started one operation at a time: they could not be recorded (%s)", error)
            return False
        here.wait_stream(aside)
        self._graphs[key] = graph
        return True
