"""Residuals of a fit: how large, how correlated, and the noise variance that accounts for them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from studies.twin.observations.frames import ObservedFrames

#: Correlation length of structured residuals along an axis, pixels: about an interface.
_STRUCTURE = 2.5


@dataclass(frozen=True)
class Residuals:
    """Observed minus predicted."""

    rms: np.ndarray  #: (time,) root mean square, share of the grey range
    #: root of the variance that neighbouring pixels share, which white noise has not; share of the grey range
    structured: float
    inflation: float  #: of sigma^2, at least 1, for residuals as large and as correlated as these


def residuals_of(frames: ObservedFrames, predicted: np.ndarray, sigma: float, span: float) -> Residuals:
    """Residuals of frames (time, y, x) against a prediction; ``sigma`` of its noise and its range ``span`` are grey
    values.
    """
    residual = frames.grey - predicted
    variance = float(np.nanmean(residual**2))
    shared, pairs = _neighbours(residual)
    # White noise gives 0 within the error of so many pairs.
    structured = max(0.0, shared - 3.0 * variance / np.sqrt(max(pairs, 1)))
    in_time = _in_time(residual)
    repeats = min(float(len(residual)), (1.0 + in_time) / max(1e-6, 1.0 - in_time)) if structured > 0 else 1.0
    widened = (max(variance - structured, 0.0) + structured * _STRUCTURE**2 * repeats) / sigma**2
    return Residuals(
        rms=np.sqrt(np.nanmean(residual**2, axis=(1, 2))) / span,
        structured=float(np.sqrt(structured)) / span,
        inflation=float(max(1.0, widened)),
    )


def _neighbours(residual: np.ndarray) -> tuple[float, int]:
    """Mean product of neighbouring pixels, and how many pairs of them."""
    along_y = residual[:, 1:] * residual[:, :-1]
    along_x = residual[:, :, 1:] * residual[:, :, :-1]
    products = np.concatenate([along_y.ravel(), along_x.ravel()])
    products = products[np.isfinite(products)]
    return (float(products.mean()), products.size) if products.size else (0.0, 0)


def _in_time(residual: np.ndarray) -> float:
    """Correlation of a pixel's residuals in consecutive frames, 0 to 1."""
    products = residual[1:] * residual[:-1]
    if not np.isfinite(products).any():
        return 0.0
    return float(np.clip(np.nanmean(products) / np.nanmean(residual**2), 0.0, 0.99))
