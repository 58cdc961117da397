"""The shipped examples, run for real in a smaller box and a shorter time."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from distributed import Client

from studies import Study
from studies.inverse.study import StudyResult
from sweeps import open_sweep

FOLDER = Path(__file__).parents[2] / "studies" / "examples"
#: Replaced keys, for each example; the target is what the middle of its box gives at that size.
SMALL: dict[str, list[str]] = {
    "domain-size": [
        "changes.grid={shape: [32, 32]}",
        "changes.times=[0, 60]",
        "changes.realizations={count: 2}",
        "objectives.0={qoi: domain_size, at: 60, target: 9.5}",
        "constraints.0={qoi: interface_density, at: 60, max: 0.25}",
        "batch=8",
        "verify={top: 2, random: 1, equivalents: 2}",
    ],
    "pareto": [
        "changes.grid={shape: [32, 32]}",
        "changes.times=[0, 60]",
        "changes.realizations={count: 2}",
        "objectives.0.at=60",
        "objectives.1.at=60",
        "trials=32",
        "batch=8",
        "verify={top: 3, random: 1, rounds: 2}",
    ],
    "target-image": ["changes.realizations={count: 1}", "batch=8", "trials=64", "verify={top: 1, random: 0}"],
    "grain-size": [
        "changes.grid={shape: [32, 32]}",
        "changes.initial={kind: voronoi, grains: 30}",
        "changes.realizations={count: 2}",
        "changes.times=[0, 5, 10, 20]",
        "objectives.0={qoi: mean_grain_area, at: 20, target: 60.0, tolerance: 0.05}",
        "explore.learn=4",
        "batch=8",
        "verify={top: 1, random: 0, equivalents: 0, tolerance: 1.0e-2}",
    ],
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, client: Client) -> Callable[[str], StudyResult]:
    """Runs an example, once."""
    folder = tmp_path_factory.mktemp("examples")

    @cache
    def run(name: str) -> StudyResult:
        overrides = [*SMALL[name], f"output.path={folder / name}"]
        return Study.from_yaml(FOLDER / f"{name}.yaml", overrides).run(client, progress=False)

    return run


@pytest.mark.parametrize("name", ["domain-size", "target-image", "grain-size"])
def test_examples_with_a_target(name: str, ran: Callable[[str], StudyResult]) -> None:
    result = ran(name)
    assert result.why == "a verified optimum meets every target"
    assert result.best[0]["met"]
    assert result.missed == 0
    assert result.report is not None
    assert "Verified optima" in result.report.read_text()
    solved = open_sweep(result.best[0]["store"]).isel(point=result.best[0]["row"])
    assert {n: float(solved[n]) for n in result.best[0]["parameters"]} == result.best[0]["parameters"]


def test_the_curve_of_equivalent_optima(ran: Callable[[str], StudyResult]) -> None:
    """Every solved point of it meets the target, each at another mobility."""
    result = ran("domain-size")
    found = json.loads((result.folder / "equivalents.json").read_text())
    assert [p["met"] for p in found["verified"]] == [True, True]
    mobilities = [p["parameters"]["mobility"] for p in found["verified"]]
    assert mobilities[1] > 1.2 * mobilities[0]
    # The study's own tolerance of a target, 0.5 %.
    assert all(abs(p["qois"]["domain_size"] - 9.5) <= 5e-3 * 9.5 for p in found["verified"])


def test_the_front(ran: Callable[[str], StudyResult]) -> None:
    result = ran("pareto")
    front = np.array([p["objectives"] for p in result.best])
    assert len(front) >= 3
    # Sorted by the first objective, the second falls: no point is better than another in both.
    assert (np.diff(front[:, 0]) > 0).all()
    assert (np.diff(front[:, 1]) < 0).all()
