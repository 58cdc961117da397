"""How alike images are: RMSE and SSIM of single frames. Images are (..., y, x), data range 1."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch

from solvers.errors import InputError

#: How the SSIM's window is continued at the edge of an image; see :func:`ssim`.
Edges = Literal["periodic", "no_flux", "interior"]

# Wang et al. (2004): a Gaussian window of 11 x 11 cells, sigma 1.5; C1 = (0.01 L)^2, C2 = (0.03 L)^2, L = 1.
_SIGMA, _RADIUS = 1.5, 5
_C1, _C2 = 0.01**2, 0.03**2
# Images handled at a time, in cells: five filtered copies then fit a core's cache.
_CHUNK_CELLS = 2**17


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


@dataclass(frozen=True)
class ImageErrors:
    """Image metrics of one forecast: ``rmse`` and ``ssim`` (clip, frame)."""

    rmse: np.ndarray
    ssim: np.ndarray

    @classmethod
    def of(cls, images: torch.Tensor, truth: torch.Tensor, edges: Edges) -> ImageErrors:
        """Of images (clip, frame, y, x) against others."""
        return cls(rmse(images, truth).numpy(), ssim(images, truth, edges).numpy())

    def at(self, frames: slice | np.ndarray) -> ImageErrors:
        """Some of the frames."""
        return ImageErrors(self.rmse[:, frames], self.ssim[:, frames])
