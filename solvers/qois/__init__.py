"""Quantities of interest (QoIs): what a microstructure is boiled down to.

``spectra``: structure factor, domain size, two-point correlation. ``interfaces``: interface density,
curvature. ``grains``: counts, areas, boundary length. ``table``: the set a sweep stores. ``modes``: the
Fourier book-keeping.
"""

from __future__ import annotations

from solvers.qois.grains import (
    QUANTILE_LEVELS,
    boundary_density,
    boundary_threshold,
    grain_area_quantile,
    grain_areas,
    grain_count,
    label_grains,
    mean_grain_area,
)
from solvers.qois.interfaces import domain_size_interface, interface_density, mean_curvature
from solvers.qois.spectra import (
    Spectrum,
    domain_size,
    mean,
    spectrum,
    structure_factor,
    structure_factor_wavenumbers,
    structure_factor_weights,
    two_point_correlation,
)
from solvers.qois.table import QOIS, QoiInfo, evaluate_qois, extra_coordinates, qois_of

__all__ = [
    "QOIS",
    "QUANTILE_LEVELS",
    "QoiInfo",
    "Spectrum",
    "boundary_density",
    "boundary_threshold",
    "domain_size",
    "domain_size_interface",
    "evaluate_qois",
    "extra_coordinates",
    "grain_area_quantile",
    "grain_areas",
    "grain_count",
    "interface_density",
    "label_grains",
    "mean",
    "mean_curvature",
    "mean_grain_area",
    "qois_of",
    "spectrum",
    "structure_factor",
    "structure_factor_wavenumbers",
    "structure_factor_weights",
    "two_point_correlation",
]
