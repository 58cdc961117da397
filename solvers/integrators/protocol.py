"""What an integrator needs of an equation: nothing of its physics."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch

from solvers.spectral import Basis

# Share of the largest explicit decay rate that is treated implicitly (docs/experiments.md, "stabilisation").
STABILISER_SHARE = 0.75


class Equation(Protocol):
    """du/dt = N(u) - stiff * u in spectral coefficients (batch, component, F).

    ``stiff`` (batch or 1, 1, F) is diagonal and non-negative. A further part s * damping * u, s chosen by
    :meth:`stabiliser`, is added on both sides: implicit on the left, explicit on the right. It changes stability,
    not the solution. *Activity* is the mean and the largest value over the box of sum_components u^2.
    """

    stiff: torch.Tensor
    damping: torch.Tensor
    conserves_mean: bool

    @property
    def basis(self) -> Basis:
        """Basis of the coefficients."""

    def explicit(self, coefficients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """N(u) (batch, component, F), and the activity (2, batch)."""

    def magnitude(self, second_moment: np.ndarray, mean_square: np.ndarray) -> np.ndarray:
        """The mean square (batch,) that local errors are measured against, from the mean of sum_components u^2 and
        the sum of the squared means of the components."""

    def stabiliser(self, largest: np.ndarray) -> np.ndarray:
        """s (batch,), from the largest sum_components u^2."""

    def select(self, keep: torch.Tensor) -> Equation:
        """The equation of the samples in ``keep`` (indices)."""


def mean_and_max(square: torch.Tensor) -> torch.Tensor:
    """The activity (2, batch) of sum_components u^2 given cell by cell, (batch, ...)."""
    flat = square.flatten(1)
    return torch.stack([flat.mean(1), flat.amax(1)])
