"""What an integrator needs of an equation: nothing of its physics."""

from __future__ import annotations

from typing import Protocol

import torch

from solvers.spectral import Basis


class Equation(Protocol):
    """du/dt = N(u) - stiff * u in spectral coefficients (batch, component, F).

    ``stiff`` (batch or 1, 1, F) is diagonal and non-negative. A further part s * damping * u, s chosen by
    :meth:`stabiliser`, is added on both sides: implicit on the left, explicit on the right. It changes stability,
    not the solution.
    """

    basis: Basis
    stiff: torch.Tensor
    damping: torch.Tensor
    conserves_mean: bool

    def explicit(self, coefficients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """N(u) (batch, component, F), and the mean of sum_components u^2 (batch,)."""

    def magnitude(self, second_moment: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
        """The mean square (batch,) that local errors are measured against, from the second moment and the means
        (batch, component)."""

    def stabiliser(self, second_moment: torch.Tensor) -> torch.Tensor:
        """s (batch,) for a state with this second moment."""

    def select(self, keep: torch.Tensor) -> Equation:
        """The equation of the samples in ``keep`` (indices)."""
