"""What a frame looks like in a handful of numbers that do not depend on the size of its box.

A model knows frames like those it was trained on. These features tell whether a frame is one of them: means, spectral
shares and quantiles over cells, so that a box of 1024 cells a side and one of 64 give the same numbers for the same
structure. Fields are (batch, y, x), composition scaled to [-1, 1] or phi = sum_i eta_i^2.
"""

from __future__ import annotations

import math

import torch

from solvers.errors import InputError
from solvers.grids.even_extension import mirrored
from solvers.qois.interfaces import GRADIENT_PER_INTERFACE
from surrogate.rollout.dimensionless import CAHN_HILLIARD, GRAIN_GROWTH

FEATURES = {
    CAHN_HILLIARD: (
        "standard deviation over sqrt(1 - c0^2)",
        "log interface density times interface length",
        "log domain size in cells",
        "log share of cells beyond |c| = 1.2",
        "log10 share of energy at the highest wavenumbers",
        "log10 roughness of the smoothest cells",
        "log ratio of bulk to gradient energy",
        "log kappa in cells",
    ),
    GRAIN_GROWTH: (
        "log mean of 1 - phi",
        "log boundary density times interface length",
        "low quantile of phi",
        "high quantile of phi",
        "log10 share of energy at the highest wavenumbers",
        "log10 roughness of the smoothest cells",
        "log kappa in cells",
    ),
}
#: Differences of each feature that mean nothing, in its own units: a frame is never farther out for less than these.
FLOORS = {
    CAHN_HILLIARD: (0.01, 0.02, 0.02, 0.1, 0.1, 0.1, 0.02, 0.05),
    GRAIN_GROWTH: (0.02, 0.02, 0.01, 0.005, 0.1, 0.1, 0.05),
}
BEYOND = 1.2  # |c| that a phase between its minima at -1 and 1 reaches in the smallest droplets only
HIGHEST = 0.75  # of the Nyquist wavenumber, along either axis
SMOOTHEST = 0.2  # share of the cells: inside phases and grains
EXTREMES = 0.005  # quantiles in place of extremes, which grow with the number of cells
TINY = 1e-16  # where a division must not fail
# Added before a logarithm: what is far below it is none, however far. Frames without any structure are in a training
# set too (droplets that dissolve), and must not stretch the metric.
NO_INTERFACE, NO_ENERGY, NO_SHARE, NO_ROUGHNESS, NO_OVERSHOOT = 0.01, 0.01, 1e-5, 1e-3, 0.02


def frame_features(process: str, field: torch.Tensor, kappa: torch.Tensor, boundary: str = "periodic") -> torch.Tensor:
    """The features of frames, in the order of ``FEATURES[process]``.

    Args:
        process: ``cahn_hilliard`` or ``grain_growth``.
        field: (batch, y, x), scaled to [-1, 1], or phi.
        kappa: (batch,) kappa / (W dx^2), the squared interface length in cells.
        boundary: no-flux fields are evenly extended, which makes them periodic.

    Returns:
        (batch, feature) float64. Frames that are not finite give NaN.

    Raises:
        InputError: for another process, or shapes that do not fit.
    """
    if process not in FEATURES:
        raise InputError(f"process: one of {', '.join(FEATURES)}, but got {process!r}")
    if field.ndim != 3 or kappa.shape != field.shape[:1]:
        shapes = f"{tuple(field.shape)} and {tuple(kappa.shape)}"
        raise InputError(f"frame_features: a field (batch, y, x) and kappa (batch,), but got {shapes}")
    with torch.no_grad():
        field = field.double()
        if boundary == "no_flux":
            field = mirrored(field, 2)
        features = cahn_hilliard_features if process == CAHN_HILLIARD else grain_growth_features
        found = features(field, kappa.double())
        finite = torch.isfinite(field).flatten(1).all(1, keepdim=True)
        return torch.where(finite, found, torch.nan)


def cahn_hilliard_features(field: torch.Tensor, kappa: torch.Tensor) -> torch.Tensor:
    """(batch, 8) of periodic compositions (batch, y, x) scaled to [-1, 1]."""
    mean = field.mean((1, 2))
    power, k = _power(field)
    variance = power.sum((1, 2)).clamp_min(TINY)
    gradient = (power * k**2).sum((1, 2)) * kappa
    bulk = (field**2 - 1).square().mean((1, 2)) / 4
    size = 2 * math.pi * variance / (power * k).sum((1, 2)).clamp_min(TINY)
    columns = [
        variance.sqrt() / (1 - mean**2).clamp_min(0.05).sqrt(),
        # As solvers.qois.interface_density_of, times the interface length.
        (gradient / GRADIENT_PER_INTERFACE + NO_INTERFACE).log(),
        size.log(),
        ((field.abs() > BEYOND).double().mean((1, 2)) + NO_OVERSHOOT).log(),
        _highest(power, variance),
        _roughness(field),
        # Interfaces in equilibrium hold as much of the one as of the other.
        ((bulk + NO_ENERGY) / (gradient / 2 + NO_ENERGY)).log(),
        kappa.log(),
    ]
    return torch.stack(columns, 1)


def grain_growth_features(field: torch.Tensor, kappa: torch.Tensor) -> torch.Tensor:
    """(batch, 7) of periodic phi (batch, y, x)."""
    power, _ = _power(field)
    slope = torch.hypot(*((field.roll(-1, axis) - field.roll(1, axis)) / 2 for axis in (1, 2)))
    cells = field.flatten(1)
    columns = [
        ((1 - cells).mean(1).clamp_min(0.0) + NO_INTERFACE).log(),
        (slope.mean((1, 2)) * kappa.sqrt() + NO_INTERFACE).log(),
        _quantile(cells, EXTREMES),
        -_quantile(-cells, EXTREMES),
        _highest(power, power.sum((1, 2)).clamp_min(TINY)),
        _roughness(field),
        kappa.log(),
    ]
    return torch.stack(columns, 1)


def _power(field: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
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


def _highest(power: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
    """(batch,) log10 of the share of the variance beyond :data:`HIGHEST` of the Nyquist wavenumber of an axis."""
    height, columns = power.shape[1:]
    ky = torch.fft.fftfreq(height, device=power.device).abs() * 2
    kx = torch.arange(columns, device=power.device) / max(1, columns - 1)
    high = (ky[:, None] > HIGHEST) | (kx[None, :] > HIGHEST)
    return ((power * high).sum((1, 2)) / variance + NO_SHARE).log10()


def _roughness(field: torch.Tensor) -> torch.Tensor:
    """(batch,) log10 of a low quantile of |field - mean of its four neighbours|: noise and grey levels show there."""
    neighbours = sum((field.roll(step, axis) for step in (1, -1) for axis in (1, 2)), torch.zeros_like(field))
    return _quantile((field - neighbours / 4).abs().flatten(1), SMOOTHEST).add(NO_ROUGHNESS).log10()


def _quantile(cells: torch.Tensor, share: float) -> torch.Tensor:
    """(batch,) of (batch, cell): torch's own quantile takes no more than 16 million cells."""
    return cells.kthvalue(max(1, round(share * cells.shape[1])), 1).values
