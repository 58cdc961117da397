"""The solver's measured error: stored with every trajectory, and said where it exceeds the tolerance."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import phasetwin
import sweeps.report
from solvers import CahnHilliard, Grid, InputError, ToleranceWarning, simulate
from solvers.initial import noise
from sweeps import open_sweep
from sweeps.monitoring.status import describe_status, status
from sweeps.store.layout import OVER_TOLERANCE, layout_of
from sweeps.store.store import Store

# An unstable mixture with noise of 1e-9: rounding decides which pattern there is at t = 300, and no step size helps.
UNSTABLE = {
    "initial": {"kind": "noise", "amplitude": 1.0e-9},
    "times": {"stop": 600, "count": 3},
    "parameters": {"kappa": [0.4], "mobility": [1.0], "composition": [0.3]},
    "engine": {"kind": "solver", "tolerance": 1.0e-3, "dtype": "float32"},
}


def test_every_trajectory_of_the_solver_has_one(tiny):
    sweep = tiny()
    result = sweep.run()
    assert result.over_tolerance == ()
    data = open_sweep(result.store)
    estimate = data["error_estimate"]
    assert estimate.dims == ("point", "realization", "time")
    assert estimate.attrs["units"] == "1"
    assert (estimate.isel(time=0) == 0.0).all()
    assert (estimate.isel(time=slice(1, None)) > 0.0).all()
    assert float(estimate.max()) <= 0.01
    found = status(result.store)
    assert found["estimates"] == {"samples": 24, "over_tolerance": 0, "largest": None, "first": []}
    # Points of one trajectory that differ in mobility read the same curve at their own times.
    slow, fast = (estimate[data.mobility.values == m] for m in (1.0, 2.0))
    np.testing.assert_array_equal(slow.isel(time=4).values, fast.isel(time=2).values)


def test_what_exceeds_the_tolerance_is_said_everywhere(tiny, tmp_path):
    sweep = tiny(**UNSTABLE)
    result = sweep.run()
    assert len(result.over_tolerance) > 0
    assert OVER_TOLERANCE in result.over_tolerance[0]
    data = open_sweep(result.store)
    over = (data["error_estimate"] > 1e-3).any("time").values
    assert over.sum() == len(result.over_tolerance)
    assert (data["status"].values == 1).all()
    assert all(str(text).startswith(OVER_TOLERANCE) for text in data["error"].values[over])
    found = status(result.store)
    assert found["estimates"]["over_tolerance"] == over.sum()
    assert found["estimates"]["largest"] == pytest.approx(float(data["error_estimate"].max()))
    assert "estimated to exceed it" in describe_status(found)
    page = sweeps.report.write_report(result.store, tmp_path / "report")
    assert "exceed the tolerance" in page.read_text()


def test_the_command_line_says_it(tiny, tmp_path, capsys):
    sweep = tiny(**UNSTABLE)
    path = tmp_path / "unstable.yaml"
    path.write_text(sweep.config.model_dump_json())
    assert phasetwin.main(["run", str(path)]) == 0
    assert "may exceed the tolerance asked for" in capsys.readouterr().err


def test_a_learned_engine_stores_none(tiny):
    learned = tiny(engine={"kind": "surrogate", "model": "ch-jump"}, grid={"shape": [32, 32]})
    assert "error_estimate" not in layout_of(learned.plan()).results()
    assert "error_estimate" in layout_of(tiny().plan()).results()


def test_stores_written_before_stay_readable(stored, tmp_path):
    """They have no such variable, and keys of other numbers: a run refuses to mix."""
    store = Store.open(stored.store, mode="r+")
    del store.group["error_estimate"]
    store.update_attributes({})
    assert "error_estimate" not in Store.open(stored.store).layout.results()
    assert status(stored.store)["estimates"] is None
    assert open_sweep(stored.store)["free_energy"].notnull().all()
    assert sweeps.report.write_report(stored.store, tmp_path / "report").exists()
    with pytest.raises(InputError, match="error_estimate is not in the store"):
        stored.run()


def test_simulate_warns():
    grid = Grid((16, 16))
    problem = CahnHilliard(grid, kappa=0.4)
    start = torch.cat([noise(grid, 0.0, 0.1, [1]), noise(grid, 0.3, 1e-9, [1])]).float()
    with pytest.warns(ToleranceWarning, match=r"1 of 2 samples miss the tolerance: .* in sample 1, asked for 0.001"):
        simulate(problem, start, [1.0, 600.0], 1e-3, torch.float32)
