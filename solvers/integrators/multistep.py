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
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

import numpy as np
import torch

from solvers.integrators.protocol import Equation

_SLOTS = 4  # three of history and the one being written
_FAR_PAST = 1e200
_RECENT = [[(newest - j) % _SLOTS for j in range(_SLOTS - 1)] for newest in range(_SLOTS)]
_TINY = 1e-30  # keeps 0 / 0 of a uniform state at 0, in float32 too
_SAFETY = 0.9
_GROW = 2.0
_LEAST_GROWTH = 0.5
_SHRINK = 0.3
_REJECT = 1.5  # accepted up to this multiple of the step tolerance
_ACCEPTED = np.ones(1, dtype=bool)
_ROUNDING = 4.0  # rounding of a step, in units of epsilon times the size of u; no step size lowers it
_SCALE_EVERY = 4  # the magnitude that errors are measured against changes slowly
_LAG, _SLACK = 0.02, 0.1  # how far the stabilisation may fall short of, and exceed, what is wanted
_GIVE_UP = 40  # rejections in a row before a sample counts as diverged


class AdaptiveMultistep:
    """Integrates a batch of samples, each with its own steps.

    Args:
        equation: what to integrate.
        initial: (batch, component, F) coefficients at time 0.
        step_tolerance: relative size of u - u* that a step may have.

    Attributes:
        time: (batch,) float64 numpy, time reached by each sample.
        diverged: (batch,) bool numpy, samples that no step size could carry on.
        evaluations: evaluations of N made so far, each for the whole batch.
    """

    def __init__(self, equation: Equation, initial: torch.Tensor, step_tolerance: float) -> None:
        batch, components, size = initial.shape
        self.equation = equation
        self.step_tolerance = step_tolerance
        self.time = np.zeros(batch)
        self.diverged = np.zeros(batch, dtype=bool)
        self.evaluations = 1
        self._shape = (components, size)
        self._mean = initial[:, :, 0].clone()
        # Per sample: the last states u, then the last explicit terms Q = N(u*) + s D u*; and apart from them, as no
        # step reads them, the last predictions u*.
        self._history = initial.new_zeros((batch, 2 * _SLOTS, components * size))
        self._predictions = initial.new_zeros((batch, _SLOTS, components * size))
        # Absent history lies in the far past, where its weights vanish.
        self._times = np.tile(-_FAR_PAST * np.arange(_SLOTS, 0, -1.0), (batch, 1))
        self._times[:, 0] = 0.0
        self._newest = 0
        self._count = np.ones(batch, dtype=np.int64)
        self._rejections = np.zeros(batch, dtype=np.int64)
        explicit, largest = equation.explicit(initial)
        self._stabiliser = equation.stabiliser(largest.double().cpu().numpy())
        self._prepare()
        self._slots[0][0].copy_(initial)
        self._slots[2][0].copy_(initial)
        torch.addcmul(explicit, self._held, initial, out=self._slots[1][0])
        self.step_size = self._first_step(initial, explicit)

    def _prepare(self) -> None:
        """Work arrays that depend on who is in the batch."""
        batch = len(self.time)
        self._order = np.broadcast_to(self.equation.order, batch)
        # An order of 2 moves the oldest state out of reach.
        self._beyond = np.where(self._order < 3, 3 * _FAR_PAST, 0.0)
        kind = np.float32 if self._history.dtype == torch.float32 else np.float64
        self._weights = np.zeros((batch, 2, _SLOTS), dtype=kind)
        self._beta_h = np.zeros((batch, 1, 1), dtype=kind)
        self._rows = self._history.view(batch * 2, _SLOTS, -1)
        states = self._history.view(batch, 2, _SLOTS, *self._shape)
        predictions = self._predictions.view(batch, _SLOTS, *self._shape)
        self._slots = [[states[:, kind, slot] for slot in range(_SLOTS)] for kind in range(2)]
        self._slots.append([predictions[:, slot] for slot in range(_SLOTS)])
        self._hold()

    def _hold(self) -> None:
        """The implicit operators of the present stabilisation, (batch, 1, F): s D and stiff + s D."""
        s = torch.from_numpy(self._stabiliser).to(self._history)[:, None, None]
        self._held = s * self.equation.damping
        self._implicit = self.equation.stiff + self._held

    def _first_step(self, initial: torch.Tensor, explicit: torch.Tensor) -> np.ndarray:
        """A first step whose first-order error stays within the step tolerance: from |du/dt| / |u|."""
        rate = (explicit - self.equation.stiff * initial).square() @ self.equation.basis.weights
        self._magnitude = self._scale(initial).double().cpu().numpy()
        relative = np.sqrt(rate.sum(-1).double().cpu().numpy() / np.maximum(self._magnitude, _TINY))
        return 0.5 * np.sqrt(self.step_tolerance) / np.maximum(relative, 1e-12)

    def _scale(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Mean square (batch,) that errors are measured against: at least what makes the step tolerance attainable in
        this precision, for what is measured may die out (noise outside the spinodal) while the mean stays."""
        square = coefficients.square()
        attainable = (_ROUNDING * torch.finfo(square.dtype).eps / self.step_tolerance) ** 2
        floor = attainable * (square @ self.equation.basis.weights).sum(-1)
        return torch.maximum((square @ self.equation.scale_weights).sum((1, 2)), floor)

    def step(self) -> np.ndarray:
        """Attempts one step of every sample; returns which were accepted (batch,)."""
        slot = (self._newest + 1) % _SLOTS
        corrected, terms, predicted = (self._slots[kind][slot] for kind in range(3))
        device = self._history.device
        self._set_weights()
        beta_h = torch.from_numpy(self._beta_h).to(device)
        # sum a u and b h sum e Q over the history; a row of weights for each, as one product with all rows would be
        # twice the work.
        sums = torch.bmm(torch.from_numpy(self._weights).to(device).view(-1, 1, _SLOTS), self._rows)
        known, past = sums.view(-1, 2, *self._shape).unbind(1)
        denominator = (self._implicit * beta_h).add_(1.0)
        torch.div(past.add_(known), denominator, out=predicted)
        explicit, largest = self.equation.explicit(predicted)
        torch.addcmul(explicit, self._held, predicted, out=terms)
        torch.div(known.addcmul_(terms, beta_h), denominator, out=corrected)
        square = ((predicted - corrected).square_() @ self.equation.basis.weights).sum(-1)
        if self.evaluations % _SCALE_EVERY == 1:
            magnitude = self._scale(corrected).double().cpu().numpy()
            self._magnitude = np.where(np.isfinite(magnitude), magnitude, self._magnitude)
        self.evaluations += 1
        summary = torch.stack([square, largest]).cpu().numpy()
        return self._control_one(summary, slot) if len(self.time) == 1 else self._control(summary.astype(float), slot)

    def _set_weights(self) -> None:
        """Weights of the history, and b h, for the next step."""
        recent = _RECENT[self._newest]
        weights = self._weights
        if len(self.time) == 1:  # plain numbers are several times faster than arrays of one
            now, times = float(self.time[0]), self._times[0].tolist()
            ages_of_one = [now - times[row] for row in recent]
            ages_of_one[2] += float(self._beyond[0])
            one = multistep_weights(float(self.step_size[0]), ages_of_one)
            extrapolation, bdf, beta_h = cast("Weights", one)
        else:
            ages = self.time - self._times.T[recent]
            ages[2] += self._beyond
            extrapolation, bdf, beta_h = multistep_weights(self.step_size, list(ages))
        weights[:, :, (self._newest + 1) % _SLOTS] = 0.0
        for j, row in enumerate(recent):
            weights[:, 0, row] = bdf[j]
            weights[:, 1, row] = beta_h * extrapolation[j]
        self._beta_h[:, 0, 0] = beta_h

    def _restabilise(self, wanted: np.ndarray, accepted: np.ndarray) -> None:
        """Takes up a new stabilisation where it has moved: rarely, as the history must be told."""
        # Too little costs stability at once, too much a little accuracy: up without delay, down with hysteresis.
        moved = accepted & ((wanted > self._stabiliser + _LAG) | (wanted < self._stabiliser - _SLACK))
        if not moved.any():
            return
        change = torch.from_numpy(np.where(moved, wanted - self._stabiliser, 0.0)).to(self._history)[:, None, None]
        for terms, predicted in zip(*self._slots[1:], strict=True):
            terms.addcmul_(predicted, change * self.equation.damping)
        self._stabiliser = np.where(moved, wanted, self._stabiliser)
        self._hold()

    def _control_one(self, summary: np.ndarray, slot: int) -> np.ndarray:
        """:meth:`_control` for a batch of one, in plain numbers."""
        square, largest = summary[:, 0].tolist()
        error = math.sqrt(square / max(float(self._magnitude[0]), _TINY)) if math.isfinite(square) else math.inf
        if error > _REJECT * self.step_tolerance:
            return self._control(summary.astype(float), slot)
        exponent = 1.0 / (min(int(self._count[0]), int(self._order[0])) + 1.0)
        ratio = (self.step_tolerance / max(error, _TINY)) ** exponent
        self.time += self.step_size
        self._count += 1
        self._rejections[0] = 0
        self._times[0, slot] = self.time[0]
        self.step_size *= min(max(_SAFETY * ratio, _LEAST_GROWTH), _GROW)
        self._newest = slot
        wanted = self.equation.stabiliser(np.array([largest]))
        if not -_SLACK <= float(wanted[0]) - float(self._stabiliser[0]) <= _LAG:
            self._restabilise(wanted, _ACCEPTED)
        return _ACCEPTED

    def _control(self, summary: np.ndarray, slot: int) -> np.ndarray:
        """Accepts or rejects, commits times and history, sets the next steps."""
        square, largest = summary
        with np.errstate(all="ignore"):
            error = np.sqrt(square / np.maximum(self._magnitude, _TINY))
            accepted = (error <= _REJECT * self.step_tolerance) & ~self.diverged  # false for NaN
            exponent = 1.0 / (np.minimum(self._count, self._order) + 1.0)
            ratio = np.nan_to_num((self.step_tolerance / np.maximum(error, _TINY)) ** exponent)
        self.time = np.where(accepted, self.time + self.step_size, self.time)
        self._times[:, slot] = self.time
        self._count += accepted
        self._rejections = np.where(accepted, 0, self._rejections + 1)
        self.diverged |= self._rejections > _GIVE_UP
        onward = np.clip(_SAFETY * ratio, _LEAST_GROWTH, _GROW)
        self.step_size = self.step_size * np.where(accepted, onward, np.clip(0.8 * ratio, _SHRINK, 0.8))
        overflown = np.flatnonzero(~np.isfinite(error))
        if len(overflown):  # a weight of zero does not silence infinity
            for kind in self._slots:
                kind[slot][torch.from_numpy(overflown).to(self._history.device)] = 0.0
        if accepted.any():
            if not accepted.all():
                self._keep_history_of(np.flatnonzero(~accepted), slot)
            self._newest = slot
            self._restabilise(self.equation.stabiliser(largest), accepted)
        return accepted

    def _keep_history_of(self, rejected: np.ndarray, slot: int) -> None:
        """Moves the history of rejected samples one slot on, so that all samples keep one slot order."""
        rows = torch.from_numpy(rejected).to(self._history.device)
        for j in range(_SLOTS - 1):
            to, source = (slot - j) % _SLOTS, (slot - j - 1) % _SLOTS
            self._times[rejected, to] = self._times[rejected, source]
            for kind in range(3):
                self._slots[kind][to][rows] = self._slots[kind][source][rows]

    def interpolate(self, sample: int, times: np.ndarray) -> torch.Tensor:
        """State of one sample at ``times`` (m,), within its last accepted step, as (m, component, F).

        A polynomial through the last four states (fewer at the start), whose error is that of the step.
        """
        slots = [(self._newest - j) % _SLOTS for j in range(_SLOTS)]
        nodes = self._times[sample, slots[: min(int(self._count[sample]), _SLOTS)]]
        weights = lagrange_weights(nodes, np.asarray(times))
        rows = self._history[sample, slots[: len(nodes)]]
        states = (torch.from_numpy(weights).to(rows) @ rows).reshape(len(times), *self._shape)
        if self.equation.conserves_mean:
            states[:, :, 0] = self._mean[sample]
        return states

    def newest(self) -> torch.Tensor:
        """The states last accepted (batch, component, F)."""
        return self._history[:, self._newest].reshape(-1, *self._shape)

    def keep(self, samples: np.ndarray) -> None:
        """Goes on with these samples alone (indices)."""
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


Number = TypeVar("Number", float, np.ndarray)
Weights = tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...], np.ndarray]


def multistep_weights(
    step: Number, ages: Sequence[Number]
) -> tuple[tuple[Number, Number, Number], tuple[Number, Number, Number], Number]:
    """Variable-step weights of order 3 for the step from t to t + step.

    Args:
        step: step size h, a number or (batch,).
        ages: three, each like ``step``: t - t_j of the history, newest first: 0, then positive and growing. History
            that does not exist yet may be given huge, distinct ages: its weights vanish and the order falls by one
            for each.

    Returns:
        extrapolation weights e_j and BDF weights a_j, three each, and b h, such that
        u_new = sum a_j u_j + b h du/dt(t + h).
    """
    h2, h3 = step + ages[1], step + ages[2]
    r12, r13, r23 = step / h2, step / h3, h2 / h3
    c12, c13, c23 = 1.0 - r12, 1.0 - r13, 1.0 - r23
    e0 = 1.0 / (c12 * c13)
    e1 = -r12 / (c12 * c23)
    e2 = r13 * r23 / (c13 * c23)
    # b h = 1 / (1/h + 1/h2 + 1/h3), and a_j = e_j b h / h_j.
    share = 1.0 / (1.0 + r12 + r13)
    return (e0, e1, e2), (e0 * share, e1 * r12 * share, e2 * r13 * share), step * share


def lagrange_weights(nodes: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(point, node) weights of polynomial interpolation from values at ``nodes``."""
    weights = np.ones((len(points), len(nodes)))
    for j, node in enumerate(nodes):
        for m, other in enumerate(nodes):
            if m != j:
                weights[:, j] *= (points - other) / (node - other)
    return weights
