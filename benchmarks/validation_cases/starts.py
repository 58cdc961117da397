"""Initial fields that the trigonometric interpolant carries well, so that refinement has one meaning."""

from __future__ import annotations

import numpy as np

Array = np.ndarray


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
