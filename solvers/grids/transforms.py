"""Spectral transforms inside compiled loops: pocketfft's, called without Python (rocket-fft, BSD).

The same numbers as :mod:`solvers.grids.spectral_basis` to rounding. ``spectrum`` and ``field`` are C-contiguous arrays
with a leading component axis: (component, *half spectrum) complex or (component, *shape) real coefficients, and
(component, *shape) values; ``axes`` are those of space, ``scaling`` (2, *shape) factors of the cosine transforms before
the inverse and after the forward one, which the Fourier transforms leave alone.
"""

from __future__ import annotations

import numpy as np
from rocket_fft import c2r, dct, r2c

from solvers.compiled import compiled


@compiled
def fourier_inverse(spectrum: np.ndarray, field: np.ndarray, axes: np.ndarray, scaling: np.ndarray) -> None:  # noqa: ARG001
    """Half-spectra (component, *half) to values (component, *shape)."""
    c2r(spectrum, field, axes, False, 1.0, 1)


@compiled
def fourier_forward(field: np.ndarray, spectrum: np.ndarray, axes: np.ndarray, scaling: np.ndarray) -> None:  # noqa: ARG001
    """Values (component, *shape) to half-spectra (component, *half)."""
    r2c(field, spectrum, axes, True, np.float64(len(field)) / np.float64(field.size), 1)


@compiled
def cosine_inverse(spectrum: np.ndarray, field: np.ndarray, axes: np.ndarray, scaling: np.ndarray) -> None:
    """Cosine coefficients to values, both (component, *shape)."""
    before = scaling[0].reshape(-1)
    for g in range(len(field)):
        to, source = field[g].reshape(-1), spectrum[g].reshape(-1)
        for i in range(len(before)):
            to[i] = before[i] * source[i]
    dct(field, field, axes, 3, 1.0, False, 1)


@compiled
def cosine_forward(field: np.ndarray, spectrum: np.ndarray, axes: np.ndarray, scaling: np.ndarray) -> None:
    """Values to cosine coefficients, both (component, *shape)."""
    dct(field, spectrum, axes, 2, np.float64(len(field)) / np.float64(field.size), False, 1)
    after = scaling[1].reshape(-1)
    for g in range(len(spectrum)):
        row = spectrum[g].reshape(-1)
        for i in range(len(after)):
            row[i] *= after[i]


def cosine_scaling(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """(2, *shape): pocketfft counts every coefficient but the first along an axis twice."""
    before, after = np.ones(shape), np.ones(shape)
    for axis in range(len(shape)):
        first = [slice(None)] * len(shape)
        rest = list(first)
        first[axis], rest[axis] = slice(0, 1), slice(1, None)
        before[tuple(rest)] *= 0.5
        after[tuple(first)] *= 0.5
    return np.stack([before, after]).astype(dtype)
