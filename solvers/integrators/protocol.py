"""What an integrator needs of an equation: nothing of its physics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from solvers.grids.spectral_basis import Basis

# Share of the largest explicit decay rate that is treated implicitly (docs/experiments.md, "stabilisation").
STABILISER_SHARE = 0.75


#: Compiled explicit terms of one sample, as those of :mod:`solvers.processes.terms`.
Explicit = Callable[..., float]


@dataclass(frozen=True)
class CompiledTerms:
    """What a compiled trajectory needs of an equation, for each sample by its index.

    Attributes:
        explicit: its explicit terms.
        fields, spectra: how many arrays (component, *shape) and (component, F) they need for work.
        rows: (row, F) coefficients by mode, in the precision of the basis.
        numbers: (number,) float64.
        stabiliser: slope and offset of s as a function of the largest sum of squared components.
    """

    explicit: Explicit
    fields: int
    spectra: int
    rows: Callable[[int], np.ndarray]
    numbers: Callable[[int], np.ndarray]
    stabiliser: Callable[[int], tuple[float, float]]


class Equation(Protocol):
    """du/dt = N(u) - stiff * u in spectral coefficients (batch, component, F).

    ``order`` (batch or 1,) is the highest order, 2 or 3, at which its explicit part may be extrapolated.
    ``stiff`` (batch or 1, 1, F) is diagonal and non-negative; ``damping`` is (F,). A further part s * damping * u,
    s chosen by :meth:`stabiliser`, is added on both sides: implicit on the left, explicit on the right. It changes
    stability, not the solution. ``scale_weights`` (batch or 1, F, 1) say what local errors are measured against:
    the sum of weight * coefficient^2 over all components.
    """

    stiff: torch.Tensor
    damping: torch.Tensor
    scale_weights: torch.Tensor
    conserves_mean: bool
    order: np.ndarray

    @property
    def basis(self) -> Basis:
        """Basis of the coefficients."""

    def explicit(self, coefficients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """N(u) (batch, component, F), and the largest sum_components u^2 in the box (batch,)."""

    def stabiliser(self, largest: np.ndarray) -> np.ndarray:
        """s (batch,), from the largest sum_components u^2."""

    def select(self, keep: torch.Tensor) -> Equation:
        """The equation of the samples in ``keep`` (indices)."""


def resolved_scale(basis: Basis, kappa: torch.Tensor) -> torch.Tensor:
    """Scale weights (batch or 1, F, 1) that count a mode by how much of it outlives the first moments.

    White noise has most of its norm in modes far above the interface's wavenumber, gone before anything grows:
    measured against all of it, errors in the modes that do grow would look ten times too small.
    """
    rows = kappa[:1] if bool((kappa == kappa[0]).all()) else kappa
    decay = (rows.to(basis.k2)[:, None] * basis.k2).square()
    return (basis.weights / (1.0 + decay)).unsqueeze(-1)
