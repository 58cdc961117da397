"""What a frame looks like in a handful of numbers that do not depend on the size of its box.

Means, spectral shares and quantiles over cells: a box of 1024 cells a side and one of 64 give the same numbers for the
same structure. These are the parts that :meth:`surrogate.processes.LearnedProcess.frame_features` of several processes
share. Fields are periodic, (batch, y, x), in the network's units.
"""

from __future__ import annotations

import math

import torch

HIGHEST = 0.75  # of the Nyquist wavenumber, along either axis
SMOOTHEST = 0.2  # share of the cells: inside phases and grains
TINY = 1e-16  # where a division must not fail
# Added before a logarithm: values far below it count as none. Frames without any structure are in a training set too
# (droplets that dissolve), and must not stretch the metric.
NO_INTERFACE, NO_SHARE, NO_ROUGHNESS = 0.01, 1e-5, 1e-3


def power_spectrum(field: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Power of each wave vector (batch, y, kx), summing to the variance, and |k| (y, kx) in rad/cell."""
    height, width = field.shape[1:]
    modes = torch.fft.rfft2(field)
    power = (modes * modes.conj()).real / (height * width) ** 2
    # Every column but the first, and the last of an even width, stands for two wave vectors.
    power[:, :, 1 : (width + 1) // 2] *= 2
    power[:, 0, 0] = 0.0
    ky = 2 * math.pi * torch.fft.fftfreq(height, dtype=torch.float64, device=field.device)
    kx = 2 * math.pi * torch.fft.rfftfreq(width, dtype=torch.float64, device=field.device)
    return power, torch.hypot(ky[:, None], kx[None, :])


def high_wavenumber_share(power: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
    """(batch,) log10 of the share of the variance beyond :data:`HIGHEST` of the Nyquist wavenumber of an axis."""
    height, columns = power.shape[1:]
    ky = torch.fft.fftfreq(height, device=power.device).abs() * 2
    kx = torch.arange(columns, device=power.device) / max(1, columns - 1)
    high = (ky[:, None] > HIGHEST) | (kx[None, :] > HIGHEST)
    return ((power * high).sum((1, 2)) / variance + NO_SHARE).log10()


def roughness(field: torch.Tensor) -> torch.Tensor:
    """(batch,) log10 of a low quantile of |field - mean of its four neighbours|: noise and grey levels show there."""
    neighbours = sum((field.roll(step, axis) for step in (1, -1) for axis in (1, 2)), torch.zeros_like(field))
    return low_quantile((field - neighbours / 4).abs().flatten(1), SMOOTHEST).add(NO_ROUGHNESS).log10()


def low_quantile(cells: torch.Tensor, share: float) -> torch.Tensor:
    """(batch,) of (batch, cell): torch's own quantile takes no more than 16 million cells."""
    return cells.kthvalue(max(1, round(share * cells.shape[1])), 1).values
