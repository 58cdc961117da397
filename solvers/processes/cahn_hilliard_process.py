"""Cahn-Hilliard as a registered process. Loads no torch."""

from __future__ import annotations

from solvers.accuracy import AccuracyModel
from solvers.processes.registry import Appearance, CostModel, FieldInfo, Options, ParameterInfo, Process


def _phases(options: Options) -> tuple[float, float]:
    well = options.get("well") or {}
    return float(well.get("ca", -1.0)), float(well.get("cb", 1.0))


def _well_height(options: Options) -> float:
    """W of the well in its own composition units: the curvature at the minima is 2 W."""
    well = options.get("well")
    return 1.0 if not well else float(well["rho"]) * (float(well["cb"]) - float(well["ca"])) ** 2


PROCESS = Process(
    name="cahn_hilliard",
    parameters=(
        ParameterInfo("mobility", "M", "mobility M", "length^4/(energy time)", default=1.0, low=0.0, low_open=True),
        ParameterInfo(
            "kappa",
            "κ",
            "gradient-energy coefficient kappa",
            "energy",
            "gradient energy κ",
            default=1.0,
            low=0.0,
            low_open=True,
        ),
        ParameterInfo(
            "composition",
            "c₀",
            "mean composition of the start",
            label="mean composition c₀",
            of_start=True,
            between_phases=True,
        ),
        ParameterInfo("mobility_contrast", "a", "mobility contrast a in M(c) = M (1 - a c^2)", low=0.0, high=1.0),
    ),
    problem="solvers.processes.cahn_hilliard:build",
    # One white-noise start in four passes through a coalescence that multiplies errors by five to ten for a moment.
    accuracy=AccuracyModel(linear=1.0, square=3100.0, time_factor=0.06, space_share=0.5, least_excess=0.7, stiffness=4),
    appearance=Appearance(
        title="Cahn-Hilliard: phase separation",
        # Blue to red through light grey: distinguishable with every common kind of colour blindness.
        colours="RdBu_r",
        field_label="composition c",
        legend="Blue is the phase at the lower composition, red the other.",
        headline="domain_size",
        mapped=("domain_size", "interface_density", "free_energy"),
        curves=("domain_size", "free_energy", "interface_density"),
        growth_law=1.0 / 3.0,
        growth_note="The dashed line is t^(1/3), the law of coarsening by diffusion (Lifshitz and Slyozov).",
    ),
    fields=(FieldInfo("field", "composition"),),
    starts=("noise", "file", "pfhub_1a"),
    time_scale="mobility",
    batch_order=("kappa", "mobility_contrast", "composition"),
    options=("well",),
    conserves_mean=True,
    quantities=(
        "free_energy",
        "mean",
        "domain_size",
        "domain_size_interface",
        "interface_density",
        "structure_factor",
    ),
    cost=CostModel(
        hundred=0.024,
        growth=0.8,
        order=0.33,
        spacing=1.4,
        factors={"mobility_contrast": 20.0},
        samples=32,
        samples_min=4,
    ),
    phases=_phases,
    interface_scale=_well_height,
    finest="interface_density",
    fingerprint="",
)
