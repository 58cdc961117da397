"""The one problem every contender solves, and how an answer is judged.

Cahn-Hilliard, ``c_t = M lap(c^3 - c - kappa lap c)`` with M = kappa = 1 in a periodic 64 x 64 box, from a smooth random
field of standard deviation 0.1 to t = 100, given and returned at the user's 64 x 64 points (spacing 1).
A contender may compute on its own finer grid; going there and back is trigonometric interpolation.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from common import cache_folder
from common.spectral import Array, Etdrk, interpolate, relative_l2, smooth_noise, wavenumbers

BOX = 64.0
CELLS = 64
T_END = 100.0
TRAJECTORIES = 64
"""Size of the batch; trajectory i starts from ``initial_field(i)``."""

_REFERENCE_CELLS = 128
_REFERENCE_STEPS = 5000  # h = 0.02; against h = 0.04 the answers agree to about 1e-6, enough to judge errors of 1e-3
_CHUNK = 4


def initial_field(seed: int) -> Array:
    """White noise times exp(-k^2 / (2 * 0.5^2)) in Fourier space, mean 0, standard deviation 0.1; shape (64, 64)."""
    return smooth_noise((CELLS, CELLS), 0.1, 0.0, seed, wavelength=2 * np.pi * np.sqrt(2.0))


def initial_fields(count: int = TRAJECTORIES) -> Array:
    """The first ``count`` starting fields, shape (count, 64, 64)."""
    return np.stack([initial_field(seed) for seed in range(count)])


def resample(fields: Array, cells: int) -> Array:
    """Periodic fields (..., n, n) at the points of a ``cells`` x ``cells`` grid, by trigonometric interpolation."""
    return interpolate(fields, (cells, cells))


def relative_errors(fields: Array, reference: Array) -> Array:
    """Relative L2 error of each trajectory, (batch, 64, 64) twice -> (batch,); infinite where not finite."""
    with np.errstate(all="ignore"):
        errors = relative_l2(fields, reference)
    return np.where(np.isfinite(errors), errors, np.inf)


class NumpyEtdrk:
    """Fixed steps of ETDRK2 or ETDRK4 on a ``cells`` x ``cells`` Fourier grid, no dealiasing.

    Args:
        cells: grid points along each axis.
        steps: number of equal steps to ``t_end``.
        order: 2 or 4.
        t_end: time to reach (M = kappa = 1).
    """

    def __init__(self, cells: int, steps: int, order: int, t_end: float = T_END) -> None:
        self._shape, self._steps = (cells, cells), steps
        ky, kx = wavenumbers(self._shape, (BOX, BOX))
        k2 = ky**2 + kx**2
        self._minus_k2 = -k2
        self._advance = Etdrk(k2 - k2**2, self._nonlinear, t_end / steps, order)

    def __call__(self, fields: Array) -> Array:
        """User fields (batch, 64, 64) at the start -> at ``t_end``."""
        u = np.fft.rfft2(interpolate(fields, self._shape))
        with np.errstate(all="ignore"):  # a diverging run ends in inf or nan, which the caller judges
            for _ in range(self._steps):
                u = self._advance(u)
            return resample(np.fft.irfft2(u, s=self._shape), fields.shape[-1])

    def _nonlinear(self, u: Array) -> Array:
        """-k^2 times the transform of c^3."""
        c = np.fft.irfft2(u, s=self._shape)
        return self._minus_k2 * np.fft.rfft2(c * c * c)


def reference_file(count: int) -> Path:
    """File of the converged fields (``count`` or more, 64, 64) at t = 100, computed on first use (8 s a trajectory)."""
    name = f"cells{_REFERENCE_CELLS}-steps{_REFERENCE_STEPS}.npy"
    for path in sorted(cache_folder().glob(f"peers-reference-*-{name}")):
        if int(path.name.split("-")[2]) >= count:
            return path
    solver = NumpyEtdrk(_REFERENCE_CELLS, _REFERENCE_STEPS, order=4)
    initial = initial_fields(count)
    parts = []
    for start in range(0, count, _CHUNK):
        print(f"reference: trajectory {start + 1} of {count}", file=sys.stderr, flush=True)
        parts.append(solver(initial[start : start + _CHUNK]))
    path = cache_folder() / f"peers-reference-{count}-{name}"
    np.save(path, np.concatenate(parts))
    return path
