"""Measures of forecasts: pure functions over batches of images and of statistics.

Images are (..., y, x) and every function keeps the leading axes unless it says otherwise. Nothing here knows what a
model is.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import torch

from solvers.errors import InputError

#: Scope of the SSIM's window at the edge of an image; see :func:`ssim`.
Edges = Literal["periodic", "no_flux", "interior"]

# Wang et al. (2004): a Gaussian window of 11 x 11 cells, sigma 1.5; C1 = (0.01 L)^2, C2 = (0.03 L)^2, L = 1.
_SIGMA, _RADIUS = 1.5, 5
_C1, _C2 = 0.01**2, 0.03**2
# Images handled at a time, in cells: five filtered copies then fit a core's cache.
_CHUNK_CELLS = 2**17


def to_image(field: torch.Tensor, process: str) -> torch.Tensor:
    """Fields as images with data range 1, by the one map that every figure of the evaluation uses.

    Cahn-Hilliard: (c + 1) / 2, affine and not clipped, so that an RMSE is half the RMSE in c. Grain growth: phi as it
    is, clipped to [0, 1] (phi overshoots 1 by less than 0.1 % inside grains).

    Args:
        field: (..., y, x), dimensionless.
        process: ``"cahn_hilliard"`` or ``"grain_growth"``.

    Returns:
        (..., y, x).

    Raises:
        InputError: for another process.
    """
    if process == "cahn_hilliard":
        return 0.5 * (field + 1.0)
    if process == "grain_growth":
        return field.clamp(0.0, 1.0)
    raise InputError(f"process: cahn_hilliard or grain_growth, but got {process!r}")


def from_image(image: torch.Tensor, process: str) -> torch.Tensor:
    """The inverse of :func:`to_image` (where it clips, the image itself)."""
    to_image(image[..., :0, :0], process)
    return 2.0 * image - 1.0 if process == "cahn_hilliard" else image


def _same_shape(image: torch.Tensor, reference: torch.Tensor) -> None:
    if image.shape != reference.shape or image.ndim < 2:
        raise InputError(f"images: one shape (..., y, x), but got {tuple(image.shape)} and {tuple(reference.shape)}")


def rmse(image: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Root mean square difference of each frame: two (..., y, x) -> (...), units of the images.

    Raises:
        InputError: for different shapes.
    """
    _same_shape(image, reference)
    return (image - reference).square().mean((-2, -1)).sqrt()


