"""Spot checks: the errors they find are those that are there, and they are made once."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from solvers.errors import InputError
from sweeps import open_sweep
from sweeps.engines.registry import ENGINES
from sweeps.engines.solver import SolverEngine
from sweeps.execution import task as tasks
from sweeps.execution import trajectories as rollouts
from sweeps.execution.acceptance import by_bands, by_tolerance, relative_error, relative_width, share_inside
from sweeps.plan import check_budget
from sweeps.store.layout import DONE, PENDING, VERIFIED


@pytest.fixture
def verified(tiny, finished):
    """The tiny sweep with three points checked."""
    sweep = tiny(verify={"count": 3})
    shutil.copytree(finished(3), sweep.store)
    return sweep


def test_groups_and_status(verified) -> None:
    sweep = verified
    ds = open_sweep(sweep.store)
    reference = xr.open_zarr(sweep.store, group="reference")
    checks = xr.open_zarr(sweep.store, group="verification")
    assert reference.sizes == {**ds.sizes, "point": 3}
    assert reference.field.dims == ds.field.dims
    passed = ds.point.values[(ds.status == VERIFIED).all("realization")]
    np.testing.assert_array_equal(np.sort(reference.point), passed)
    assert (checks.within_tolerance == 1).all()
    for name in ("free_energy", "domain_size", "structure_factor", "mean"):
        assert checks[name].dims == ("point", "realization")
        assert (checks[name] < 1e-2).all()


def test_errors_are_those_of_the_fields(verified) -> None:
    sweep = verified
    ds = open_sweep(sweep.store)
    reference = xr.open_zarr(sweep.store, group="reference").load()
    checks = xr.open_zarr(sweep.store, group="verification").load()
    there = ds.field.sel(point=reference.point).astype(float)
    off = np.sqrt(
        ((there - reference.field) ** 2).sum(("y", "x")) / (reference.field.astype(float) ** 2).sum(("y", "x"))
    )
    np.testing.assert_allclose(checks.field, off, rtol=1e-6)
    assert 0 < float(checks.field.max()) < 1e-2


def test_policies(verified) -> None:
    sweep = verified
    ds = open_sweep(sweep.store)
    chosen = xr.open_zarr(sweep.store, group="reference").point.values
    density = ds.interface_density.isel(time=-1).mean("realization")
    assert int(density.values.argmax()) in chosen
    assert int(density.values.argmin()) in chosen


def test_checked_once(verified, client, monkeypatch) -> None:
    sweep = verified
    solved = []
    monkeypatch.setattr(rollouts, "_simulate", lambda *args: solved.append(args))
    for result in (sweep.run(client, progress=False), sweep.verify(client, progress=False)):
        assert (result.verified, result.missed) == (3, ())
    assert not solved


class _Sloppy(SolverEngine):
    """The solver, 5 % off."""

    def rollout(self, problem, initial, times):
        frames = super().rollout(problem, initial, times)
        frames.field.mul_(1.05)
        return frames


def test_a_missed_tolerance_is_told(tiny, client, monkeypatch) -> None:
    monkeypatch.setitem(
        ENGINES.loaded(),
        "solver",
        replace(ENGINES["solver"], build=lambda config: _Sloppy(config.engine.tolerance, config.engine.dtype)),
    )
    sweep = tiny(verify={"count": 2})
    result = sweep.run(client, progress=False)
    assert result.verified == 0
    assert len(result.missed) == 2
    assert "error 0.1 of " in result.missed[0]
    assert (open_sweep(sweep.store).status == DONE).all()
    checks = xr.open_zarr(sweep.store, group="verification")
    assert (checks.within_tolerance == 0).all()


class _Breaking(SolverEngine):
    """The solver, that never gets to an end."""

    def rollout(self, problem, initial, times):  # noqa: ARG002
        raise FloatingPointError("no solution here")


def test_a_check_without_a_solution_is_told_and_tried_again(tiny, client, monkeypatch) -> None:
    sweep = tiny(verify={"count": 2})
    with monkeypatch.context() as broken:
        broken.setattr(tasks, "reference_engine", lambda *_: _Breaking(1e-2, "float64"))
        result = sweep.run(client, progress=False)
    assert (result.verified, result.failed, result.missed) == (0, (), ())
    assert len(result.unchecked) == 4  # two points, two realizations
    assert "no solution here" in result.unchecked[0]
    result = sweep.run(client, progress=False)
    assert (result.computed, result.verified, result.unchecked) == (0, 2, ())


def test_without_fields(tiny, client) -> None:
    sweep = tiny(output={"retain": "qoi"}, verify={"count": 2})
    assert sweep.run(client, progress=False).verified == 2
    assert "field" not in xr.open_zarr(sweep.store, group="reference")


def test_nothing_to_verify(tiny, client) -> None:
    with pytest.raises(InputError, match="nothing is there"):
        tiny().verify(client, progress=False)


@pytest.fixture
def scarce(monkeypatch) -> None:
    """Checks may take next to nothing: one trajectory is left."""
    monkeypatch.setattr(check_budget, "ALWAYS_SECONDS", 0.0)


def test_points_share_a_trajectory_where_checks_would_cost_too_much(tiny, client, scarce, monkeypatch) -> None:
    solved = []
    rollout = SolverEngine.rollout

    def counted(engine, problem, initial, times):
        if engine.name == "reference solver":
            solved.append(len(initial))
        return rollout(engine, problem, initial, times)

    monkeypatch.setattr(SolverEngine, "rollout", counted)
    sweep = tiny(verify={"count": 3})
    assert sweep.run(client, progress=False).verified == 3
    assert solved == [1]
    reference = xr.open_zarr(sweep.store, group="reference").load()
    checks = xr.open_zarr(sweep.store, group="verification").load()
    assert len(np.unique(reference.kappa)) == 1
    assert sorted(reference.mobility.values) == [0.5, 1.0, 2.0]
    # One of two realizations, the same of all three points: they are read off one trajectory.
    done = reference.status.values == DONE
    assert done.sum() == 3
    assert (done == done[0]).all()
    assert (reference.status.values[~done] == PENDING).all()
    np.testing.assert_array_equal(checks.within_tolerance, np.where(done, 1, -1))
    np.testing.assert_array_equal(np.isfinite(checks.free_energy), done)
    np.testing.assert_array_equal(np.isfinite(reference.free_energy).all("time"), done)
    assert (checks.passed == 1).all()
    assert checks.attrs["samples"] == 3
    assert sweep.status()["verification"]["points"] == 3
    assert "3 points (3 samples) were solved again" in sweep.report().read_text()


def test_few_samples_are_the_same_whatever_the_workers_and_restarts(tiny, client, scarce, same_store) -> None:
    whole, parts = (tiny(f"{name}.zarr", verify={"count": 4}, batch={}) for name in ("whole", "parts"))
    whole.run(client, progress=False)
    # As a run that was stopped when its points were done, and checked by two processes later.
    tiny("parts.zarr", batch={}).run(client, progress=False)
    later = tiny("parts.zarr", verify={"count": 4}, batch={}, cluster={"kind": "local", "workers": 2})
    assert later.run(progress=False).verified == 4
    same_store(whole.store, parts.store)


def test_the_reference_is_as_accurate_as_the_check_needs(verified, tiny) -> None:
    reference = xr.open_zarr(verified.store, group="reference")
    assert reference.attrs["tolerance"] == pytest.approx(1e-3)  # a tenth of the engine's
    # Where one trajectory at a tenth is more than the share, less accuracy before more time.
    grains = {"process": "grain_growth", "initial": {"kind": "voronoi"}, "grid": {"shape": [64, 64]}}
    sweep = tiny(**grains, parameters={"kappa": [1.0, 1.5]}, times={"stop": 100, "count": 5}, verify={"count": 1})
    checks = sweep.plan().estimate.checks
    assert checks.tolerance == pytest.approx(1e-2 / 3)
    assert (checks.points, checks.rollouts, checks.realizations) == (1, 1, 1)


def test_a_wrong_quantity_beside_right_fields_is_seen() -> None:
    solved = np.ones((1, 2), dtype=bool)
    errors = {"field": np.full((1, 2, 3), 1e-3), "free_energy": np.array([[1e-3, 2e-2]])}
    result = by_tolerance(1e-2, 1e-3, errors, solved)
    assert result.good.tolist() == [[True, False]]
    assert result.why == ["error 0.02 of free_energy, tolerance 0.01"]
    solved[0, 1] = False
    assert by_tolerance(1e-2, 1e-3, errors, solved).passed.all()


def test_what_the_reference_cannot_tell_is_no_miss() -> None:
    for error, passes in ((0.0109, True), (0.0111, False)):
        result = by_tolerance(1e-2, 1e-3, {"field": np.full((1, 1, 3), error)}, np.ones((1, 1), dtype=bool))
        assert result.passed.tolist() == [passes]


def _shares(generator: np.random.Generator, width: float, trajectories: int) -> np.ndarray:
    """Shares inside 90 % bands of the given width, (trajectory, 1): an error that lasts, and one that changes."""
    lasting, passing = generator.normal(size=(2, trajectories, 50))
    errors = np.sqrt(0.3) * lasting[:, :1] + np.sqrt(0.7) * passing
    return (np.abs(errors) <= 1.645 * width).mean(axis=1)[:, None]


def test_half_as_wide_bands_are_told_from_sound_ones() -> None:
    generator = np.random.default_rng(0)
    count = 8
    solved, rollout = np.ones((count, 1), dtype=bool), np.arange(count)

    def missed(width: float) -> int:
        quantities = ("free_energy", "domain_size", "interface_density")
        drawn = ({name: _shares(generator, width, count) for name in quantities} for _ in range(100))
        return sum(bool(by_bands(shares, solved, rollout).overall) for shares in drawn)

    assert missed(1.0) <= 2
    assert missed(0.5) >= 98


def test_one_trajectory_counts_once_however_many_points_it_serves() -> None:
    shares = {"free_energy": np.full((8, 1), 0.75)}
    solved = np.ones((8, 1), dtype=bool)
    assert not by_bands(shares, solved, np.arange(8)).passed.any()
    assert by_bands(shares, solved, np.zeros(8, dtype=int)).passed.all()


def test_a_point_far_outside_its_bands_is_named() -> None:
    shares = {"free_energy": np.ones((20, 1))}
    shares["free_energy"][3] = 0.1
    result = by_bands(shares, np.ones((20, 1), dtype=bool), np.arange(20))
    assert not result.overall
    assert np.flatnonzero(~result.passed).tolist() == [3]
    assert result.why[3] == "10 % of its values inside their bands, asked for 33 %"


def test_bands_without_width_at_the_start_hold_what_rounding_moves() -> None:
    band = np.array([[1.0, 1.0]])
    truth = np.array([[1.0 + 1e-6, 1.1]])
    assert share_inside(band, band, truth, 1e-5) == [0.5]
    assert relative_width({"free_energy": (np.array([[1.0, 0.9]]), np.array([[1.0, 1.1]]))}) == pytest.approx(0.2)
    assert np.isnan(relative_width({}))


def test_undefined_on_both_sides_is_no_error() -> None:
    value, reference = np.array([[1.0, np.nan]]), np.array([[1.0, np.nan]])
    assert relative_error("free_energy", value, reference) == [0.0]
    assert not relative_error("free_energy", np.array([[1.0, 2.0]]), reference) <= 1e-2
