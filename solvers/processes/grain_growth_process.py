"""Grain growth as a registered process. Loads no torch."""

from __future__ import annotations

from solvers.accuracy import AccuracyModel
from solvers.processes.registry import Appearance, CostModel, FieldInfo, ParameterInfo, Process

PROCESS = Process(
    name="grain_growth",
    parameters=(
        ParameterInfo("mobility", "M", "mobility M", "length^2/(energy time)", default=1.0, low=0.0, low_open=True),
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
        # At gamma <= 1/2 a mixture of two order parameters is as low as a single one: no grains form.
        ParameterInfo(
            "gamma",
            "γ",
            "coupling gamma of the order parameters",
            label="coupling γ",
            default=1.5,
            low=0.5,
            low_open=True,
        ),
    ),
    problem="solvers.processes.grain_growth:build",
    # Grains vanish and neighbours change within a moment: such events amplify what came before several times.
    accuracy=AccuracyModel(linear=1.0, square=3100.0, time_factor=0.012, space_share=0.4),
    appearance=Appearance(
        title="Grain growth",
        colours="bone",
        # From just below what triple junctions have to a grain's 1.
        limits=(0.2, 1.0),
        field_label="φ = Σ η²",
        legend="Dark lines are grain boundaries, where the sum of squared order parameters drops below 1.",
        headline="mean_grain_area",
        mapped=("mean_grain_area", "grain_count", "interface_density"),
        curves=("grain_count", "mean_grain_area", "free_energy"),
        growth_law=1.0,
        growth_note="The dashed line is straight: normal grain growth has a mean area that grows linearly in time.",
    ),
    solve="solvers.grains.simulation:solve_frames",
    fields=(
        FieldInfo("field", "phi, the sum of the squared order parameters", low=0.0),
        FieldInfo("grain_id", "number of the grain, -1 where there is none", dtype="int32", fill=-1),
    ),
    starts=("voronoi", "file"),
    time_scale="mobility",
    quantities=(
        "free_energy",
        "mean",
        "interface_density",
        "grain_count",
        "mean_grain_area",
        "grain_area_quantile",
    ),
    measures={"interface_density": "solvers.qois.analysis:grain_boundary_density"},
    cost=CostModel(hundred=1.4, growth=0.7, order=0.15, spacing=1.0, samples=4, samples_min=1),
    finest="interface_density",
    fingerprint="",
)
