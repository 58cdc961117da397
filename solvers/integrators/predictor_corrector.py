"""The two passes over the history that a multistep step makes, compiled: those of :mod:`torch_passes`, same sums."""

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

    def attempt(self, weights: np.ndarray, beta_h: np.ndarray, slot: int) -> tuple[np.ndarray, np.ndarray]:
        """Predicts u* into its slot, evaluates N(u*) and corrects.

        Returns the mean square of u - u*, and what the stabiliser follows from, both (batch,) float64.
        """

    def scale(self, attainable: float, slot: int, magnitude: np.ndarray) -> None:
        """Updates the mean square (batch,) that errors are measured against, where it is finite."""

    def combine(self, owners: np.ndarray, weights: np.ndarray, out: torch.Tensor) -> None:
        """``out`` (row, n): the states of ``owners`` (row,), each slot times its weight, weights (row, slot)."""


class CompiledPasses:
    """Each pass one compiled loop (:mod:`solvers.integrators.kernels`)."""

    def __init__(self, equation: Equation, history: torch.Tensor, predictions: torch.Tensor) -> None:
        batch, _, size = history.shape
        modes = len(equation.damping)
        self._equation = equation
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

    def attempt(self, weights: np.ndarray, beta_h: np.ndarray, slot: int) -> tuple[np.ndarray, np.ndarray]:
        if self._history.dtype == np.float32:
            weights, beta_h = weights.astype(np.float32), beta_h.astype(np.float32)
        linear = (self._stiff, self._damping, self._stabiliser)
        kernels.predict(self._history, self._predictions, self._known, weights, beta_h, *linear, slot)
        explicit, largest = self._equation.explicit(self._predicted[:, slot])
        kernels.correct(
            self._history,
            self._predictions,
            self._known,
            explicit.contiguous().numpy(),
            beta_h,
            *linear,
            self._error_weights,
            slot,
            self._square,
        )
        return self._square, largest.numpy().astype(float)

    def scale(self, attainable: float, slot: int, magnitude: np.ndarray) -> None:
        kernels.scale(self._history, self._scale_weights, self._error_weights, attainable, slot, magnitude)

    def combine(self, owners: np.ndarray, weights: np.ndarray, out: torch.Tensor) -> None:
        rows = out.view(len(owners), *self._history.shape[2:]).numpy()
        kernels.combine(self._history, owners, weights.astype(self._history.dtype), rows)
