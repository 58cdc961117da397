"""Variable-step third-order semi-implicit BDF, predict-evaluate-correct, one evaluation a step.

With history u_j and N_j = N(u*_j) at the last three times, step to t + h:

    predict   (1 + bh A) u* = sum a_j u_j + bh sum e_j (N_j + s D u*_j)
    evaluate  N* = N(u*)
    correct   (1 + bh A) u  = sum a_j u_j + bh (N* + s D u*)

with A = stiff + s D, variable-step BDF weights a_j, b and extrapolation weights e_j (Ascher, Ruuth and Wetton 1995,
doi:10.1137/0732037; Wang and Ruuth 2008 for variable steps). N* then enters the history, so that the correction is
free, divides the error by two to four, and u - u* estimates the local error. The stabilisation s follows the solution;
when it changes, the stored N + s D u* are changed with it, u* being stored too (with u in its place the scheme is
unstable at long steps). Every sample of a batch has its own time and step, so an answer does not depend on what else is
in the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from solvers.integrators import kernels
from solvers.integrators.predictor_corrector import SLOTS, CompiledPasses, Passes
from solvers.integrators.protocol import Equation
from solvers.integrators.torch_passes import TorchPasses

FAR_PAST = 1e200
TINY = 1e-30  # keeps 0 / 0 of a uniform state at 0, in float32 too
ROUNDING = 4.0  # rounding of a step, in units of epsilon times the size of u; no step size lowers it
SCALE_EVERY = 4  # the magnitude that errors are measured against changes slowly
LAG, SLACK = 0.02, 0.1  # how far the stabilisation may fall short of, and exceed, what is wanted
GIVE_UP = 40  # rejections in a row before a sample counts as diverged


class AdaptiveMultistep:
    """Integrates a batch of samples, each with its own steps.

    Args:
        equation: what to integrate.
        initial: (batch, component, F) coefficients at time 0.
        step_tolerance: relative size of u - u* that a step may have.

    Attributes:
        time: (batch,) float64 numpy, time reached by each sample.
        diverged: (batch,) bool numpy, samples that no step size could carry on.
        diverged_now: whether some sample did in the last step.
        evaluations: evaluations of N made so far, each for the whole batch.
    """

    def __init__(self, equation: Equation, initial: torch.Tensor, step_tolerance: float) -> None:
        batch, components, size = initial.shape
        self.equation = equation
        self.step_tolerance = step_tolerance
        self.time = np.zeros(batch)
        self.diverged = np.zeros(batch, dtype=bool)
        self.diverged_now = False
        self.evaluations = 1
        self._shape = (components, size)
        self._mean = initial[:, :, 0].clone()
        # Per sample: the last states u, then the last explicit terms Q = N(u*) + s D u*; and apart from them, as no
        # step reads them, the last predictions u*.
        self._history = initial.new_zeros((batch, 2 * SLOTS, components * size))
        self._predictions = initial.new_zeros((batch, SLOTS, components * size))
        # Absent history lies in the far past, where its weights vanish.
        self._times = np.tile(-FAR_PAST * np.arange(SLOTS, 0, -1.0), (batch, 1))
        self._times[:, 0] = 0.0
        self._newest = 0
        self._count = np.ones(batch, dtype=np.int64)
        self._rejections = np.zeros(batch, dtype=np.int64)
        # Rounding alone makes this error in a step, so no smaller one is demanded: what errors are measured against may
        # decay to nothing (noise outside the spinodal) while the mean stays.
        self._attainable = (ROUNDING * torch.finfo(initial.dtype).eps / step_tolerance) ** 2
        self._magnitude = np.zeros(batch)
        explicit, largest = equation.explicit(initial)
        self._stabiliser = equation.stabiliser(largest.double().cpu().numpy())
        self._prepare()
        self._slots[0][0].copy_(initial)
        self._slots[2][0].copy_(initial)
        held = torch.from_numpy(self._stabiliser).to(initial)[:, None, None] * equation.damping
        torch.addcmul(explicit, held, initial, out=self._slots[1][0])
        self.step_size = self._first_step(initial, explicit)

    def _prepare(self) -> None:
        """Work arrays that depend on the samples of the batch."""
        batch = len(self.time)
        self._order = np.broadcast_to(self.equation.order, batch).copy()
        self._weights, self._beta_h = np.zeros((batch, 2, SLOTS)), np.zeros(batch)
        self._accepted = np.zeros(batch, dtype=bool)
        self._change = np.zeros(batch)
        states = self._history.view(batch, 2, SLOTS, *self._shape)
        predictions = self._predictions.view(batch, SLOTS, *self._shape)
        self._slots = [[states[:, kind, slot] for slot in range(SLOTS)] for kind in range(2)]
        self._slots.append([predictions[:, slot] for slot in range(SLOTS)])
        kind = CompiledPasses if self._history.device.type == "cpu" else TorchPasses
        self._passes: Passes = kind(self.equation, self._history, self._predictions)
        self._passes.stabilise(self._stabiliser)

    def _first_step(self, initial: torch.Tensor, explicit: torch.Tensor) -> np.ndarray:
        """A first step whose first-order error stays within the step tolerance: from |du/dt| / |u|."""
        square = (explicit - self.equation.stiff * initial).square()
        # Sample by sample: some processors' libraries round a product differently when there are more rows.
        rate = torch.stack([rows @ self.equation.basis.weights for rows in square])
        self._passes.scale(self._attainable, 0, self._magnitude)
        relative = np.sqrt(rate.sum(-1).double().cpu().numpy() / np.maximum(self._magnitude, TINY))
        return 0.5 * np.sqrt(self.step_tolerance) / np.maximum(relative, 1e-12)

    def step(self) -> np.ndarray:
        """Attempts one step of every sample; returns which were accepted (batch,), valid until the next step."""
        slot = (self._newest + 1) % SLOTS
        weights, beta_h = self._weights, self._beta_h
        kernels.set_weights(self.time, self._times, self.step_size, self._order, 3 * FAR_PAST, slot, weights, beta_h)
        square, largest = self._passes.attempt(weights, beta_h, slot)
        if self.evaluations % SCALE_EVERY == 1:
            self._passes.scale(self._attainable, slot, self._magnitude)
        self.evaluations += 1
        accepted = self._accepted
        everyone = kernels.control(
            square,
            self._magnitude,
            self.step_tolerance,
            self._order,
            slot,
            self.time,
            self._times,
            self.step_size,
            self._count,
            self._rejections,
            self.diverged,
            GIVE_UP,
            accepted,
        )
        self.diverged_now = False
        if not everyone:
            self._undo(square, slot)
        if everyone or accepted.any():
            self._newest = slot
            self._restabilise(self.equation.stabiliser(largest))
        return accepted

    def _undo(self, square: np.ndarray, slot: int) -> None:
        self.diverged_now = bool((self._rejections == GIVE_UP + 1).any())
        overflown = np.flatnonzero(~np.isfinite(square))
        if len(overflown):  # infinity times a weight of zero is NaN
            for kind in self._slots:
                kind[slot][torch.from_numpy(overflown).to(self._history.device)] = 0.0
        if self._accepted.any():
            self._keep_history_of(np.flatnonzero(~self._accepted), slot)

    def _restabilise(self, wanted: np.ndarray) -> None:
        """Changes the stabilisation where the wanted one has moved far: rarely, as the stored terms change with it."""
        if kernels.stabilisation_change(wanted, self._stabiliser, self._accepted, LAG, SLACK, self._change):
            self._passes.stabilise(self._stabiliser, self._change)

    def _keep_history_of(self, rejected: np.ndarray, slot: int) -> None:
        """Moves the history of rejected samples one slot on, so that all samples keep one slot order."""
        rows = torch.from_numpy(rejected).to(self._history.device)
        for j in range(SLOTS - 1):
            to, source = (slot - j) % SLOTS, (slot - j - 1) % SLOTS
            self._times[rejected, to] = self._times[rejected, source]
            for kind in range(3):
                self._slots[kind][to][rows] = self._slots[kind][source][rows]

    @property
    def steps(self) -> np.ndarray:
        """(batch,) accepted steps of each sample."""
        return self._count - 1

    def interpolate(self, samples: np.ndarray, times: np.ndarray, out: torch.Tensor | None = None) -> torch.Tensor:
        """States at ``times`` (m,) of ``samples`` (m,), each within its last accepted step, as (m, component, F).

        A polynomial through the last four states (fewer at the start), whose error is that of the step. ``out`` is a
        contiguous array to write them to.
        """
        weights = np.empty((len(samples), SLOTS))
        kernels.interpolation_weights(self._times, self._count, self._newest, samples, times, weights)
        states = self._history.new_empty((len(samples), *self._shape)) if out is None else out
        self._passes.combine(samples, weights, states.view(len(samples), -1))
        if self.equation.conserves_mean:
            torch.index_select(self._mean, 0, torch.from_numpy(samples).to(states.device), out=states[:, :, 0])
        return states

    def newest(self) -> torch.Tensor:
        """The states last accepted (batch, component, F)."""
        return self._history[:, self._newest].reshape(-1, *self._shape)

    def keep(self, samples: np.ndarray) -> None:
        """Drops all samples but these (indices)."""
        index = torch.from_numpy(samples).to(self._history.device)
        self._history = self._history[index]
        self._predictions = self._predictions[index]
        self._mean = self._mean[index]
        self.equation = self.equation.select(torch.from_numpy(samples))
        for name in ("time", "diverged", "_times", "_count", "_rejections", "_stabiliser", "_magnitude", "step_size"):
            setattr(self, name, getattr(self, name)[samples])
        self._prepare()

    def transform_history(self, transform: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Applies ``transform`` to every stored row, (batch * rows, component, F) to (batch * rows, component', F).

        For changes of representation that commute with the dynamics (a re-assignment of order parameters).
        """
        batch, stored = len(self.time), (self._history, self._predictions)
        changed = [transform(part.reshape(-1, *self._shape)) for part in stored]
        self._shape = (changed[0].shape[1], changed[0].shape[2])
        self._history, self._predictions = (part.reshape(batch, -1, math.prod(self._shape)) for part in changed)
        self._mean = self._history[:, self._newest].reshape(batch, *self._shape)[:, :, 0].clone()
        self._prepare()
