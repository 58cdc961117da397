"""The quantities of this project; their definitions are beside them in ``spectra``, ``interfaces`` and ``grains``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from solvers.processes.registry import Options, Process
from solvers.qois.registry import ExtraAxis, Qoi

if TYPE_CHECKING:
    from solvers.grids.grid import Grid

#: Levels of ``grain_area_quantile``: the distribution of grain sizes in five numbers.
QUANTILE_LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)

WAVENUMBERS = ExtraAxis(
    name="k",
    values="solvers.qois.spectra:structure_factor_wavenumbers",
    length=lambda shape: math.ceil(math.hypot(*shape) / 2),
    units="1/length",
    long_name="wavenumber",
    weights="solvers.qois.spectra:structure_factor_weights",
    # Beyond it only the corners of the square of wavenumbers are left.
    resolved=lambda grid: math.pi / grid.spacing,
)
QUANTILES = ExtraAxis(
    name="quantile",
    values="solvers.qois.grains:quantile_levels",
    length=lambda _shape: len(QUANTILE_LEVELS),
    long_name="quantile level",
)
_ANALYSIS = "solvers.qois.analysis"


def _mean_limits(process: Process, grid: Grid, blocks: Options) -> tuple[float, float]:  # noqa: ARG001
    field = process.fields[0]
    return process.phase_values(blocks) if process.phases is not None else (field.low, field.high)


def _within_box(process: Process, grid: Grid, blocks: Options) -> tuple[float, float]:  # noqa: ARG001
    # A box with no-flux faces is half a period of its even extension.
    return 0.0, max(grid.lengths) * (1 if grid.boundary == "periodic" else 2)


def _at_most_all_grains(process: Process, grid: Grid, blocks: Options) -> tuple[float, float]:  # noqa: ARG001
    return 0.0, float((blocks.get("initial") or {}).get("grains", math.inf))


def _within_area(process: Process, grid: Grid, blocks: Options) -> tuple[float, float]:  # noqa: ARG001
    return 0.0, grid.cells * grid.cell_volume


#: Their order is that of the variables in a store.
QUANTITIES = (
    Qoi("free_energy", "energy", "free energy", f"{_ANALYSIS}:free_energy", judged=True, judged_by_bands=True),
    Qoi("mean", "1", "spatial mean of the field", f"{_ANALYSIS}:mean_field", limits=_mean_limits),
    Qoi(
        "domain_size",
        "length",
        "domain size",
        f"{_ANALYSIS}:domain_size",
        limits=_within_box,
        scale="log",
        low=0.0,
        undefined="the field is uniform",
        judged_by_bands=True,
    ),
    Qoi(
        "domain_size_interface",
        "length",
        "domain size from interface length",
        f"{_ANALYSIS}:domain_size_of_interfaces",
        scale="log",
        low=0.0,
        undefined="there is no interface",
    ),
    Qoi(
        "interface_density",
        "1/length",
        "interface length per area",
        f"{_ANALYSIS}:interface_density",
        scale="log",
        low=0.0,
        judged=True,
        judged_by_bands=True,
    ),
    Qoi(
        "structure_factor",
        "length^2",
        "structure factor",
        f"{_ANALYSIS}:structure_factor",
        axis=WAVENUMBERS,
        scale="log",
        low=0.0,
    ),
    Qoi(
        "grain_count",
        "1",
        "number of grains",
        f"{_ANALYSIS}:grain_count",
        limits=_at_most_all_grains,
        low=0.0,
        judged_by_bands=True,
    ),
    Qoi(
        "mean_grain_area",
        "length^2",
        "mean grain area",
        f"{_ANALYSIS}:mean_grain_area",
        limits=_within_area,
        low=0.0,
        undefined="there is no grain",
        judged_by_bands=True,
    ),
    Qoi(
        "grain_area_quantile",
        "length^2",
        "quantiles of the grain area",
        f"{_ANALYSIS}:grain_area_quantile",
        limits=_within_area,
        axis=QUANTILES,
        low=0.0,
        undefined="there is no grain",
    ),
)
