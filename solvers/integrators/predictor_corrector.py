"""The two passes over the history that a multistep step makes: compiled on the CPU, torch elsewhere, same sums."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch

from solvers.integrators import kernels
from solvers.integrators.protocol import Equation

SLOTS = kernels.SLOTS


class Passes(Protocol):
    """What a step does to memory. Arrays are those of :class:`AdaptiveMultistep`, changed in place."""

    def stabilise(self, stabiliser: np.ndarray, change: np.ndarray | None = None) -> None:
        """Sets s (batch,); with its ``change`` (batch,) the stored explicit terms are changed too."""

    def predict(self, weights: np.ndarray, beta_h: np.ndarray, slot: int) -> torch.Tensor:
        """The prediction u* (batch, component, F), in its slot."""

    def correct(self, explicit: torch.Tensor, beta_h: np.ndarray, slot: int) -> np.ndarray:
        """Corrects from N(u*) (batch, component, F), and returns the mean square (batch,) of u - u*."""

    def scale(self, attainable: float, slot: int, magnitude: np.ndarray) -> None:
        """Updates the mean square (batch,) that errors are measured against, where it is finite."""

    def combine(self, owners: np.ndarray, weights: np.ndarray, out: torch.Tensor) -> None:
        """``out`` (row, n): the states of ``owners`` (row,), each slot times its weight, weights (row, slot)."""


def passes_for(equation: Equation, history: torch.Tensor, predictions: torch.Tensor) -> Passes:
    """The passes for arrays (batch, 2 * slot, n) and (batch, slot, n), on whatever device they are."""
    kind = CompiledPasses if history.device.type == "cpu" else TorchPasses
    return kind(equation, history, predictions)


class CompiledPasses:
    """Each pass one compiled loop (:mod:`solvers.integrators.kernels`)."""

    def __init__(self, equation: Equation, history: torch.Tensor, predictions: torch.Tensor) -> None:
        batch, _, size = history.shape
        modes = len(equation.damping)
        self._predicted = predictions.view(batch, SLOTS, size // modes, modes)
        self._predictions = self._predicted.numpy()
        self._history = history.view(batch, 2 * SLOTS, size // modes, modes).numpy()
        self._known = np.empty((batch, size // modes, modes), dtype=self._history.dtype)
        self._square = np.empty(batch)
        self._stiff = equation.stiff[:, 0].contiguous().numpy()
        self._damping = equation.damping.numpy()
        self._error_weights = equation.basis.weights.numpy()
        self._scale_weights = equation.scale_weights[:, :, 0].contiguous().numpy()
        self._stabiliser = np.empty(batch, dtype=self._history.dtype)

    def stabilise(self, stabiliser: np.ndarray, change: np.ndarray | None = None) -> None:
        self._stabiliser[:] = stabiliser
        if change is not None:
            kernels.restabilise(self._history, self._predictions, self._damping, change.astype(self._history.dtype))

    def predict(self, weights: np.ndarray, beta_h: np.ndarray, slot: int) -> torch.Tensor:
        shared = (weights, beta_h, self._stiff, self._damping, self._stabiliser, slot)
        kernels.predict(self._history, self._predictions, self._known, *shared)
        return self._predicted[:, slot]

    def correct(self, explicit: torch.Tensor, beta_h: np.ndarray, slot: int) -> np.ndarray:
        kernels.correct(
            self._history,
            self._predictions,
            self._known,
            explicit.contiguous().numpy(),
            beta_h,
            self._stiff,
            self._damping,
            self._stabiliser,
            self._error_weights,
            slot,
            self._square,
        )
        return self._square

    def scale(self, attainable: float, slot: int, magnitude: np.ndarray) -> None:
        kernels.scale(self._history, self._scale_weights, self._error_weights, attainable, slot, magnitude)

    def combine(self, owners: np.ndarray, weights: np.ndarray, out: torch.Tensor) -> None:
        rows = out.view(len(owners), *self._history.shape[2:]).numpy()
        kernels.combine(self._history, owners, weights.astype(self._history.dtype), rows)


class TorchPasses:
    """Each pass a few operations on whatever device the arrays are."""

    def __init__(self, equation: Equation, history: torch.Tensor, predictions: torch.Tensor) -> None:
        batch, _, size = history.shape
        modes = len(equation.damping)
        shape = (batch, SLOTS, size // modes, modes)
        self._equation = equation
        self._rows = history.view(batch * 2, SLOTS, size)
        states = history.view(batch, 2, *shape[1:])
        self._states, self._terms = states[:, 0], states[:, 1]
        self._predictions = predictions.view(shape)

    def stabilise(self, stabiliser: np.ndarray, change: np.ndarray | None = None) -> None:
        if change is not None:
            moved = torch.from_numpy(change).to(self._rows)[:, None, None, None] * self._equation.damping
            self._terms.addcmul_(self._predictions, moved)
        s = torch.from_numpy(stabiliser).to(self._rows)[:, None, None]
        self._held = s * self._equation.damping
        self._implicit = self._equation.stiff + self._held

    def predict(self, weights: np.ndarray, beta_h: np.ndarray, slot: int) -> torch.Tensor:
        # sum a u and b h sum e Q over the history; a row of weights for each, as one product with all rows would be
        # twice the work.
        sums = torch.bmm(torch.from_numpy(weights).to(self._rows.device).view(-1, 1, SLOTS), self._rows)
        self._known, past = sums.view(-1, 2, *self._states.shape[2:]).unbind(1)
        share = torch.from_numpy(beta_h).to(self._rows.device)[:, None, None]
        self._denominator = (self._implicit * share).add_(1.0)
        predicted = self._predictions[:, slot]
        return torch.div(past.add_(self._known), self._denominator, out=predicted)

    def correct(self, explicit: torch.Tensor, beta_h: np.ndarray, slot: int) -> np.ndarray:
        predicted, corrected, terms = self._predictions[:, slot], self._states[:, slot], self._terms[:, slot]
        torch.addcmul(explicit, self._held, predicted, out=terms)
        share = torch.from_numpy(beta_h).to(self._rows.device)[:, None, None]
        torch.div(self._known.addcmul_(terms, share), self._denominator, out=corrected)
        square = ((predicted - corrected).square_() @ self._equation.basis.weights).sum(-1)
        return square.double().cpu().numpy()

    def scale(self, attainable: float, slot: int, magnitude: np.ndarray) -> None:
        square = self._states[:, slot].square()
        measured = (square @ self._equation.scale_weights).sum((1, 2))
        floor = attainable * (square @ self._equation.basis.weights).sum(-1)
        largest = torch.maximum(measured, floor).double().cpu().numpy()
        magnitude[:] = np.where(np.isfinite(largest), largest, magnitude)

    def combine(self, owners: np.ndarray, weights: np.ndarray, out: torch.Tensor) -> None:
        rows = self._states[torch.from_numpy(owners).to(self._rows.device)].flatten(2)
        torch.bmm(torch.from_numpy(weights).to(rows)[:, None], rows, out=out[:, None])
