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
from sweeps.store.layout import DONE, VERIFIED


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
    assert "error 0.05" in result.missed[0]
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
        broken.setattr(tasks, "reference_engine", lambda config: _Breaking(config.engine.tolerance, "float64"))
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
