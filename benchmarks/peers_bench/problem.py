"""The one problem every contender solves, and how an answer is judged.

Cahn-Hilliard, ``c_t = M lap(c^3 - c - kappa lap c)`` with M = kappa = 1 in a periodic 64 x 64 box, from a smooth random
field of standard deviation 0.1 to t = 100, given and returned at the user's 64 x 64 points (spacing 1).
A contender may compute on its own finer grid; going there and back is trigonometric interpolation.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

BOX = 64.0
CELLS = 64
T_END = 100.0
TRAJECTORIES = 64
"""Size of the batch; trajectory i starts from ``initial_field(i)``."""

_SMOOTHING = 0.5
_AMPLITUDE = 0.1


def wavenumbers_squared(cells: int) -> Array:
    """|k|^2 of the real 2-D transform of a ``cells`` x ``cells`` grid over the box; shape (cells, cells // 2 + 1)."""
    ky = 2 * np.pi * np.fft.fftfreq(cells, BOX / cells)
    kx = 2 * np.pi * np.fft.rfftfreq(cells, BOX / cells)
    return ky[:, None] ** 2 + kx[None, :] ** 2


def initial_field(seed: int) -> Array:
    """White noise times exp(-k^2 / (2 * 0.5^2)) in Fourier space, mean 0, standard deviation 0.1; shape (64, 64)."""
    noise = np.random.default_rng(seed).standard_normal((CELLS, CELLS))
    smooth = np.fft.rfft2(noise) * np.exp(-wavenumbers_squared(CELLS) / (2 * _SMOOTHING**2))
    field = np.fft.irfft2(smooth, s=(CELLS, CELLS))
    field -= field.mean()
    return np.asarray(_AMPLITUDE * field / field.std())


def initial_fields(count: int = TRAJECTORIES) -> Array:
    """The first ``count`` starting fields, shape (count, 64, 64)."""
    return np.stack([initial_field(seed) for seed in range(count)])


@lru_cache(maxsize=64)
def interpolation_matrix(source: int, target: int) -> Array:
    """Values at ``target`` equidistant points of the trigonometric interpolant through ``source`` points.

    Both sets share their first point and the period; both numbers even. The Nyquist mode is a cosine, which is what
    splitting its coefficient evenly between the two signs gives. Shape (target, source).
    """
    if source % 2 or target % 2:
        raise ValueError(f"even numbers of points, but got {source} and {target}")
    angle = 2 * np.pi * (np.arange(target)[:, None] / target - np.arange(source)[None, :] / source)
    # Coinciding points (angle 0 modulo 2 pi) have the limit 1 of the periodic sinc.
    same = np.isclose(np.sin(angle / 2), 0.0, atol=1e-12)
    safe = np.where(same, 1.0, angle)
    return np.where(same, 1.0, np.sin(source * safe / 2) / (source * np.tan(safe / 2)))


def resample(fields: Array, cells: int) -> Array:
    """Periodic fields (..., n, n) at the points of a ``cells`` x ``cells`` grid, by trigonometric interpolation.

    Downwards this samples the interpolant at the coarser points; it does not filter.
    """
    source = fields.shape[-1]
    if source == cells:
        return fields
    matrix = interpolation_matrix(source, cells)
    return np.asarray(matrix @ fields @ matrix.T)


def relative_errors(fields: Array, reference: Array) -> Array:
    """Relative L2 error of each trajectory, (batch, 64, 64) twice -> (batch,); infinite where not finite."""
    with np.errstate(all="ignore"):
        difference = np.sqrt(((fields - reference) ** 2).sum(axis=(-2, -1)))
        errors = difference / np.sqrt((reference**2).sum(axis=(-2, -1)))
    return np.where(np.isfinite(errors), errors, np.inf)