def ssim(image: torch.Tensor, reference: torch.Tensor, edges: Edges = "periodic") -> torch.Tensor:
    """Structural similarity of each frame, averaged over it.

    Wang, Bovik, Sheikh and Simoncelli (2004), doi:10.1109/TIP.2003.819861, eq. 13, with their Gaussian window
    (11 x 11 cells, sigma 1.5), population covariances and constants for a data range of 1.

    Args:
        image, reference: (..., y, x), data range 1.
        edges: ``"periodic"`` wraps the window around, ``"no_flux"`` mirrors the image at its edges, ``"interior"``
            averages only over cells whose window lies inside the image, as scikit-image does.

    Returns:
        (...), 1 for equal images.

    Raises:
        InputError: for different shapes, or for ``"interior"`` an image smaller than the window.
    """
    _same_shape(image, reference)
    lead, (height, width) = image.shape[:-2], image.shape[-2:]
    along_y, along_x = (_window(n, edges).to(image) for n in (height, width))
    x, y = image.reshape(-1, height, width), reference.reshape(-1, height, width)
    rows = max(1, _CHUNK_CELLS // (height * width))
    parts = [_ssim(a, b, along_y, along_x.T) for a, b in zip(x.split(rows), y.split(rows), strict=True)]
    return torch.cat(parts).reshape(lead)


def _ssim(x: torch.Tensor, y: torch.Tensor, along_y: torch.Tensor, along_x: torch.Tensor) -> torch.Tensor:
    """(frame, y, x) twice -> (frame,)."""
    moments = torch.stack([x, y, x * x, y * y, x * y])
    mean_x, mean_y, square_x, square_y, product = along_y @ moments @ along_x
    across = mean_x * mean_y
    squares = mean_x.square() + mean_y.square()
    variances = square_x + square_y - squares
    luminance = (2.0 * across + _C1) / (squares + _C1)
    structure = (2.0 * (product - across) + _C2) / (variances + _C2)
    return (luminance * structure).mean((-2, -1))


@lru_cache(maxsize=32)
def _window(cells: int, edges: Edges) -> torch.Tensor:
    """(m, cells) float64: the window's weighted mean along one axis, m = cells (less at ``"interior"``).

    A small dense matrix serves every kind of edge, and costs less than a convolution at these sizes.
    """
    if edges == "interior" and cells < 2 * _RADIUS + 1:
        raise InputError(f"ssim: images of at least {2 * _RADIUS + 1} cells a side, but got {cells}")
    offsets = np.arange(-_RADIUS, _RADIUS + 1)
    weights = np.exp(-0.5 * (offsets / _SIGMA) ** 2)
    weights /= weights.sum()
    matrix = np.zeros((cells, cells))
    for offset, weight in zip(offsets, weights, strict=True):
        at = np.arange(cells) + offset
        source = at % cells
        if edges == "no_flux":
            folded = at % (2 * cells)
            source = np.where(folded < cells, folded, 2 * cells - 1 - folded)
        np.add.at(matrix, (np.arange(cells), source), weight)
    inner = slice(_RADIUS, cells - _RADIUS) if edges == "interior" else slice(None)
    return torch.from_numpy(matrix[inner].copy())


def relative_l2(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """|values - reference| / |reference| over the last axis: two (..., k) -> (...)."""
    return _over(np.linalg.norm(values - reference, axis=-1), np.linalg.norm(reference, axis=-1))


def _over(error: np.ndarray, size: np.ndarray) -> np.ndarray:
    """error / |size|; NaN where the size is zero, for a relative error has no meaning there."""
    return np.divide(error, np.abs(size), out=np.full(np.shape(error), np.nan), where=np.asarray(size) != 0)


def structure_factor_error(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Relative L2 error of the structure factor averaged over trajectories.

    Args:
        values, reference: (trajectory, ..., k), S(k) on the same shells, each shell counted once.

    Returns:
        (...), dimensionless.
    """
    return relative_l2(values.mean(0), reference.mean(0))


def _halves(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    half = len(values) // 2
    return values[:half].mean(0), values[half : 2 * half].mean(0)


def structure_factor_floor(reference: np.ndarray) -> np.ndarray:
    """The same between the halves of the reference trajectories: (trajectory, ..., k) -> (...); NaN for fewer than 2.

    What two sets of seeds differ by: an error below it is not resolved by this many trajectories.
    """
    if len(reference) < 2:
        return np.full(reference.shape[1:-1], np.nan)
    return relative_l2(*_halves(reference))


def ensemble_error(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Relative error of the mean over trajectories: two (trajectory, ...) -> (...), |<v> - <r>| / |<r>|."""
    return _over(np.abs(values.mean(0) - reference.mean(0)), reference.mean(0))


def ensemble_floor(reference: np.ndarray) -> np.ndarray:
    """Relative difference of the means of the halves: (trajectory, ...) -> (...); NaN for fewer than 2."""
    if len(reference) < 2:
        return np.full(reference.shape[1:], np.nan)
    first, second = _halves(reference)
    return _over(np.abs(first - second), reference.mean(0))


def trajectory_error(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Relative error of each trajectory, averaged over them: two (trajectory, ...) -> (...)."""
    return _over(np.abs(values - reference), reference).mean(0)


def area_distance(areas: np.ndarray, reference: np.ndarray) -> float:
    """Wasserstein-1 distance of two distributions of grain areas, in units of the reference's mean area.

    Args:
        areas: (n,) positive areas, every grain counted once.
        reference: (m,) the same of the reference.

    Returns:
        Dimensionless; NaN where either is empty.
    """
    from scipy.stats import wasserstein_distance

    if areas.size == 0 or reference.size == 0:
        return math.nan
    return float(wasserstein_distance(areas, reference) / reference.mean())


def growth_exponent(lengths: np.ndarray, times: np.ndarray) -> np.ndarray:
    """n of L = A t^n by least squares of log L against log t.

    Args:
        lengths: (..., time), positive.
        times: (time,), positive, at least two.

    Returns:
        (...), dimensionless.

    Raises:
        InputError: for fewer than two times, or times that are not positive.
    """
    times = np.asarray(times, dtype=float)
    if times.size < 2 or times.min() <= 0:
        raise InputError(f"times: at least two, all positive, but got {times}")
    log_time = np.log(times) - np.log(times).mean()
    return (np.log(lengths) * log_time).sum(-1) / np.square(log_time).sum()


def mass_drift(fields: torch.Tensor, first: torch.Tensor) -> torch.Tensor:
    """Change of the spatial mean: (batch, time, y, x) against (batch, y, x) -> (batch, time), in float64."""
    return (fields.double().mean((-2, -1)) - first.double().mean((-2, -1))[:, None]).abs()
