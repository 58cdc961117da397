"""The periodic continuation of a field, for convolutions on periodic boxes."""

from __future__ import annotations

from typing import Any

import torch


class _Wrap(torch.autograd.Function):
    """:func:`wrap` with a backward pass that folds the margins back in place: torch's own makes six full copies."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, margin: int) -> torch.Tensor:
        ctx.margin = margin
        for dim in (-1, -2):
            cells = x.shape[dim]
            x = torch.cat([x.narrow(dim, cells - margin, margin), x, x.narrow(dim, 0, margin)], dim)
        return x

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        gradient, margin = gradients[0], ctx.margin
        for dim in (-2, -1):
            cells = gradient.shape[dim] - 2 * margin
            inner = gradient.narrow(dim, margin, cells).clone()
            inner.narrow(dim, cells - margin, margin).add_(gradient.narrow(dim, 0, margin))
            inner.narrow(dim, 0, margin).add_(gradient.narrow(dim, cells + margin, margin))
            gradient = inner
        return gradient, None


def wrap(x: torch.Tensor, margin: int) -> torch.Tensor:
    """(..., y, x) with ``margin`` cells of the periodic continuation on each side, however small the box.

    Twice as fast as torch's own circular padding on the CPU.
    """
    if margin <= min(x.shape[-2:]):
        return _Wrap.apply(x, margin)
    for dim in (-1, -2):
        index = torch.arange(-margin, x.shape[dim] + margin, device=x.device) % x.shape[dim]
        x = x.index_select(dim, index)
    return x
