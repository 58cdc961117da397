"""The user's grid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from solvers.errors import InputError

Boundary = Literal["periodic", "no_flux"]


@dataclass(frozen=True)
class Grid:
    """A uniform grid of cells, values at cell centres.

    Args:
        shape: cells along (y, x), or (z, y, x); each at least 4.
        spacing: cell size dx, the same along every axis (length).
        boundary: ``"periodic"``, or ``"no_flux"``: zero normal derivative at the faces, half a cell off outer centres.

    Raises:
        InputError: for a shape, spacing or boundary outside these bounds.
    """

    shape: tuple[int, ...]
    spacing: float = 1.0
    boundary: Boundary = "periodic"

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        object.__setattr__(self, "shape", shape)
        if len(shape) not in (2, 3) or min(shape) < 4:
            raise InputError(f"Grid.shape: 2 or 3 axes of at least 4 cells each, but got {self.shape}")
        if not (math.isfinite(self.spacing) and self.spacing > 0):
            raise InputError(f"Grid.spacing: a positive length, but got {self.spacing}")
        if self.boundary not in ("periodic", "no_flux"):
            raise InputError(f"Grid.boundary: 'periodic' or 'no_flux', but got {self.boundary!r}")

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def cells(self) -> int:
        return math.prod(self.shape)

    @property
    def lengths(self) -> tuple[float, ...]:
        """Box length along each axis."""
        return tuple(n * self.spacing for n in self.shape)

    @property
    def cell_volume(self) -> float:
        """Area (2-D) or volume (3-D) of a cell."""
        return self.spacing**self.ndim
