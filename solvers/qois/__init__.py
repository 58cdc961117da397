"""Quantities of interest (QoIs): what a microstructure is boiled down to.

``registry``: the object of each quantity, and the call that computes those of a process. ``quantities``: this
    project's.
``analysis``: what several of them share. ``spectra``: structure factor, domain size, two-point correlation.
``interfaces``: interface density, curvature. ``grains``: counts, areas, boundary length. ``modes``: which Fourier modes
count how often. Names load when they are first used: asking which quantities there are needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from solvers.qois.grains import (
        boundary_density,
        boundary_threshold,
        grain_area_quantile,
        grain_areas,
        grain_count,
        label_grains,
        mean_grain_area,
    )
    from solvers.qois.interfaces import domain_size_interface, interface_density, mean_curvature
    from solvers.qois.quantities import QUANTILE_LEVELS
    from solvers.qois.registry import QOIS, Qoi, evaluate_qois, extra_axes, extra_coordinates, qois_of, register_qoi
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

_HOME = {
    "QOIS": "solvers.qois.registry",
    "QUANTILE_LEVELS": "solvers.qois.quantities",
    "Qoi": "solvers.qois.registry",
    "Spectrum": "solvers.qois.spectra",
    "boundary_density": "solvers.qois.grains",
    "boundary_threshold": "solvers.qois.grains",
    "domain_size": "solvers.qois.spectra",
    "domain_size_interface": "solvers.qois.interfaces",
    "evaluate_qois": "solvers.qois.registry",
    "extra_axes": "solvers.qois.registry",
    "extra_coordinates": "solvers.qois.registry",
    "grain_area_quantile": "solvers.qois.grains",
    "grain_areas": "solvers.qois.grains",
    "grain_count": "solvers.qois.grains",
    "interface_density": "solvers.qois.interfaces",
    "label_grains": "solvers.qois.grains",
    "mean": "solvers.qois.spectra",
    "mean_curvature": "solvers.qois.interfaces",
    "mean_grain_area": "solvers.qois.grains",
    "qois_of": "solvers.qois.registry",
    "register_qoi": "solvers.qois.registry",
    "spectrum": "solvers.qois.spectra",
    "structure_factor": "solvers.qois.spectra",
    "structure_factor_wavenumbers": "solvers.qois.spectra",
    "structure_factor_weights": "solvers.qois.spectra",
    "two_point_correlation": "solvers.qois.spectra",
}

__all__ = [
    "QOIS",
    "QUANTILE_LEVELS",
    "Qoi",
    "Spectrum",
    "boundary_density",
    "boundary_threshold",
    "domain_size",
    "domain_size_interface",
    "evaluate_qois",
    "extra_axes",
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
    "register_qoi",
    "spectrum",
    "structure_factor",
    "structure_factor_wavenumbers",
    "structure_factor_weights",
    "two_point_correlation",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
