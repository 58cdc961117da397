"""Quantities of interest (QoIs): statistics of a microstructure.

``registry``: the object of each quantity. ``quantities``: this project's. ``analysis``: computes those of a process,
and once what several of them share. ``spectra``: structure factor, domain size, two-point correlation. ``interfaces``:
interface density, curvature. ``grains``: counts, areas, boundary length. ``modes``: which Fourier modes count how
often. Names load when they are first used: asking which quantities there are needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from solvers.qois.analysis import evaluate_qois
    from solvers.qois.grains import boundary_density, grain_area_quantile, grain_areas, grain_count, mean_grain_area
    from solvers.qois.interfaces import domain_size_interface, interface_density, mean_curvature
    from solvers.qois.quantities import QUANTILE_LEVELS
    from solvers.qois.registry import QOIS, Qoi, extra_axes, extra_coordinates, qois_of, register_qoi
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

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "analysis": ["evaluate_qois"],
        "grains": ["boundary_density", "grain_area_quantile", "grain_areas", "grain_count", "mean_grain_area"],
        "interfaces": ["domain_size_interface", "interface_density", "mean_curvature"],
        "quantities": ["QUANTILE_LEVELS"],
        "registry": ["QOIS", "Qoi", "extra_axes", "extra_coordinates", "qois_of", "register_qoi"],
        "spectra": [
            "Spectrum",
            "domain_size",
            "mean",
            "spectrum",
            "structure_factor",
            "structure_factor_wavenumbers",
            "structure_factor_weights",
            "two_point_correlation",
        ],
    },
)
