"""Variable-step third-order semi-implicit BDF, predict-evaluate-correct, one evaluation a step.

With history u_j and N_j = N(u*_j) at the last three times, step to t + h:

    predict   (1 + bh A) u* = sum a_j u_j + bh sum e_j (N_j + s D u*_j)
    evaluate  N* = N(u*)
    correct   (1 + bh A) u  = sum a_j u_j + bh (N* + s D u*)

with A = stiff + s D, variable-step BDF weights a_j, b and extrapolation weights e_j (Ascher, Ruuth and Wetton 1995,
doi:10.1137/0732037; Wang and Ruuth 2008 for variable steps). N* then enters the history, so that the correction is
free, divides the error by two to four, and u - u* estimates the local error. The stabilisation s may change from
step to step because the history keeps N and u* apart. Every sample of a batch has its own time and step, so an
answer does not depend on what else is in the batch.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from solvers.integrators.protocol import Equation

_SLOTS = 4  # three of history and the one being written
_ORDER = 3
_SAFETY = 0.9
_GROW = 2.0
_SHRINK = 0.3
_REJECT = 1.5  # accepted up to this multiple of the step tolerance
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
        steps, evaluations: accepted steps in all, evaluations of N per sample at most.
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
        self._history = initial.new_zeros((batch, 3 * _SLOTS, components * size))
        self._times = np.full((batch, _SLOTS), -np.inf)
        self._times[:, 0] = 0.0
        self._newest = 0
        self._count = np.ones(batch, dtype=np.int64)
        self._rejections = np.zeros(batch, dtype=np.int64)
        explicit, moment = equation.explicit(initial)
        for kind, rows in enumerate((initial, explicit, initial)):
            self._history[:, kind * _SLOTS] = rows.reshape(batch, -1)
        self._moment = moment
        self._stabiliser = equation.stabiliser(moment).double().cpu().numpy()
        self.step_size = self._first_step(initial, explicit, moment)

    def _first_step(self, initial: torch.Tensor, explicit: torch.Tensor, moment: torch.Tensor) -> np.ndarray:
        """A first step whose first-order error stays within the step tolerance: from |du/dt| / |u|."""
        rate = self._norm(explicit - self.equation.stiff * initial)
        scale = self.equation.magnitude(moment, self._mean).clamp_min(1e-300).sqrt()
        relative = (rate / scale).double().cpu().numpy()
        return 0.5 * np.sqrt(self.step_tolerance) / np.maximum(relative, 1e-12)

    def _norm(self, coefficients: torch.Tensor) -> torch.Tensor:
        return (coefficients.square() @ self.equation.basis.weights).sum(-1).sqrt()

    def _recent(self, kind: int = 0) -> list[int]:
        """History rows of one kind (0: u, 1: N, 2: u*), newest first."""
        return [kind * _SLOTS + (self._newest - j) % _SLOTS for j in range(_SLOTS - 1)]

    def step(self) -> np.ndarray:
        """Attempts one step of every sample; returns which were accepted (batch,)."""
        slot = (self._newest + 1) % _SLOTS
        history, basis = self._history, self.equation.basis
        order = np.minimum(self._count, _ORDER)
        known, past, beta_h, beta_h_s = self._combinations(order)
        # known = sum a u ; past = bh sum e (N + s D u*)
        denominator = (beta_h * self.equation.stiff).add_(beta_h_s * self.equation.damping).add_(1.0)
        predicted = (known + past).div_(denominator)
        explicit, moment = self.equation.explicit(predicted)
        self.evaluations += 1
        present = (beta_h * explicit).add_((beta_h_s * self.equation.damping) * predicted)
        correction = present.sub_(past).div_(denominator)
        corrected = predicted + correction
        square = (correction.square() @ basis.weights).sum(-1)
        magnitude = self.equation.magnitude(moment, self._mean)
        for kind, rows in enumerate((corrected, explicit, predicted)):
            history[:, kind * _SLOTS + slot] = rows.reshape(len(rows), -1)
        summary = torch.stack([square, magnitude, self.equation.stabiliser(moment).to(square)]).double().cpu().numpy()
        return self._control(summary, order, slot)

    def _combinations(self, order: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """History sums of the next step, and bh, bh s shaped (batch, 1, 1)."""
        batch = len(order)
        ages = self.time[:, None] - self._times[:, [r % _SLOTS for r in self._recent()]]
        extrapolation, bdf, beta_h = multistep_weights(self.step_size, ages, order)
        beta_h_s = beta_h * self._stabiliser
        weights = np.zeros((batch, 3, 3 * _SLOTS))
        weights[:, 0, self._recent(0)] = bdf
        weights[:, 1, self._recent(1)] = beta_h[:, None] * extrapolation
        weights[:, 2, self._recent(2)] = beta_h_s[:, None] * extrapolation
        sums = torch.bmm(torch.from_numpy(weights).to(self._history), self._history)
        sums = sums.reshape(batch, 3, *self._shape)
        past = torch.addcmul(sums[:, 1], self.equation.damping, sums[:, 2])
        scalars = torch.from_numpy(np.stack([beta_h, beta_h_s])).to(self._history)[:, :, None, None]
        return sums[:, 0], past, scalars[0], scalars[1]

    def _control(self, summary: np.ndarray, order: np.ndarray, slot: int) -> np.ndarray:
        """Accepts or rejects, commits times and history, sets the next steps."""
        square, magnitude, stabiliser = summary
        with np.errstate(all="ignore"):
            error = np.sqrt(square / np.maximum(magnitude, 1e-300))
            error = np.where(np.isfinite(error), error, np.inf)
            ratio = (self.step_tolerance / np.maximum(error, 1e-300)) ** (1.0 / (order + 1.0))
        accepted = (error <= _REJECT * self.step_tolerance) & ~self.diverged
        self.time = np.where(accepted, self.time + self.step_size, self.time)
        self._times[:, slot] = self.time
        self._stabiliser = np.where(accepted, stabiliser, self._stabiliser)
        self._count = np.where(accepted, self._count + 1, self._count)
        self._rejections = np.where(accepted, 0, self._rejections + 1)
        self.diverged |= self._rejections > _GIVE_UP
        factor = np.where(accepted, np.clip(_SAFETY * ratio, 0.5, _GROW), np.clip(0.8 * ratio, _SHRINK, 0.8))
        self.step_size = self.step_size * factor
        if accepted.any():
            if not accepted.all():
                self._keep_history_of(np.flatnonzero(~accepted), slot)
            self._newest = slot
        return accepted

    def _keep_history_of(self, rejected: np.ndarray, slot: int) -> None:
        """Moves the history of rejected samples one slot on, so that all samples keep one slot order."""
        rows = torch.from_numpy(rejected).to(self._history.device)
        for j in range(_SLOTS - 1):
            to, source = (slot - j) % _SLOTS, (slot - j - 1) % _SLOTS
            self._times[rejected, to] = self._times[rejected, source]
            for kind in range(3):
                self._history[rows, kind * _SLOTS + to] = self._history[rows, kind * _SLOTS + source]

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

    def keep(self, samples: np.ndarray) -> None:
        """Goes on with these samples alone (indices)."""
        index = torch.from_numpy(samples).to(self._history.device)
        self._history = self._history[index]
        self._mean = self._mean[index]
        self.equation = self.equation.select(torch.from_numpy(samples))
        for name in ("time", "diverged", "_times", "_count", "_rejections", "_stabiliser", "step_size"):
            setattr(self, name, getattr(self, name)[samples])

    def transform_history(self, transform: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Applies ``transform`` to every stored row, (batch * rows, component, F) to (batch * rows, component', F).

        For changes of representation that commute with the dynamics (a re-assignment of order parameters).
        """
        batch, rows, _ = self._history.shape
        changed = transform(self._history.reshape(batch * rows, *self._shape))
        self._shape = (changed.shape[1], changed.shape[2])
        self._history = changed.reshape(batch, rows, -1)
        self._mean = self._history[:, self._newest].reshape(batch, *self._shape)[:, :, 0].clone()


