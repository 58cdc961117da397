"""Checks of the arguments of the solvers; each error is one line."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from solvers.errors import InputError
from solvers.grids.grid import Grid

Times = Sequence[float] | np.ndarray | torch.Tensor


def check_fields(fields: torch.Tensor, grid: Grid, layout: str) -> torch.Tensor:
    """``fields`` (batch, ..., *shape) as a tensor; ``layout`` names the expected axes in messages.

    Raises:
        InputError: for the wrong number of axes, another shape than the grid's, an empty batch, NaN or infinity.
    """
    fields = torch.as_tensor(fields)
    expected = layout.count(",") + grid.ndim
    if fields.ndim != expected or tuple(fields.shape[-grid.ndim :]) != grid.shape or 0 in fields.shape:
        raise InputError(f"initial: {layout} with shape = {grid.shape}, but got {tuple(fields.shape)}")
    if not bool(torch.isfinite(fields).all()):
        raise InputError("initial: finite values, but got NaN or infinity")
    return fields


def check_times(times: Times, batch: int) -> np.ndarray:
    """Requested times as a (batch, time) float64 array.

    Raises:
        InputError: unless finite, >= 0 and increasing (non-decreasing in the (batch, time) form).
    """
    rows = torch.as_tensor(times, dtype=torch.float64).detach().cpu().numpy() if len(times) else np.zeros(0)
    if rows.ndim not in (1, 2) or rows.size == 0 or (rows.ndim == 2 and len(rows) != batch):
        raise InputError(f"times: (time,) or ({batch}, time), at least one, but got shape {rows.shape}")
    if not np.isfinite(rows).all() or rows.min() < 0:
        raise InputError("times: finite and >= 0, but got a value that is not")
    gaps = np.diff(rows, axis=-1)
    if (rows.ndim == 1 and (gaps <= 0).any()) or (gaps < 0).any():
        raise InputError("times: must increase, but got a later time that is not larger")
    return np.broadcast_to(rows, (batch, rows.shape[-1])).copy()
