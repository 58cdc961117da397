"""Exponential time differencing Runge-Kutta for Cahn-Hilliard in plain numpy: the reference and a plain contender.

Orders 2 and 4 of Cox and Matthews (2002), doi:10.1006/jcph.2002.6995, eqs. 22 and 26-29; coefficients by the contour
integral of Kassam and Trefethen (2005), doi:10.1137/S1064827502410633.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from peers_bench.problem import T_END, Array, resample, wavenumbers_squared

_CONTOUR_POINTS = 32


def _contour_mean(function: Callable[[npt.NDArray], npt.NDArray], z: Array) -> Array:
    """Mean of ``function`` over a unit circle around each z: its value at z, free of cancellation near 0."""
    angles = np.pi * (np.arange(_CONTOUR_POINTS) + 0.5) / _CONTOUR_POINTS
    total = np.zeros_like(z)
    for point in np.exp(1j * angles):
        total += function(z + point).real
    return total / _CONTOUR_POINTS


class NumpyEtdrk:
    """Fixed steps of ETDRK2 or ETDRK4 on a ``cells`` x ``cells`` Fourier grid, no dealiasing.

    Args:
        cells: grid points along each axis.
        steps: number of equal steps to ``t_end``.
        order: 2 or 4.
        t_end: time to reach (M = kappa = 1).
    """

    def __init__(self, cells: int, steps: int, order: int, t_end: float = T_END) -> None:
        self.cells, self.steps, self.order = cells, steps, order
        k2 = wavenumbers_squared(cells)
        h = t_end / steps
        z = h * (k2 - k2**2)
        self._minus_k2 = -k2
        self._full = np.exp(z)
        if order == 2:
            self._a = h * _contour_mean(lambda r: (np.exp(r) - 1) / r, z)
            self._b = h * _contour_mean(lambda r: (np.exp(r) - 1 - r) / r**2, z)
        elif order == 4:
            self._half = np.exp(z / 2)
            self._a = h * _contour_mean(lambda r: (np.exp(r / 2) - 1) / r, z)
            self._f1 = h * _contour_mean(lambda r: (-4 - r + np.exp(r) * (4 - 3 * r + r**2)) / r**3, z)
            self._f2 = h * _contour_mean(lambda r: 2 * (2 + r + np.exp(r) * (-2 + r)) / r**3, z)
            self._f3 = h * _contour_mean(lambda r: (-4 - 3 * r - r**2 + np.exp(r) * (4 - r)) / r**3, z)
        else:
            raise ValueError(f"order 2 or 4, but got {order}")

    def __call__(self, fields: Array) -> Array:
        """User fields (batch, 64, 64) at the start -> at ``t_end``."""
        user_cells = fields.shape[-1]
        u = np.fft.rfft2(resample(fields, self.cells))
        step = self._step_2 if self.order == 2 else self._step_4
        with np.errstate(all="ignore"):  # a diverging run ends in inf or nan, which the caller judges
            for _ in range(self.steps):
                u = step(u)
            return resample(np.fft.irfft2(u, s=(self.cells, self.cells)), user_cells)

    def _nonlinear(self, u: npt.NDArray) -> npt.NDArray:
        """-k^2 times the transform of c^3."""
        c = np.fft.irfft2(u, s=(self.cells, self.cells))
        return self._minus_k2 * np.fft.rfft2(c * c * c)

    def _step_2(self, u: npt.NDArray) -> npt.NDArray:
        n_u = self._nonlinear(u)
        a = self._full * u + self._a * n_u
        return a + self._b * (self._nonlinear(a) - n_u)

    def _step_4(self, u: npt.NDArray) -> npt.NDArray:
        n_u = self._nonlinear(u)
        half_u = self._half * u
        a = half_u + self._a * n_u
        n_a = self._nonlinear(a)
        b = half_u + self._a * n_a
        n_b = self._nonlinear(b)
        c = self._half * a + self._a * (2 * n_b - n_u)
        return self._full * u + self._f1 * n_u + self._f2 * (n_a + n_b) + self._f3 * self._nonlinear(c)
