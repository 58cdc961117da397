"""Spectral bases: fields to coefficient vectors and back, with the Laplacian diagonal.

Every basis stores its coefficients as **real** vectors of one length (real and imaginary parts side by side for
Fourier), so that equations and integrators work on plain ``(batch, component, coefficient)`` arrays whatever the
boundary, and every linear operator is a pointwise product.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Protocol

import torch

from solvers.grids.grid import Grid
from solvers.grids.resampling import resample

# Below this many cells an axis, a cosine transform by matrix product beats one by FFT on CPU and GPU.
_MATRIX_COSINE_LIMIT = 128


class Basis(Protocol):
    """What equations and integrators need of a spectral basis on a grid.

    Attributes:
        shape, lengths: cells and box length along each axis.
        size: length F of a coefficient vector.
        k2: (F,) squared wavenumber of each coefficient (1/length^2).
        weights: (F,) such that mean(u^2) = sum(weights * coefficients^2).
    """

    shape: tuple[int, ...]
    lengths: tuple[float, ...]
    size: int
    k2: torch.Tensor
    weights: torch.Tensor

    def forward(self, field: torch.Tensor) -> torch.Tensor:
        """Cell values (..., *shape) to coefficients (..., F)."""

    def inverse(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Coefficients (..., F) to cell values (..., *shape)."""

    def sample(self, coefficients: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        """Coefficients (..., F) to values (..., *shape) at the cells of another grid of the box."""


class PeriodicBasis:
    """Fourier basis of real fields; coefficients are the half-spectrum as (re, im) pairs, coefficient 0 the mean."""

    def __init__(
        self, shape: tuple[int, ...], lengths: tuple[float, ...], dtype: torch.dtype, device: torch.device
    ) -> None:
        self.shape = shape
        self.lengths = lengths
        ndim = len(shape)
        self._axes = tuple(range(-ndim, 0))
        half = (*shape[:-1], shape[-1] // 2 + 1)
        self._half = half
        self.size = 2 * math.prod(half)
        k2 = torch.zeros(half, dtype=torch.float64)
        for axis, (n, length) in enumerate(zip(shape, lengths, strict=True)):
            last = axis == ndim - 1
            index = torch.fft.rfftfreq(n, 1 / n) if last else torch.fft.fftfreq(n, 1 / n)
            k = (2 * math.pi / length) * index.to(torch.float64)
            k2 = k2 + (k**2).reshape([-1 if a == axis else 1 for a in range(ndim)])
        weights = torch.full(half, 2.0, dtype=torch.float64)
        weights[..., 0] = 1.0
        if shape[-1] % 2 == 0:
            weights[..., -1] = 1.0
        self.k2 = k2.reshape(-1).repeat_interleave(2).to(device, dtype)
        self.weights = weights.reshape(-1).repeat_interleave(2).to(device, dtype)

    @property
    def half_shape(self) -> tuple[int, ...]:
        """Modes along each axis, those of the last one without their conjugates."""
        return self._half

    def forward(self, field: torch.Tensor) -> torch.Tensor:
        spectrum = torch.fft.rfftn(field, dim=self._axes, norm="forward")
        return torch.view_as_real(spectrum).reshape(*field.shape[: -len(self.shape)], self.size)

    def inverse(self, coefficients: torch.Tensor) -> torch.Tensor:
        pairs = coefficients.reshape(*coefficients.shape[:-1], *self._half, 2)
        spectrum = torch.view_as_complex(pairs)
        # One axis after the other: torch's complex-to-real transform of several axes copies its input once more,
        # which for one 64 x 64 field is half of the time.
        if len(self.shape) > 1:
            spectrum = torch.fft.ifftn(spectrum, dim=self._axes[:-1], norm="forward")
        return torch.fft.irfft(spectrum, n=self.shape[-1], dim=-1, norm="forward")

    def sample(self, coefficients: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        """Coefficients (..., F) to values (..., *shape) at the cells of another grid of the box.

        The same as :func:`solvers.grids.resampling.resample` of the values, at a fifth of its cost.
        """
        if any(not m <= n <= 2 * m for n, m in zip(self.shape, shape, strict=True)):
            return resample(self.inverse(coefficients), shape, "periodic")
        pairs = coefficients.reshape(*coefficients.shape[:-1], *self._half, 2)
        spectrum = torch.view_as_complex(pairs)
        for axis, m in zip(self._axes[:-1], shape[:-1], strict=True):
            spectrum = torch.fft.ifft(_folded(spectrum, axis, m), dim=axis, norm="forward")
        spectrum = _folded_half(spectrum, self.shape[-1], shape[-1])
        return torch.fft.irfft(spectrum, n=shape[-1], dim=-1, norm="forward")

    def derivatives(self) -> list[torch.Tensor]:
        """Per axis the (1, ..., *half) imaginary symbol k; 0 at the Nyquist mode, whose derivative vanishes."""
        symbols = []
        for axis, (n, length) in enumerate(zip(self.shape, self.lengths, strict=True)):
            last = axis == len(self.shape) - 1
            k = torch.fft.rfftfreq(n, 1 / n) if last else torch.fft.fftfreq(n, 1 / n)
            k = torch.where(k.abs() * 2 == n, 0.0, k).to(torch.float64) * (2 * math.pi / length)
            view = [-1 if a == axis else 1 for a in range(len(self.shape))]
            symbols.append(
                (1j * k)
                .reshape(view)
                .to(self.k2.device, torch.complex64 if self.k2.dtype == torch.float32 else torch.complex128)
            )
        return symbols

    def below_nyquist(self) -> torch.Tensor:
        """(F,) 0 at the modes that are the Nyquist mode of some axis (even sizes have one), 1 elsewhere."""
        keep = torch.ones(self._half, dtype=torch.float64)
        for axis, n in enumerate(self.shape):
            if n % 2 == 0:
                keep.select(axis, n // 2).zero_()
        return keep.reshape(-1).repeat_interleave(2).to(self.k2)

    def differentiate(self, coefficients: torch.Tensor, derivative: torch.Tensor) -> torch.Tensor:
        """Coefficients (..., F) of the derivative along the axis that ``derivative`` belongs to."""
        pairs = coefficients.reshape(*coefficients.shape[:-1], *self._half, 2)
        return torch.view_as_real(torch.view_as_complex(pairs) * derivative).reshape(coefficients.shape)


def _folded(spectrum: torch.Tensor, axis: int, m: int) -> torch.Tensor:
    """Modes of one complex axis of n entries onto those that m <= n <= 2 m points distinguish."""
    n = spectrum.shape[axis]
    if n == m:
        return spectrum
    modes = spectrum.movedim(axis, 0)
    out = modes.new_zeros((m, *modes.shape[1:]))
    # Frequencies 0 ... above (n odd) or n/2 (shared by both signs, as a cosine, for n even); and the negative ones.
    positive = (n + 1) // 2
    out[:positive] += modes[:positive] if positive <= m else modes[:m]
    if positive > m:
        out[: positive - m] += modes[m:positive]
    negative = n - 1 - n // 2
    below = modes[n - negative :]  # frequencies -negative ... -1
    if negative <= m:
        out[m - negative :] += below
    else:
        out += below[negative - m :]
        out[2 * m - negative :] += below[: negative - m]
    if n % 2 == 0:
        half = 0.5 * modes[n // 2]
        out[(n // 2) % m] += half
        out[(-(n // 2)) % m] += half
    return out.movedim(0, axis)


def _folded_half(spectrum: torch.Tensor, n: int, m: int) -> torch.Tensor:
    """Half-spectrum (..., n // 2 + 1) of a real axis onto the (..., m // 2 + 1) of m <= n <= 2 m points."""
    if n == m:
        return spectrum
    last = (n - 1) // 2  # the largest frequency that has a partner of the other sign
    kept = m // 2
    out = spectrum[..., : kept + 1].clone()
    if n % 2 == 0 and kept == n // 2:
        out[..., kept] *= 0.5
    # f > m/2 is seen as f - m < 0, whose partner is m - f.
    first = kept + 1
    if last >= first:
        out[..., m - last : m - first + 1] += spectrum[..., first : last + 1].flip(-1).conj()
    if m % 2 == 0 and kept <= last:
        out[..., kept] = 2.0 * spectrum[..., kept].real  # +m/2 and -m/2 are one
    if n % 2 == 0:
        nyquist = spectrum[..., n // 2].real
        partner = m - n // 2
        out[..., partner] += nyquist if partner == 0 else 0.5 * nyquist
    return out


class CosineBasis:
    """Cosine basis (DCT-II at cell centres): the even extension, so zero normal derivative on the box faces.

    Coefficient 0 is the mean; coefficient (p, q) multiplies cos(pi p (j + 1/2)/n) cos(pi q (i + 1/2)/m).
    """

    def __init__(
        self, shape: tuple[int, ...], lengths: tuple[float, ...], dtype: torch.dtype, device: torch.device
    ) -> None:
        self.shape = shape
        self.lengths = lengths
        ndim = len(shape)
        self.size = math.prod(shape)
        k2 = torch.zeros(shape, dtype=torch.float64)
        weights = torch.ones(shape, dtype=torch.float64)
        self._transforms = []
        for axis, (n, length) in enumerate(zip(shape, lengths, strict=True)):
            view = [-1 if a == axis else 1 for a in range(ndim)]
            k2 = k2 + ((math.pi / length) * torch.arange(n, dtype=torch.float64)).square().reshape(view)
            half = torch.full((n,), 0.5, dtype=torch.float64)
            half[0] = 1.0
            weights = weights * half.reshape(view)
            transform = _MatrixCosine if n <= _MATRIX_COSINE_LIMIT else _FourierCosine
            self._transforms.append(transform(n, dtype, device))
        self.k2 = k2.reshape(-1).to(device, dtype)
        self.weights = weights.reshape(-1).to(device, dtype)

    def forward(self, field: torch.Tensor) -> torch.Tensor:
        for axis, transform in enumerate(self._transforms):
            field = transform.forward(field.movedim(axis - len(self.shape), -1)).movedim(-1, axis - len(self.shape))
        return field.reshape(*field.shape[: -len(self.shape)], self.size)

    def inverse(self, coefficients: torch.Tensor) -> torch.Tensor:
        field = coefficients.reshape(*coefficients.shape[:-1], *self.shape)
        for axis, transform in enumerate(self._transforms):
            field = transform.inverse(field.movedim(axis - len(self.shape), -1)).movedim(-1, axis - len(self.shape))
        return field

    def sample(self, coefficients: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        return resample(self.inverse(coefficients), shape, "no_flux")


class _MatrixCosine:
    """Cosine transform along the last axis as one matrix product."""

    def __init__(self, n: int, dtype: torch.dtype, device: torch.device) -> None:
        p = torch.arange(n, dtype=torch.float64)
        synthesis = torch.cos(math.pi * (p[:, None] + 0.5) * p[None, :] / n)  # (cell, coefficient)
        analysis = synthesis.T * (2.0 / n)
        analysis[0] *= 0.5
        self._synthesis_t = synthesis.T.contiguous().to(device, dtype)
        self._analysis_t = analysis.T.contiguous().to(device, dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self._analysis_t

    def inverse(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self._synthesis_t


class _FourierCosine:
    """Cosine transform along the last axis by one FFT of the same length (Makhoul 1980,
    doi:10.1109/TASSP.1980.1163351)."""

    def __init__(self, n: int, dtype: torch.dtype, device: torch.device) -> None:
        self._n = n
        even = torch.arange(0, n, 2)
        odd = torch.arange(1, n, 2).flip(0)
        order = torch.cat([even, odd])
        self._order = order.to(device)
        self._back = torch.argsort(order).to(device)
        k = torch.arange(n // 2 + 1, dtype=torch.float64)
        twiddle = torch.exp(-0.5j * math.pi * k / n)
        complex_type = torch.complex128 if dtype == torch.float64 else torch.complex64
        self._twiddle = twiddle.to(device, complex_type)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n = self._n
        v = torch.fft.rfft(x.index_select(-1, self._order), dim=-1) * self._twiddle
        upper = -v.imag[..., 1 : (n + 1) // 2].flip(-1)
        out = torch.cat([v.real, upper], dim=-1) * (2.0 / n)
        out[..., 0] *= 0.5
        return out

    def inverse(self, x: torch.Tensor) -> torch.Tensor:
        n, m = self._n, self._n // 2 + 1
        real = x[..., :m] * (n / 2.0)
        real = torch.cat([real[..., :1] * 2.0, real[..., 1:]], dim=-1)
        # Coefficient n - k is minus the imaginary part at k; there is none at k = 0.
        imag = torch.cat([torch.zeros_like(x[..., :1]), -x[..., n - m + 1 :].flip(-1)], dim=-1) * (n / 2.0)
        v = torch.complex(real, imag) * self._twiddle.conj()
        return torch.fft.irfft(v, n=n, dim=-1).index_select(-1, self._back)


@lru_cache(maxsize=32)
def _cached_basis(
    shape: tuple[int, ...], lengths: tuple[float, ...], boundary: str, dtype: torch.dtype, device: str
) -> Basis:
    kind = PeriodicBasis if boundary == "periodic" else CosineBasis
    with torch.inference_mode(False):  # a cached basis may be used with gradients next
        return kind(shape, lengths, dtype, torch.device(device))


def basis_for(
    grid: Grid,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    shape: tuple[int, ...] | None = None,
) -> Basis:
    """The spectral basis (cached) of the grid's box for its boundary, with ``shape`` cells where not the grid's own."""
    return _cached_basis(tuple(shape or grid.shape), grid.lengths, grid.boundary, dtype, str(device))
