"""The sweep configuration: defaults, overrides by zero and false, short forms, round trips, paths, schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

import phasetwin
from sweeps.config.sweep import (
    AutoCluster,
    FileInitial,
    SweepConfig,
    TimeRange,
)
from sweeps.engines.solver_kind import SolverBlock
from sweeps.inputs.kinds import json_schema
from sweeps.inputs.yaml_source import load_yaml

MINIMAL: dict[str, Any] = {
    "schema_version": 1,
    "name": "small",
    "process": "cahn_hilliard",
    "grid": {"shape": [16, 16]},
    "initial": {"kind": "noise"},
    "times": [0, 1],
}
GRAINS = MINIMAL | {"process": "grain_growth", "initial": {"kind": "voronoi", "grains": 10}}


def build(**changes: Any) -> SweepConfig:
    return SweepConfig.model_validate(MINIMAL | changes)


def load(folder: Path, data: dict[str, Any], *overrides: str) -> SweepConfig:
    path = folder / "sweep.yaml"
    path.write_text(json.dumps(data))  # JSON is YAML
    return load_yaml(path, SweepConfig, overrides)


def test_defaults() -> None:
    config = build()
    assert config.parameters == {"mobility": 1.0, "kappa": 1.0, "composition": 0.0, "mobility_contrast": 0.0}
    assert (config.grid.spacing, config.grid.boundary, config.design) == (1.0, "periodic", "grid")
    assert config.output.path == "runs/small.zarr"
    assert config.engine == SolverBlock()
    assert config.cluster == AutoCluster()
    assert (config.realizations.count, config.verify.count, config.reuse) == (1, 8, ())


def test_grain_growth_has_its_own_parameters() -> None:
    config = SweepConfig.model_validate(GRAINS)
    assert config.parameters == {"mobility": 1.0, "kappa": 1.0, "gamma": 1.5}
    assert config.parameter_names == ("mobility", "kappa", "gamma")


def test_composition_defaults_to_the_middle_of_the_well() -> None:
    assert build(well={"rho": 5, "ca": 0.3, "cb": 0.7}).parameters["composition"] == pytest.approx(0.5)


@pytest.mark.parametrize("dtype", [None, "float32", "float64"])
@pytest.mark.parametrize(("tolerance", "chosen"), [(1e-2, "float32"), (5e-3, "float32"), (1e-3, "float64")])
def test_precision_follows_the_tolerance_unless_given(tolerance: float, chosen: str, dtype: str | None) -> None:
    engine = {"tolerance": tolerance} | ({"dtype": dtype} if dtype else {})
    assert build(engine=engine).engine.dtype == (dtype or chosen)


def test_zero_and_false_override_defaults(tmp_path: Path) -> None:
    data = MINIMAL | {
        "parameters": {"kappa": {"low": 1, "high": 2, "log": True}},
        "design": {"sampler": "lhs", "n": 4, "seed": 3},
        "realizations": {"seed": 5},
    }
    zeros = ("verify.count=0", "design.seed=0", "realizations.seed=0", "initial.amplitude=0")
    more = ("parameters.kappa.log=false", "parameters.composition=0", "cluster.dashboard_address=null")
    config = load(tmp_path, data, *zeros, *more)
    assert (config.verify.count, config.design.seed, config.realizations.seed) == (0, 0, 0)  # type: ignore[union-attr]
    assert config.initial.amplitude == 0  # type: ignore[union-attr]
    assert config.parameters["kappa"].log is False  # type: ignore[union-attr]
    assert config.cluster.dashboard_address is None  # type: ignore[union-attr]


def test_overrides_reach_lists_scalars_and_new_blocks(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        MINIMAL,
        "times.1=7.5",
        "parameters.kappa={logspace: [0.5, 2, 3]}",
        "engine.tolerance=1e-2",
        "output.retain.fields_at=[7.5]",
        "process=cahn_hilliard",
    )
    assert config.time_values().tolist() == [0, 7.5]
    assert config.engine == SolverBlock(tolerance=1e-2, dtype="float32")
    assert config.field_times().tolist() == [7.5]
    np.testing.assert_allclose(config.parameters["kappa"].values(), [0.5, 1, 2])  # type: ignore[union-attr]


def test_a_later_override_wins(tmp_path: Path) -> None:
    assert load(tmp_path, MINIMAL, "verify.count=1", "verify={count: 2}").verify.count == 2


@pytest.mark.parametrize(
    ("data", "kind"),
    [({"address": "tcp://a:1"}, "address"), ({"workers": 2}, "local"), ({"kind": "slurm", "jobs": 2}, "slurm")],
)
def test_cluster_kinds(data: dict[str, Any], kind: str) -> None:
    assert build(cluster=data).cluster.kind == kind


@pytest.mark.parametrize(
    "engine",
    [
        {"kind": "surrogate", "model": "ch-jump"},
        {"kind": "auto", "tolerance": 0.02},
    ],
)
def test_learned_engines_are_valid_yaml(engine: dict[str, Any]) -> None:
    assert build(engine=engine).engine.kind == engine["kind"]


def test_an_emulator_knows_no_fields() -> None:
    engine = {"kind": "emulator", "model": "x"}
    assert build(engine=engine, output={"retain": "qoi"}).engine.kind == "emulator"
    with pytest.raises(ValidationError, match="allowed qoi: an emulator knows statistics, no fields"):
        build(engine=engine)


def test_the_resolved_file_reads_back_as_itself() -> None:
    config = build(
        parameters={"kappa": {"linspace": [0.5, 2, 3]}, "mobility": [1, 2]},
        times={"stop": 1, "count": 11},
        output={"retain": {"fields_at": [0.3]}},
    )
    again = SweepConfig.model_validate_json(json.dumps(config.model_dump(mode="json")))
    assert again == config
    assert list(again.parameters) == ["kappa", "mobility", "composition", "mobility_contrast"]


def test_times_are_exact_and_fields_are_matched_to_them() -> None:
    config = build(times={"start": 0, "stop": 1, "count": 11}, output={"retain": {"fields_at": [0.3, 1]}})
    assert isinstance(config.times, TimeRange)
    np.testing.assert_array_equal(config.time_values(), np.linspace(0, 1, 11))
    assert config.field_time_indices().tolist() == [3, 10]
    assert build(output={"retain": "qoi"}).field_times().size == 0


def test_models_are_frozen() -> None:
    with pytest.raises(ValidationError):
        build().verify.count = 3


def test_a_start_file_is_found_beside_the_yaml(tmp_path: Path) -> None:
    (tmp_path / "start.npy").touch()
    config = load(tmp_path, MINIMAL | {"initial": {"file": "start.npy"}})
    assert isinstance(config.initial, FileInitial)
    assert config.initial.file == str(tmp_path / "start.npy")
    assert "composition" not in config.parameters


def test_stores_to_reuse_are_beside_the_yaml_or_under_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "files" / "a.zarr").mkdir(parents=True)
    (tmp_path / "runs" / "b.zarr").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    config = load(tmp_path / "files", MINIMAL | {"reuse": ["a.zarr", "runs/b.zarr", "s3://bucket/c.zarr"]})
    assert config.reuse == (
        str(tmp_path / "files" / "a.zarr"),
        str(tmp_path / "runs" / "b.zarr"),
        "s3://bucket/c.zarr",
    )


def test_pfhub_start_is_one_realization() -> None:
    config = build(initial={"kind": "pfhub_1a"})
    assert config.parameter_names == ("mobility", "kappa", "mobility_contrast")
    with pytest.raises(ValidationError, match="the start is a formula"):
        build(initial={"kind": "pfhub_1a"}, realizations={"count": 2})


def test_schema_refuses_unknown_keys_and_names_the_blocks(capsys: pytest.CaptureFixture[str]) -> None:
    schema = json_schema("sweep")
    assert schema["additionalProperties"] is False
    assert set(SweepConfig.model_fields) == set(schema["properties"])
    assert phasetwin.main(["schema", "sweep"]) == 0
    assert json.loads(capsys.readouterr().out) == schema
