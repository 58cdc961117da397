"""Frames: fields at the requested times, with the free energy of the resolved solution."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch


@dataclass(frozen=True)
class Frames:
    """Fields sampled on the user's grid.

    Attributes:
        field: (batch, time, *shape) composition, or phi = sum_i eta_i^2 for grain growth.
        free_energy: (batch, time) total free energy over the box, taken on the solver's own finer grid (energy).
        grain_id: (batch, time, *shape) int32 label of the grain that dominates each cell; None for Cahn-Hilliard.
        error_estimate: (batch, time) measured relative L2 error against the converged solution of the PDE, NaN where it
            was not measured; None where nothing measures it.
        others: further fields of a process, name -> (batch, time, *shape).
    """

    field: torch.Tensor
    free_energy: torch.Tensor
    grain_id: torch.Tensor | None = None
    error_estimate: torch.Tensor | None = None
    others: Mapping[str, torch.Tensor] = dataclasses.field(default_factory=dict)

    @cached_property
    def finite(self) -> torch.Tensor:
        """bool (batch, time): frames without NaN or infinity."""
        # With one of them the sum is not finite either; where it only overflowed, every value is looked at.
        good = torch.isfinite(self.field.flatten(2).sum(-1))
        if not bool(good.all()):
            good[~good] = torch.isfinite(self.field[~good]).flatten(1).all(-1)
        return good

    def named(self) -> dict[str, torch.Tensor]:
        """Every field by the name of its variable in a store."""
        grains = {} if self.grain_id is None else {"grain_id": self.grain_id}
        return {"field": self.field, **grains, **self.others}
