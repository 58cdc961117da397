"""Designs: order of the grid, spread and seeds of samplers, tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweeps.config.sweep import SweepConfig
from sweeps.plan.designs import design_points, grid_axes


def build(parameters: dict[str, Any], design: Any = "grid") -> SweepConfig:
    return SweepConfig.model_validate(
        {
            "schema_version": 1,
            "name": "small",
            "process": "cahn_hilliard",
            "grid": {"shape": [16, 16]},
            "initial": {"kind": "noise"},
            "times": [0, 1],
            "parameters": parameters,
            "design": design,
        }
    )


RANGES = {
    "mobility": {"low": 0.5, "high": 8.0, "log": True},
    "kappa": {"low": 1, "high": 3},
    "composition": 0.1,
}


def test_grid_is_the_product_with_the_first_parameter_slowest() -> None:
    config = build({"kappa": [1, 2], "mobility": {"linspace": [3, 5, 3]}, "composition": 0.1})
    points = design_points(config)
    assert list(points) == ["mobility", "kappa", "composition", "mobility_contrast"]
    assert points["kappa"].tolist() == [1, 1, 1, 2, 2, 2]
    assert points["mobility"].tolist() == [3, 4, 5, 3, 4, 5]
    assert points["composition"].tolist() == [0.1] * 6
    assert {name: axis.tolist() for name, axis in grid_axes(config).items()} == {
        "kappa": [1, 2],
        "mobility": [3, 4, 5],
    }


def test_a_grid_of_constants_is_one_point() -> None:
    assert {n: v.tolist() for n, v in design_points(build({})).items()} == {
        "mobility": [1],
        "kappa": [1],
        "composition": [0],
        "mobility_contrast": [0],
    }


def test_logspace_takes_end_values_and_keeps_them_exactly() -> None:
    values = design_points(build({"mobility": {"logspace": [0.3, 7.7, 5]}}))["mobility"]
    assert (values[0], values[-1]) == (0.3, 7.7)
    np.testing.assert_allclose(np.diff(np.log(values)), np.log(7.7 / 0.3) / 4, rtol=1e-12)


@pytest.mark.parametrize("sampler", ["sobol", "lhs", "random"])
def test_samplers_stay_in_their_ranges_and_repeat(sampler: str) -> None:
    points = design_points(build(RANGES, {"sampler": sampler, "n": 100, "seed": 1}))
    again = design_points(build(RANGES, {"sampler": sampler, "n": 100, "seed": 1}))
    other = design_points(build(RANGES, {"sampler": sampler, "n": 100, "seed": 2}))
    for name in points:
        np.testing.assert_array_equal(points[name], again[name])
    assert not np.array_equal(points["kappa"], other["kappa"])
    assert points["kappa"].min() >= 1
    assert points["kappa"].max() <= 3
    assert np.all(points["composition"] == 0.1)
    # The median of a logarithmic range is its geometric mean, 2; 100 points scatter by about 10 % of log 16.
    assert np.median(np.log(points["mobility"])) == pytest.approx(np.log(2), abs=0.3)


@pytest.mark.parametrize("sampler", ["sobol", "random"])
def test_a_longer_design_begins_with_the_shorter_one(sampler: str) -> None:
    short = design_points(build(RANGES, {"sampler": sampler, "n": 10}))
    longer = design_points(build(RANGES, {"sampler": sampler, "n": 100}))
    np.testing.assert_array_equal(longer["kappa"][:10], short["kappa"])


def test_latin_hypercube_has_one_point_in_each_slice() -> None:
    points = design_points(build(RANGES, {"sampler": "lhs", "n": 50}))
    assert sorted(((points["kappa"] - 1) / 2 * 50).astype(int)) == list(range(50))


def test_spaced_values_are_ranges_under_a_sampler() -> None:
    parameters = {"mobility": {"logspace": [0.5, 8, 4]}, "kappa": {"linspace": [3, 1, 2]}, "composition": 0.1}
    design = {"sampler": "sobol", "n": 16, "seed": 0}
    spaced, ranges = design_points(build(parameters, design)), design_points(build(RANGES, design))
    for name in spaced:
        np.testing.assert_array_equal(spaced[name], ranges[name])


def test_table(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text("\ufeffkappa, mobility\n1,2\n\n3.5,4e-1\n", encoding="utf-8")
    config = build({"composition": 0.2}, {"table": str(path)})
    points = design_points(config)
    assert points["kappa"].tolist() == [1, 3.5]
    assert points["mobility"].tolist() == [2, 0.4]
    assert points["composition"].tolist() == [0.2, 0.2]
    assert points["mobility_contrast"].tolist() == [0, 0]
