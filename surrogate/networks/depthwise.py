"""The depthwise convolution of a block with its modulation, channels last, on a periodic grid.

    out[b, y, x, c] = gain[b, c] (sum over taps weight[tap, c] field[b, y + dy, x + dx, c] + bias[c]) + shift[b, c]

Torch pads, convolves and modulates in five passes over memory, and its backward pass of a depthwise convolution takes
thirty times as long as the forward one. On the CPU both are compiled here, one pass each; elsewhere torch does them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from solvers.compiled import compiled_sums
from surrogate.networks.periodic import wrap


@compiled_sums
def _convolved(field: np.ndarray, weight: np.ndarray, bias: np.ndarray, gain: np.ndarray, out: np.ndarray) -> None:
    """``out`` without its shift. field, out (b, y, x, c); weight (ky, kx, c); bias, gain (b, c)."""
    batch, rows, columns, channels = field.shape
    height, width = weight.shape[:2]
    for b in range(batch):
        for y in range(rows):
            for x in range(columns):
                cell = out[b, y, x]
                for c in range(channels):
                    cell[c] = bias[b, c]
                for i in range(height):
                    line = field[b, (y + i - height // 2) % rows]
                    for j in range(width):
                        source = line[(x + j - width // 2) % columns]
                        tap = weight[i, j]
                        for c in range(channels):
                            cell[c] += tap[c] * source[c]
                for c in range(channels):
                    cell[c] *= gain[b, c]


@compiled_sums
def _convolved_3(field: np.ndarray, weight: np.ndarray, bias: np.ndarray, gain: np.ndarray, out: np.ndarray) -> None:
    """:func:`_convolved` for a kernel of 3 x 3, in half the time: sums stay in registers."""
    batch, rows, columns, channels = field.shape
    for b in range(batch):
        for y in range(rows):
            above, here, below = field[b, (y - 1) % rows], field[b, y], field[b, (y + 1) % rows]
            for x in range(columns):
                left, right = (x - 1) % columns, (x + 1) % columns
                for c in range(channels):
                    total = bias[b, c] + weight[0, 0, c] * above[left, c] + weight[0, 1, c] * above[x, c]
                    total += weight[0, 2, c] * above[right, c] + weight[1, 0, c] * here[left, c]
                    total += weight[1, 1, c] * here[x, c] + weight[1, 2, c] * here[right, c]
                    total += weight[2, 0, c] * below[left, c] + weight[2, 1, c] * below[x, c]
                    total += weight[2, 2, c] * below[right, c]
                    out[b, y, x, c] = gain[b, c] * total


@compiled_sums
def _products(field: np.ndarray, slope: np.ndarray, sums: np.ndarray) -> None:
    """sums (b, ky, kx, c), zero before: over all cells, the slope there times the field at each tap."""
    batch, rows, columns, channels = field.shape
    height, width = sums.shape[1:3]
    for b in range(batch):
        for y in range(rows):
            for i in range(height):
                line = field[b, (y + i - height // 2) % rows]
                for x in range(columns):
                    here = slope[b, y, x]
                    for j in range(width):
                        source = line[(x + j - width // 2) % columns]
                        total = sums[b, i, j]
                        for c in range(channels):
                            total[c] += here[c] * source[c]


class _Depthwise(torch.autograd.Function):
    """field (b, y, x, c), weight (ky, kx, c), bias (c,), gain and shift (b, c), all contiguous."""

    @staticmethod
    def forward(
        ctx: Any,
        field: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        gain: torch.Tensor,
        shift: torch.Tensor,
    ) -> torch.Tensor:
        out = _run(field, weight, bias.expand_as(gain), gain)
        out += shift[:, None, None]
        ctx.save_for_backward(field, weight, bias, gain)
        return out

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        field, weight, bias, gain = ctx.saved_tensors
        slope = slopes[0].contiguous()
        sums = torch.zeros(len(field), *weight.shape, dtype=field.dtype)
        _products(field.detach().numpy(), slope.numpy(), sums.numpy())
        total = slope.sum((1, 2))
        flipped = weight.flip(0, 1).contiguous()
        to_field = _run(slope, flipped, torch.zeros_like(gain), gain) if ctx.needs_input_grad[0] else None
        to_weight = (sums * gain[:, None, None]).sum(0)
        to_gain = (sums * weight).sum((1, 2)) + bias * total
        return to_field, to_weight, (gain * total).sum(0), to_gain, total


def _run(field: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
    out = torch.empty_like(field)
    arrays = [t.detach().contiguous().numpy() for t in (field, weight, bias, gain)]
    convolve = _convolved_3 if weight.shape[:2] == (3, 3) else _convolved
    convolve(arrays[0], arrays[1], arrays[2], arrays[3], out.numpy())
    return out


def depthwise_convolution(
    field: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, gain: torch.Tensor, shift: torch.Tensor
) -> torch.Tensor:
    """See the module's text: (b, y, x, c) to the same shape.

    ``weight`` (c, 1, k, k) as ``torch.nn.Conv2d`` keeps it, k odd and at most a side of the grid; bias (c,); gain,
    shift (b, c).
    """
    if field.device.type == "cpu" and field.dtype in (torch.float32, torch.float64):
        taps = weight[:, 0].permute(1, 2, 0).contiguous()
        return _Depthwise.apply(
            field.contiguous(), taps, bias, gain.to(field).contiguous(), shift.to(field).contiguous()
        )
        # type: ignore[no-any-return,no-untyped-call]
    margin = weight.shape[-1] // 2
    padded = wrap(field.permute(0, 3, 1, 2), margin)
    out = F.conv2d(padded, weight.to(field.dtype), bias.to(field.dtype), groups=len(weight)).permute(0, 2, 3, 1)
    return torch.addcmul(shift[:, None, None].to(out), out, gain[:, None, None].to(out))
