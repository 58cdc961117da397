# ruff: noqa: ARG001  (one signature for all)
"""Explicit terms of the equations as compiled functions of one sample, for trajectories without Python between steps.

Each is a function (spectrum, coefficients, out_spectrum, out, work) -> largest sum of squared components. ``spectrum``
and ``coefficients`` are the same memory, (component, *half) as the transform takes it and (component, F) real, and so
are ``out_spectrum`` and ``out``, which receive N(u). ``work`` holds what a sample's terms need, see
:class:`~solvers.integrators.protocol.CompiledTerms`: fields, spectra (pairs of the same memory as the transform takes
it and real), rows, one array of cells, numbers, and the last arguments of the transforms.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from solvers.compiled import compiled, compiled_sums
from solvers.grids import transforms
from solvers.grids.spectral_basis import Basis, PeriodicBasis
from solvers.integrators.protocol import Explicit
from solvers.processes.pointwise import double_well_force, grain_force


def transforms_of(basis: Basis) -> tuple[Any, Any]:
    """The compiled inverse and forward transforms of a basis."""
    if isinstance(basis, PeriodicBasis):
        return transforms.fourier_inverse, transforms.fourier_forward
    return transforms.cosine_inverse, transforms.cosine_forward


@compiled_sums
def multiply(out: np.ndarray, factors: np.ndarray) -> None:
    """Multiplies every component of ``out`` (component, F) by ``factors`` (F,)."""
    for g in range(len(out)):
        row = out[g]
        for i in range(len(factors)):
            row[i] *= factors[i]


@cache
def double_well(inverse: Any, forward: Any) -> Explicit:
    """N(u) = factors (u^3 - u) transformed; rows: the factors, -k^2."""

    @compiled
    def double_well_terms(
        spectrum: np.ndarray, coefficients: np.ndarray, out_spectrum: np.ndarray, out: np.ndarray, work: Any
    ) -> float:
        fields, _, rows, cells, _, axes, scaling = work
        u = fields[0]
        inverse(spectrum, u, axes, scaling)
        largest = cells[:1]
        double_well_force(u.reshape((1, u.size)), largest)
        top = largest[0]
        forward(u, out_spectrum, axes, scaling)
        multiply(out, rows[0])
        return np.float64(top)

    return double_well_terms


@cache
def grains(inverse: Any, forward: Any) -> Explicit:
    """N(eta) of grain growth; numbers: gamma."""

    @compiled
    def grain_terms(
        spectrum: np.ndarray, coefficients: np.ndarray, out_spectrum: np.ndarray, out: np.ndarray, work: Any
    ) -> float:
        fields, _, rows, cells, _, axes, scaling = work
        eta = fields[0]
        inverse(spectrum, eta, axes, scaling)
        # Rows hold one number: gamma in the precision of the fields.
        largest = rows[1, :1]
        grain_force(eta.reshape((1, len(eta), eta.size // len(eta))), rows[0, :1], cells, largest)
        top = largest[0]
        forward(eta, out_spectrum, axes, scaling)
        return np.float64(top)

    return grain_terms


@compiled_sums
def _potential_and_mobility(u: np.ndarray, contrast: float, mobility: np.ndarray) -> float:
    """``u`` (cell,) becomes u^3 - u, ``mobility`` (cell,) max(0, 1 - a u^2); the largest u^2, NaN where any is."""
    kind = u.dtype.type
    one, zero, a = kind(1.0), kind(0.0), kind(contrast)
    top, broken = zero, zero
    for i in range(len(u)):
        square = u[i] * u[i]
        top = max(top, square)
        broken += zero * square
        mobility[i] = max(zero, one - a * square)
        u[i] *= square - one
    return np.float64(top + broken)


@compiled_sums
def _add_product(out: np.ndarray, factors: np.ndarray, values: np.ndarray) -> None:
    """Adds factors * values to ``out``, all (F,)."""
    for i in range(len(out)):
        out[i] += factors[i] * values[i]


@compiled_sums
def _differentiated(out: np.ndarray, wavenumbers: np.ndarray, values: np.ndarray) -> None:
    """``out`` (F,) = i k times the complex numbers in ``values`` (F,)."""
    for i in range(len(out) // 2):
        out[2 * i] = -wavenumbers[2 * i] * values[2 * i + 1]
        out[2 * i + 1] = wavenumbers[2 * i] * values[2 * i]


@compiled_sums
def _add_differentiated(out: np.ndarray, wavenumbers: np.ndarray, values: np.ndarray) -> None:
    """As :func:`_differentiated`, added to ``out``."""
    for i in range(len(out) // 2):
        out[2 * i] -= wavenumbers[2 * i] * values[2 * i + 1]
        out[2 * i + 1] += wavenumbers[2 * i] * values[2 * i]


@cache
def variable_mobility(inverse: Any, forward: Any) -> Explicit:
    """div(m grad mu) + stiff u of one component; rows: kappa k^2, stiff, 0 at Nyquist modes and 1 elsewhere, then k of
    each axis; numbers: the contrast."""

    @compiled
    def flux_terms(
        spectrum: np.ndarray, coefficients: np.ndarray, out_spectrum: np.ndarray, out: np.ndarray, work: Any
    ) -> float:
        fields, spectra, rows, cells, numbers, axes, scaling = work
        (potential_spectrum, potentials), (flux_spectrum, fluxes) = spectra
        u, total = fields[0], out[0]
        values, potential, flux = u.reshape(-1), potentials[0], fluxes[0]
        inverse(spectrum, u, axes, scaling)
        top = _potential_and_mobility(values, numbers[0], cells)
        forward(u, potential_spectrum, axes, scaling)
        _add_product(potential, rows[0], coefficients[0])
        for i in range(len(total)):
            total[i] = rows[1, i] * coefficients[0, i]
        for d in range(3, len(rows)):
            _differentiated(flux, rows[d], potential)
            inverse(flux_spectrum, u, axes, scaling)
            for i in range(len(values)):
                values[i] *= cells[i]
            forward(u, flux_spectrum, axes, scaling)
            _add_differentiated(total, rows[d], flux)
        for i in range(len(total)):
            total[i] *= rows[2, i]
        return top

    return flux_terms
