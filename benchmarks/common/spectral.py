"""Periodic fields in plain numpy and scipy that share nothing with ``solvers``: starts, interpolation, ETDRK steps."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

Array = np.ndarray


def wavenumbers(shape: tuple[int, int], lengths: tuple[float, float]) -> tuple[Array, Array]:
    """k along y and x of the half spectrum that ``rfft2`` returns, broadcasting to it."""
    ky = 2 * np.pi * np.fft.fftfreq(shape[0], lengths[0] / shape[0])
    kx = 2 * np.pi * np.fft.rfftfreq(shape[1], lengths[1] / shape[1])
    return ky[:, None], kx[None, :]


@lru_cache(maxsize=64)
def fourier_matrix(source: int, target: int) -> Array:
    """(target, source) values of the real trigonometric interpolant of one period; a Nyquist mode is a cosine."""
    modes = np.fft.fftfreq(source, 1 / source)
    angle = 2 * np.pi * np.outer(np.arange(target) / target, modes)
    synthesis = np.exp(1j * angle)
    if source % 2 == 0:
        synthesis[:, source // 2] = np.cos(angle[:, source // 2])
    return np.real(synthesis @ np.fft.fft(np.eye(source), axis=0)) / source


def interpolate(fields: Array, shape: tuple[int, ...]) -> Array:
    """(..., *source) to (..., *shape) on the same periodic box; onto fewer points it samples, without a filter."""
    for axis, target in enumerate(shape, start=fields.ndim - len(shape)):
        source = fields.shape[axis]
        if source != target:
            fields = np.moveaxis(np.moveaxis(fields, axis, -1) @ fourier_matrix(source, target).T, -1, axis)
    return fields


def relative_l2(found: Array, expected: Array, axes: int = 2) -> Array:
    """|found - expected| / |expected| over the last ``axes`` axes."""
    over = tuple(range(-axes, 0))
    return np.sqrt(np.square(found - expected).sum(over) / np.square(expected).sum(over))


def smooth_noise(shape: tuple[int, ...], std: float, mean: float, seed: int, wavelength: float = 8.0) -> Array:
    """Periodic Gaussian noise, damped as exp(-(k / k0)^2) with k0 = 2 pi / (``wavelength`` cells).

    Args:
        std: standard deviation over the box, exact.
        mean: mean over the box, exact to round-off.
    """
    draw = np.random.default_rng(seed).standard_normal(shape)
    axes = np.meshgrid(*(np.fft.fftfreq(n) * wavelength for n in shape), indexing="ij")
    spectrum = np.fft.fftn(draw) * np.exp(-sum(np.square(k) for k in axes))
    spectrum.flat[0] = 0.0
    field = np.fft.ifftn(spectrum).real
    return np.asarray(mean + std * field / field.std())


def cosines(shape: tuple[int, int], mean: float, waves: list[tuple[int, int, float]]) -> Array:
    """mean + sum of amplitude cos(2 pi (p y / L_y + q x / L_x)) for (p, q, amplitude) in ``waves``."""
    y, x = (np.arange(n) / n for n in shape)
    return np.asarray(mean + sum(a * np.cos(2 * np.pi * (p * y[:, None] + q * x[None, :])) for p, q, a in waves))


def _contour_mean(function: Callable[[Array], Array], z: Array, points: int = 32) -> Array:
    """Mean of ``function`` over a unit circle around each z: its value at z, free of cancellation near 0."""
    total = np.zeros_like(z)
    for point in np.exp(1j * np.pi * (np.arange(points) + 0.5) / points):
        total += function(z + point).real
    return total / points


class Etdrk:
    """Exponential time differencing Runge-Kutta steps of du/dt = L u + N(u), L diagonal and real.

    Orders 2 and 4 of Cox and Matthews (2002), doi:10.1006/jcph.2002.6995, eqs. 22 and 26-29; coefficients by the
    contour integral of Kassam and Trefethen (2005), doi:10.1137/S1064827502410633.

    Args:
        linear: L.
        nonlinear: u to N(u).
        step: h.
        order: 2 or 4.
    """

    def __init__(self, linear: Array, nonlinear: Callable[[Array], Array], step: float, order: int = 4) -> None:
        if order not in (2, 4):
            raise ValueError(f"order 2 or 4, but got {order}")
        z = step * linear
        self._nonlinear, self._order = nonlinear, order
        self._full, self._half = np.exp(z), np.exp(z / 2)
        if order == 2:
            self._a = step * _contour_mean(lambda r: (np.exp(r) - 1) / r, z)
            self._b = step * _contour_mean(lambda r: (np.exp(r) - 1 - r) / r**2, z)
        else:
            self._a = step * _contour_mean(lambda r: (np.exp(r / 2) - 1) / r, z)
            self._f1 = step * _contour_mean(lambda r: (-4 - r + np.exp(r) * (4 - 3 * r + r**2)) / r**3, z)
            self._f2 = step * _contour_mean(lambda r: 2 * (2 + r + np.exp(r) * (-2 + r)) / r**3, z)
            self._f3 = step * _contour_mean(lambda r: (-4 - 3 * r - r**2 + np.exp(r) * (4 - r)) / r**3, z)

    def __call__(self, u: Array) -> Array:
        """u one step later."""
        return self._second(u) if self._order == 2 else self._fourth(u)

    def _second(self, u: Array) -> Array:
        n_u = self._nonlinear(u)
        a = self._full * u + self._a * n_u
        return a + self._b * (self._nonlinear(a) - n_u)

    def _fourth(self, u: Array) -> Array:
        n_u = self._nonlinear(u)
        half_u = self._half * u
        a = half_u + self._a * n_u
        n_a = self._nonlinear(a)
        b = half_u + self._a * n_a
        n_b = self._nonlinear(b)
        c = self._half * a + self._a * (2 * n_b - n_u)
        return self._full * u + self._f1 * n_u + self._f2 * (n_a + n_b) + self._f3 * self._nonlinear(c)
