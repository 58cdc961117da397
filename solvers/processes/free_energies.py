"""Double wells, and the affine map that makes them all one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from solvers.errors import InputError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class DoubleWell:
    """The bulk free energy density f(c) = rho (c - ca)^2 (cb - c)^2.

    With c = centre + half_width * u it is half_width^2 * scale * (u^2 - 1)^2 / 4, so a Cahn-Hilliard problem in c
    is one in u, about [-1, 1], with well height ``scale`` (W), the same kappa, and a free energy
    half_width^2 times as large. The default rho = 1/4, ca = -1, cb = 1 is the standard (c^2 - 1)^2 / 4 with W = 1.

    Args:
        rho: height factor (energy / volume), positive.
        ca: composition of the first minimum.
        cb: composition of the second minimum, above ``ca``.

    Raises:
        InputError: outside these bounds.
    """

    rho: float = 0.25
    ca: float = -1.0
    cb: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.rho) and self.rho > 0):
            raise InputError(f"DoubleWell.rho: a positive number, but got {self.rho}")
        if not (math.isfinite(self.ca) and math.isfinite(self.cb) and self.ca < self.cb):
            raise InputError(f"DoubleWell: `ca < cb` must hold, but got ca={self.ca}, cb={self.cb}")

    @property
    def centre(self) -> float:
        """Composition half way between the minima."""
        return 0.5 * (self.ca + self.cb)

    @property
    def half_width(self) -> float:
        return 0.5 * (self.cb - self.ca)

    @property
    def scale(self) -> float:
        """W of the equivalent problem in u: 4 rho half_width^2."""
        return 4.0 * self.rho * self.half_width**2

    def to_scaled(self, composition: torch.Tensor) -> torch.Tensor:
        if self.centre == 0.0 and self.half_width == 1.0:
            return composition
        return (composition - self.centre) / self.half_width

    def from_scaled(self, scaled: torch.Tensor) -> torch.Tensor:
        if self.centre == 0.0 and self.half_width == 1.0:
            return scaled
        return self.centre + self.half_width * scaled

    def energy_density(self, composition: torch.Tensor) -> torch.Tensor:
        """f(c), pointwise (energy / volume)."""
        return self.rho * ((composition - self.ca) * (self.cb - composition)) ** 2
