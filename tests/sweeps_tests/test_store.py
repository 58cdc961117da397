"""The store: readable with plain xarray, lazy, documented, exact."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from solvers import CahnHilliard, Frames, simulate
from solvers.errors import InputError
from solvers.initial import noise
from sweeps import open_sweep
from sweeps.engines.registry import ENGINES
from sweeps.engines.solver import SolverEngine
from sweeps.monitoring.status import status
from sweeps.plan.point_keys import realization_seeds
from sweeps.store.dataset import finished_samples
from sweeps.store.layout import DIVERGED, DONE, FAILED, layout_of
from sweeps.store.store import Store, write_shard


@pytest.fixture
def opened(stored):
    """A finished sweep and its dataset."""
    return stored, open_sweep(stored.store)


def test_plain_xarray_reads_it_without_warnings(opened) -> None:
    sweep, ds = opened
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = xr.open_zarr(sweep.store)
    assert plain.sizes == ds.sizes
    assert {"mobility", "kappa", "composition", "point", "realization", "time", "k"} <= set(plain.coords)
    assert plain.field.dims == ("point", "realization", "time", "y", "x")
    assert plain.structure_factor.dims == ("point", "realization", "time", "k")
    assert plain.field.dtype == np.float32


def test_every_variable_has_units_and_a_name(opened) -> None:
    for name, variable in opened[1].variables.items():
        assert variable.attrs["units"], name
        assert variable.attrs["long_name"], name


def test_status_has_cf_flags(opened) -> None:
    attributes = opened[1].status.attrs
    assert attributes["flag_meanings"].split() == ["pending", "done", "failed", "diverged", "verified"]
    assert list(attributes["flag_values"]) == [0, 1, 2, 3, 4]
    assert (opened[1].status == DONE).all()
    assert set(np.unique(opened[1].engine.values)) == {"solver"}
    assert (opened[1].wall_s.values > 0).all()


def test_root_attributes_tell_where_numbers_come_from(opened) -> None:
    sweep, ds = opened
    assert json.loads(ds.attrs["config"])["name"] == "tiny"
    assert ds.attrs["config_hash"] == sweep.plan().hash
    for name in ("versions", "git_commit", "device", "host_cores", "wall_time_s", "history"):
        assert name in ds.attrs


def test_points_are_in_design_order_and_unstack(opened) -> None:
    sweep, ds = opened
    np.testing.assert_array_equal(ds.point, np.arange(12))
    np.testing.assert_array_equal(ds.kappa.values[:4], [0.7, 1.0, 1.3, 1.9])
    assert ds.field.chunks is not None
    grid = open_sweep(sweep.store, unstack=True)
    assert grid.field.dims[:2] == ("mobility", "kappa")
    assert grid.field.chunks is not None
    for mobility, kappa in ((0.5, 1.9), (2.0, 1.0)):
        row = int(np.flatnonzero((ds.mobility == mobility) & (ds.kappa == kappa))[0])
        np.testing.assert_array_equal(grid.field.sel(mobility=mobility, kappa=kappa), ds.field.isel(point=row))


def test_collapse_equals_separate_runs(opened) -> None:
    sweep, ds = opened
    settings: dict[str, Any] = {"tolerance": 1e-2, "dtype": torch.float32}
    grid = sweep.config.grid.build()
    start = noise(grid, torch.zeros(1), 0.05, realization_seeds(sweep.config)[1:])
    for row in (0, 5, 11):
        mobility, kappa = float(ds.mobility[row]), float(ds.kappa[row])
        alone = simulate(CahnHilliard(grid, mobility, kappa), start, ds.time.values.copy(), **settings)
        # float32: scaling time by M or the equation by M round differently.
        np.testing.assert_allclose(ds.field.isel(point=row, realization=1), alone[0], atol=2e-5)


@pytest.mark.parametrize("retain", ["qoi", {"fields_at": [10, 20]}])
def test_retain(tiny, client, opened, retain) -> None:
    sweep = tiny("other.zarr", output={"retain": retain})
    sweep.run(client, progress=False)
    ds = open_sweep(sweep.store)
    np.testing.assert_array_equal(ds.domain_size, opened[1].domain_size)
    if retain == "qoi":
        assert "field" not in ds
        assert not {"x", "y"} & set(ds.dims)
    else:
        assert ds.field.dims == ("point", "realization", "time_field", "y", "x")
        np.testing.assert_array_equal(ds.field, opened[1].field.sel(time=[10, 20]))


def test_memory_url(tiny, client, opened) -> None:
    sweep = tiny("memory://stores/tiny.zarr")
    sweep.run(client, progress=False)
    np.testing.assert_array_equal(open_sweep(sweep.store).field, opened[1].field)
    assert sweep.run(client, progress=False).computed == 0


def test_grain_growth(tiny, client) -> None:
    sweep = tiny(
        process="grain_growth",
        grid={"shape": [24, 24]},
        initial={"kind": "voronoi", "grains": 6},
        parameters={"mobility": [0.5, 1.0], "kappa": [1.0, 2.0]},
        realizations={"count": 1},
    )
    result = sweep.run(client, progress=False)
    assert not result.failed
    ds = open_sweep(sweep.store)
    assert ds.grain_id.dtype == np.int32
    assert ds.grain_id.dims == ds.field.dims
    np.testing.assert_array_equal(ds.grain_count.isel(time=0), 6)
    assert ds.grain_area_quantile.dims[-1] == "quantile"


class _Spoilt(SolverEngine):
    """The solver, but some samples diverge and some raise."""

    def rollout(self, problem: Any, initial: torch.Tensor, times: torch.Tensor) -> Frames:
        if (problem.kappa == 1.3).any():
            raise RuntimeError("no steps\nleft")
        frames = super().rollout(problem, initial, times)
        frames.field[problem.kappa == 1.0, 3:] = torch.nan
        return frames


def test_failed_and_diverged_points_spare_the_others(tiny, client, opened, monkeypatch) -> None:
    monkeypatch.setitem(
        ENGINES.loaded(),
        "solver",
        replace(ENGINES["solver"], build=lambda config: _Spoilt(config.engine.tolerance, config.engine.dtype)),
    )
    sweep = tiny("spoilt.zarr", batch={"rollouts": 4})
    result = sweep.run(client, progress=False)
    ds = open_sweep(sweep.store)
    expected = {0.7: DONE, 1.0: DIVERGED, 1.3: FAILED, 1.9: DONE}
    np.testing.assert_array_equal(ds.status[:, 0], [expected[k] for k in ds.kappa.values])
    assert set(ds.error.values[ds.status.values == FAILED]) == {"RuntimeError: no steps left"}
    assert all("not finite from t = " in text for text in ds.error.values[ds.status.values == DIVERGED])
    assert result.diverged == 3
    assert len(result.failed) == 12
    assert "kappa 1.3" in result.failed[-1]
    good = np.isin(ds.kappa.values, [0.7, 1.9])
    np.testing.assert_allclose(ds.field[good], opened[1].field[good], atol=2e-5)
    assert status(sweep.store)["states"]["failed"] == 3
    monkeypatch.undo()
    # Failed points are tried again, diverged ones are not: they would diverge again.
    again = sweep.run(client, progress=False)
    assert (again.computed, again.diverged) == (3, 3)


def test_finished_samples(tiny, client, stored) -> None:
    """In storage order, without what is not done; fields object by object are the fields of the dataset."""
    store = Store.open(stored.store, mode="r+")
    store.array("status")[4, 1] = FAILED
    store.array("status")[7] = 0
    samples = finished_samples(stored.store)
    pairs = list(zip(samples.point.tolist(), samples.realization.tolist(), strict=True))
    assert pairs == [(p, r) for p in range(12) for r in range(2) if p != 7 and (p, r) != (4, 1)]
    raw = xr.open_zarr(stored.store)
    rows = xr.DataArray(samples.point, dims="sample"), xr.DataArray(samples.realization, dims="sample")
    for name in ("field", "structure_factor"):
        expected = raw[name].isel(point=rows[0], realization=rows[1])
        found = samples.fields() if name == "field" else samples.quantity(name)
        np.testing.assert_array_equal(found, expected.transpose("sample", ...))
    np.testing.assert_array_equal(samples.fields(frame=0, dtype="float64"), samples.fields()[:, 0])
    parameters = samples.parameters()
    np.testing.assert_array_equal(parameters["kappa"], raw["kappa"].values[samples.point])
    assert set(parameters["amplitude"]) == {0.05}
    np.testing.assert_array_equal(samples.field_times, samples.times)
    assert {"free_energy", "structure_factor"} < set(samples.quantities)
    assert (samples.process, samples.engine, len(samples)) == ("cahn_hilliard", "solver", 21)


def test_nothing_finished(tiny) -> None:
    sweep = tiny()
    plan = sweep.plan()
    Store.create(sweep.store, plan, layout_of(plan), {"config": plan.config.model_dump_json()})
    with pytest.raises(InputError, match="no finished sample; run the sweep first"):
        finished_samples(sweep.store)


@pytest.mark.parametrize("retain", ["fields", "qoi", {"fields_at": [10, 20]}])
def test_the_layout_of_a_store_is_that_of_its_plan(tiny, retain) -> None:
    plan = tiny(output={"retain": retain}, batch={"rollouts": 2}).plan()
    made = Store.create(plan.config.output.path, plan, layout_of(plan), {"config": plan.config.model_dump_json()})
    read, planned = Store.open(made.url).layout, layout_of(plan)
    for name in ("times", "field_index"):
        np.testing.assert_array_equal(getattr(read, name), getattr(planned, name))
    assert (read.sizes, read.batch, read.learned) == (planned.sizes, planned.batch, planned.learned)
    assert read.results().keys() == planned.results().keys()


def test_a_shard_is_written_whole_or_not_at_all(tiny) -> None:
    sweep = tiny(batch={"rollouts": 2})
    plan = sweep.plan()
    layout = layout_of(plan)
    Store.create(sweep.store, plan, layout, {"config": "{}"})
    part = {"mean": np.zeros((3, 2, 5))}
    with pytest.raises(InputError, match="not whole objects"):
        write_shard(sweep.store, 0, part)
    assert np.isnan(Store.open(sweep.store).read("mean")).all()


def test_a_model_that_is_not_there_is_refused_before_anything_is_written(tiny, tmp_path) -> None:
    sweep = tiny(engine={"kind": "surrogate", "model": "nowhere"})
    with pytest.raises(InputError, match=r"engine\.model: "):
        sweep.run(progress=False)
    assert not list(tmp_path.iterdir())
