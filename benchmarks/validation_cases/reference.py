"""An independent converged solution of Cahn-Hilliard: plain numpy, complex transforms, ETDRK4 with small fixed steps.

Nothing here is shared with ``solvers``: refinement and sampling are products with explicit Fourier matrices, the
scheme is Kassam and Trefethen's (2005, doi:10.1137/S1064827502410633), written from the paper.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from scipy import fft

Array = np.ndarray

SPACING = 0.5  # cell size over sqrt(kappa / W), at most: leaves a relative error of about 1e-7
STEP = 0.05  # step times M W, at most, once the phases have separated
EARLY, EARLY_STEP = 20.0, 0.0125  # until then: most of the error at any later time is made while they separate


def fourier_matrix(source: int, target: int) -> Array:
    """(target, source) values of the real trigonometric interpolant of one period; a Nyquist mode is a cosine."""
    modes = np.fft.fftfreq(source, 1 / source)
    angle = 2 * np.pi * np.outer(np.arange(target) / target, modes)
    synthesis = np.exp(1j * angle)
    if source % 2 == 0:
        synthesis[:, source // 2] = np.cos(angle[:, source // 2])
    return np.real(synthesis @ np.fft.fft(np.eye(source), axis=0)) / source


def interpolate(fields: Array, shape: tuple[int, ...]) -> Array:
    """(..., *source) to (..., *shape) on the same periodic box."""
    for axis, target in enumerate(shape, start=fields.ndim - len(shape)):
        source = fields.shape[axis]
        if source != target:
            fields = np.moveaxis(np.moveaxis(fields, axis, -1) @ fourier_matrix(source, target).T, -1, axis)
    return fields


@lru_cache(maxsize=8)
def wavenumbers_squared(shape: tuple[int, ...], lengths: tuple[float, ...]) -> Array:
    """k^2 of the half spectrum that ``rfftn`` returns."""
    axes = [2 * np.pi * np.fft.fftfreq(n, length / n) for n, length in zip(shape, lengths, strict=True)]
    axes[-1] = 2 * np.pi * np.fft.rfftfreq(shape[-1], lengths[-1] / shape[-1])
    return sum(np.square(k) for k in np.meshgrid(*axes, indexing="ij"))


class Etdrk4:
    """du/dt = L u + N(u) in Fourier space, L diagonal."""

    def __init__(self, linear: Array, nonlinear: Callable[[Array], Array], step: float) -> None:
        z = step * linear
        ring = z[..., None] + np.exp(1j * np.pi * (np.arange(32) + 0.5) / 32)
        e, ring3 = np.exp(ring), ring**3
        self._nonlinear = nonlinear
        self._e, self._e2 = np.exp(z), np.exp(z / 2)
        self._q = step * np.mean((np.exp(ring / 2) - 1) / ring, axis=-1).real
        self._f1 = step * np.mean((-4 - ring + e * (4 - 3 * ring + ring**2)) / ring3, axis=-1).real
        self._f2 = step * np.mean((2 + ring + e * (-2 + ring)) / ring3, axis=-1).real
        self._f3 = step * np.mean((-4 - 3 * ring - ring**2 + e * (4 - ring)) / ring3, axis=-1).real

    def __call__(self, v: Array) -> Array:
        n = self._nonlinear(v)
        decayed = self._e2 * v
        a = decayed + self._q * n
        na = self._nonlinear(a)
        b = decayed + self._q * na
        nb = self._nonlinear(b)
        c = self._e2 * a + self._q * (2 * nb - n)
        nc = self._nonlinear(c)
        return self._e * v + self._f1 * n + 2 * self._f2 * (na + nb) + self._f3 * nc


def converged_shape(shape: tuple[int, ...], spacing: float, interface: float, ratio: float) -> tuple[int, ...]:
    """Cells that bring the spacing to at most ``ratio`` interface lengths, never fewer than given."""
    wanted = [int(np.ceil(n * spacing / (ratio * interface) - 1e-9)) for n in shape]
    return tuple(max(n, fft.next_fast_len(m, real=True)) for n, m in zip(shape, wanted, strict=True))


def cahn_hilliard(
    initial: Array,
    spacing: float,
    kappa: float,
    times: Sequence[float],
    *,
    mobility: float = 1.0,
    bulk_derivative: Callable[[Array], Array] = lambda c: c * c * c - c,
    well_height: float = 1.0,
    refine: float = 1.0,
    ratio: float = SPACING,
) -> Array:
    """Converged solution of dc/dt = M lap(f'(c) - kappa lap c) in a periodic box, sampled on the cells given.

    Args:
        initial: (..., y, x) compositions.
        spacing: cell size of ``initial``.
        times: increasing, > 0; steps are shortened so as to land on each.
        bulk_derivative: f'(c), in c's own units.
        well_height: W, which sets the interface length sqrt(kappa / W) and the time scale 1 / (M W).
        refine: divides every step.
        ratio: largest cell size over the interface length.

    Returns:
        (time, ..., y, x).
    """
    shape = initial.shape[-2:]
    fine = converged_shape(shape, spacing, float(np.sqrt(kappa / well_height)), ratio)
    k2 = wavenumbers_squared(fine, (shape[0] * spacing, shape[1] * spacing))
    linear = -mobility * kappa * k2**2

    def nonlinear(v: Array) -> Array:
        return (-mobility * k2) * fft.rfft2(bulk_derivative(fft.irfft2(v, s=fine)), overwrite_x=True)

    v = fft.rfft2(interpolate(initial, fine))
    scale = mobility * well_height
    answer, now = [], 0.0
    for time in times:
        for stop, step in ((min(time, EARLY / scale), EARLY_STEP), (time, STEP)):
            if stop <= now:
                continue
            count = int(np.ceil((stop - now) * scale * refine / step - 1e-9))
            advance = Etdrk4(linear, nonlinear, (stop - now) / count)
            for _ in range(count):
                v = advance(v)
            now = stop
        answer.append(interpolate(fft.irfft2(v, s=fine), shape))
    return np.stack(answer)


def relative_l2(found: Array, expected: Array, axes: int = 2) -> Array:
    """|found - expected| / |expected| over the last ``axes`` axes."""
    over = tuple(range(-axes, 0))
    return np.sqrt(np.square(found - expected).sum(over) / np.square(expected).sum(over))