def multistep_weights(
    step: np.ndarray, ages: np.ndarray, order: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Variable-step weights for the step from t to t + step.

    Args:
        step: (batch,) step sizes h.
        ages: (batch, 3) t - t_j of the history, newest first (0, positive, positive).
        order: (batch,) order wanted, 1 to 3: history beyond it is left out.

    Returns:
        extrapolation weights e (batch, 3); BDF weights a (batch, 3); b h (batch,), such that
        u_new = sum a_j u_j + b h du/dt(t + h).
    """
    h1 = step
    # An absent node is one infinitely far away: its inverse distance is zero and its weight vanishes.
    g2 = np.where(order >= 2, 1.0 / (step + np.where(order >= 2, ages[:, 1], 0.0)), 0.0)
    g3 = np.where(order >= 3, 1.0 / (step + np.where(order >= 3, ages[:, 2], 0.0)), 0.0)
    r12, r13 = h1 * g2, h1 * g3
    r23 = np.where(order >= 3, g3 / np.where(g2 > 0, g2, 1.0), 0.0)
    e0 = 1.0 / ((1.0 - r12) * (1.0 - r13))
    e1 = -r12 / ((1.0 - r12) * (1.0 - r23))
    e2 = r13 * r23 / ((1.0 - r13) * (1.0 - r23))
    beta_h = 1.0 / (1.0 / h1 + g2 + g3)
    extrapolation = np.stack([e0, e1, e2], axis=1)
    bdf = extrapolation * np.stack([1.0 / h1, g2, g3], axis=1) * beta_h[:, None]
    return extrapolation, bdf, beta_h


def lagrange_weights(nodes: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(point, node) weights of polynomial interpolation from values at ``nodes``."""
    weights = np.ones((len(points), len(nodes)))
    for j, node in enumerate(nodes):
        for other in np.delete(nodes, j):
            weights[:, j] *= (points - other) / (node - other)
    return weights
