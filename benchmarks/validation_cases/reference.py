"""Independent converged solutions: plain numpy, ETDRK4 with small fixed steps on a fine grid.

Nothing here is shared with ``solvers``. Solutions are computed once and kept in ``benchmarks/.cache``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from common import cache_folder, spectral
from common.runs import say
from common.spectral import Array, Etdrk, interpolate, wavenumbers
from scipy import fft

SPACING = 0.5  # cell size over sqrt(kappa / W), at most: leaves a relative error of about 1e-7
# Steps in units of 1 / (M W), and of kappa / (M W^2), the time in which an interface diffuses, where that is shorter.
STEP = 0.05
EARLY, EARLY_STEP = 20.0, 0.0125  # until then: most of the error at any later time is made while phases separate


def cached(name: str, key: object, make: Callable[[], Array]) -> Array:
    """``make()``, or what an earlier call with the same ``key`` (by its repr) and reference code made."""
    source = b"".join(Path(file).read_bytes() for file in (__file__, spectral.__file__))
    digest = hashlib.sha256(repr(key).encode() + source).hexdigest()[:16]
    path = cache_folder() / f"validation-{name}-{digest}.npy"
    if path.exists():
        return np.asarray(np.load(path))
    say(f"  reference: {name} {key}")
    value = make()
    np.save(path, value)
    return value


def march(
    v: Array, linear: Array, nonlinear: Callable[[Array], Array], times: Sequence[float], scale: float, refine: float
) -> list[Array]:
    """Spectra at ``times``, by small steps that land on each; ``scale`` turns time into units of 1 / (M W)."""
    answer, now = [], 0.0
    for time in times:
        for stop, step in ((min(time, EARLY / scale), EARLY_STEP), (time, STEP)):
            if stop <= now:
                continue
            count = int(np.ceil((stop - now) * scale * refine / step - 1e-9))
            advance = Etdrk(linear, nonlinear, (stop - now) / count)
            for _ in range(count):
                v = advance(v)
            now = stop
        answer.append(v)
    return answer


def converged_shape(shape: tuple[int, int], spacing: float, interface: float, ratio: float) -> tuple[int, int]:
    """Cells that bring the spacing to at most ``ratio`` interface lengths, never fewer than given."""
    wanted = [int(np.ceil(n * spacing / (ratio * interface) - 1e-9)) for n in shape]
    ny, nx = (max(n, fft.next_fast_len(m + m % 2, real=True)) for n, m in zip(shape, wanted, strict=True))
    return ny, nx


@dataclass(frozen=True)
class Material:
    """A Cahn-Hilliard problem in the composition's own units; the default well is (c^2 - 1)^2 / 4.

    Attributes:
        mobility, kappa: M and kappa.
        bulk_derivative: f'(c).
        well_height: W, which sets the interface length sqrt(kappa / W) and the time scale 1 / (M W).
        contrast: a in M(c) = M max(0, 1 - a c^2); anything but 0 is meant for the default well.
    """

    kappa: float
    mobility: float = 1.0
    bulk_derivative: Callable[[Array], Array] = lambda c: c * c * c - c
    well_height: float = 1.0
    contrast: float = 0.0

    def nonlinear(self, shape: tuple[int, int], lengths: tuple[float, float]) -> Callable[[Array], Array]:
        """What is left of the right-hand side besides -M kappa k^4, in Fourier space."""
        ky, kx = wavenumbers(shape, lengths)
        k2 = ky**2 + kx**2

        def constant(v: Array) -> Array:
            bulk = self.bulk_derivative(fft.irfft2(v, s=shape))
            return (-self.mobility * k2) * fft.rfft2(bulk, overwrite_x=True)

        # Without the Nyquist modes, at which a first derivative has no meaning.
        below = (np.abs(ky) < np.abs(ky).max()) & (np.abs(kx) < np.abs(kx).max())

        def variable(v: Array) -> Array:
            c = fft.irfft2(v, s=shape)
            local = self.mobility * np.maximum(0.0, 1.0 - self.contrast * c * c)
            potential = below * (fft.rfft2(self.bulk_derivative(c)) + self.kappa * k2 * v)
            fluxes = [local * fft.irfft2(1j * k * potential, s=shape) for k in (ky, kx)]
            divergence = 1j * ky * fft.rfft2(fluxes[0]) + 1j * kx * fft.rfft2(fluxes[1])
            return below * (divergence + self.mobility * self.kappa * k2**2 * v)

        return variable if self.contrast else constant


def cahn_hilliard(
    material: Material,
    initial: Array,
    spacing: float,
    times: Sequence[float],
    *,
    refine: float = 1.0,
    ratio: float = SPACING,
) -> Array:
    """Converged solution of dc/dt = div(M(c) grad(f'(c) - kappa lap c)) in a periodic box, sampled on the cells given.

    Args:
        initial: (y, x) compositions, read as their trigonometric interpolant.
        spacing: cell size of ``initial``.
        times: increasing, > 0.
        refine: divides every step.
        ratio: largest cell size over the interface length.

    Returns:
        (time, y, x).
    """
    shape = (initial.shape[0], initial.shape[1])
    lengths = (shape[0] * spacing, shape[1] * spacing)
    fine = converged_shape(shape, spacing, float(np.sqrt(material.kappa / material.well_height)), ratio)
    ky, kx = wavenumbers(fine, lengths)
    linear = -material.mobility * material.kappa * (ky**2 + kx**2) ** 2
    scale = material.mobility * material.well_height
    refine = refine * max(1.0, material.well_height / material.kappa)
    start = fft.rfft2(interpolate(initial, fine))
    states = march(start, linear, material.nonlinear(fine, lengths), times, scale, refine)
    return np.stack([interpolate(fft.irfft2(v, s=fine), shape) for v in states])


def grain_growth(
    kappa: float,
    gamma: float,
    initial: Array,
    spacing: float,
    times: Sequence[float],
    *,
    refine: float = 1.0,
    ratio: float = SPACING,
) -> Array:
    """Converged solution of d eta_i/dt = eta_i - eta_i^3 - 2 gamma eta_i sum_{j != i} eta_j^2 + kappa lap eta_i.

    Args:
        initial: (grain, y, x).

    Returns:
        (time, grain, y, x).
    """
    shape = (initial.shape[-2], initial.shape[-1])
    lengths = (shape[0] * spacing, shape[1] * spacing)
    fine = converged_shape(shape, spacing, float(np.sqrt(kappa)), ratio)
    ky, kx = wavenumbers(fine, lengths)

    def reaction(v: Array) -> Array:
        eta = fft.irfft2(v, s=fine)
        square = eta**2
        others = square.sum(axis=0) - square
        return fft.rfft2(eta * (1.0 - square - 2.0 * gamma * others), overwrite_x=True)

    start = fft.rfft2(interpolate(initial, fine))
    states = march(start, -kappa * (ky**2 + kx**2), reaction, times, 1.0, refine)
    return np.stack([interpolate(fft.irfft2(v, s=fine), shape) for v in states])
