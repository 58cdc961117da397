"""Encoder and decoder of a jump network on the CPU, for running it: field to coarse cells, features to increments.

Torch pads, copies and reorders there in passes of their own, which took two thirds of a frame's time. Here a 3 x 3
convolution is one product of matrices with a compiled gathering of cells before it (where there are few channels in) or
after it (where there are few out). Training goes through torch's own layers, which have a backward pass.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from solvers.compiled import compiled_sums

#: Coarse cells that go through the head together: their features, and nine times their cells, stay in the cache.
CELLS_TOGETHER = 1024


def runs_here(x: torch.Tensor) -> bool:
    """Whether these passes serve: the CPU, no gradient wanted, no products in another precision."""
    return (
        x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
    )


@compiled_sums
def _surroundings(field: np.ndarray, patch: int, out: np.ndarray) -> None:
    """out (b, y, x, 9 patch^2): the cells of the coarse cell's 3 x 3 surroundings in field (b, y patch, x patch)."""
    batch, rows, columns, cells = out.shape
    for b in range(batch):
        for y in range(rows):
            for tap in range(cells // (patch * patch)):
                top, right, first = (y + tap // 3 - 1) % rows * patch, tap % 3 - 1, tap * patch * patch
                for x in range(columns):
                    cell, left, place = out[b, y, x], (x + right) % columns * patch, first
                    for i in range(patch):
                        line = field[b, top + i]
                        for j in range(patch):
                            cell[place] = line[left + j]
                            place += 1


@compiled_sums
def _modulated(features: np.ndarray, owners: np.ndarray, gain: np.ndarray, shift: np.ndarray, out: np.ndarray) -> None:
    """out (m, cell, c) = features[owners] gain + shift; features (n, cell, c), gain, shift (m, c)."""
    for m in range(len(owners)):
        source = features[owners[m]]
        for cell in range(source.shape[0]):
            for c in range(source.shape[1]):
                out[m, cell, c] = source[cell, c] * gain[m, c] + shift[m, c]


@compiled_sums
def _gathered(
    taps: np.ndarray, bias: np.ndarray, share: np.ndarray, patch: int, total: np.ndarray, out: np.ndarray
) -> None:
    """out (m, y patch, x patch) = share (sum over taps + bias); taps (m, y, x, 9 patch^2), ``total`` for work."""
    count, rows, columns, cells = taps.shape
    size = len(bias)
    for m in range(count):
        for y in range(rows):
            for x in range(columns):
                for k in range(size):
                    total[k] = bias[k]
                for tap in range(cells // size):
                    source = taps[m, (y + tap // 3 - 1) % rows, (x + tap % 3 - 1) % columns]
                    for k in range(size):
                        total[k] += source[tap * size + k]
                for i in range(patch):
                    target = out[m, y * patch + i]
                    for j in range(patch):
                        target[x * patch + j] = share[m] * total[i * patch + j]


def stem(field: torch.Tensor, layer: torch.nn.Conv2d, patch: int) -> torch.Tensor:
    """The first layer: (b, y, x) to (b, y / patch, x / patch, width)."""
    batch, rows, columns = len(field), field.shape[1] // patch, field.shape[2] // patch
    cells = field.new_empty(batch, rows, columns, 9 * patch**2)
    _surroundings(field.contiguous().numpy(), patch, cells.numpy())
    assert layer.bias is not None
    weight = layer.weight.permute(0, 2, 3, 1).flatten(1)
    return F.linear(cells, weight).add_(layer.bias)


def head(
    features: torch.Tensor,
    owners: torch.Tensor,
    modulation: tuple[torch.Tensor, torch.Tensor],
    share: torch.Tensor,
    mix: torch.nn.Linear,
    layer: torch.nn.Conv2d,
    patch: int,
) -> torch.Tensor:
    """The last layers, for some frames: (m, y, x), those of ``owners`` (m,) of features (n, y', x', width).

    Args:
        modulation: gain and shift (m, width) of the features.
        share: (m,) factor of the result.
        mix, layer: 1 x 1, then 3 x 3 to ``patch^2`` channels.
        patch: cells a side of a coarse cell.
    """
    rows, columns, width = features.shape[1:]
    flat = features.contiguous().view(len(features), rows * columns, width)
    gain, shift = (part.contiguous() for part in modulation)
    assert layer.bias is not None
    outer = layer.weight.permute(2, 3, 0, 1).flatten(0, 2)  # (9 patch^2, width)
    out = features.new_empty(len(owners), rows * patch, columns * patch)
    total = np.empty_like(layer.bias.numpy())
    size = max(1, CELLS_TOGETHER // (rows * columns))
    for low in range(0, len(owners), size):
        part = slice(low, low + size)
        x = features.new_empty(len(owners[part]), rows * columns, width)
        _modulated(flat.numpy(), owners[part].numpy(), gain[part].numpy(), shift[part].numpy(), x.numpy())
        x = F.silu(F.linear(x, mix.weight).add_(mix.bias), inplace=True)
        taps = F.linear(x, outer).view(len(x), rows, columns, -1)
        _gathered(taps.numpy(), layer.bias.numpy(), share[part].contiguous().numpy(), patch, total, out[part].numpy())
    return out
