"""``engine: surrogate`` and ``engine: auto`` in a sweep, with a small model of random weights: what it predicts is
nonsense, what is promised of bands, trust, checks and files holds.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import phasetwin
from solvers.errors import InputError
from surrogate import auto_engine as choice_module
from surrogate.engine_kinds import surrogate_note
from surrogate.models.files import MODEL, WEIGHTS, save_model, update_model
from surrogate.networks.jump import JumpNet, JumpSettings
from surrogate.uncertainty.conformal import fit_calibration
from sweeps import Sweep, open_sweep
from sweeps.engines.reference import BAND_TOLERANCES
from sweeps.monitoring.status import status
from sweeps.plan.point_keys import config_hash

QOIS = ("free_energy", "mean", "domain_size", "domain_size_interface", "interface_density", "structure_factor")
SWEEP: dict[str, Any] = {
    "schema_version": 1,
    "name": "learned",
    "process": "cahn_hilliard",
    "grid": {"shape": [16, 16]},
    "parameters": {"mobility": [1.0, 2.0], "kappa": [0.7, 1.0, 1.9]},
    "initial": {"kind": "noise", "amplitude": 0.3},
    "times": {"stop": 100, "count": 11},
    "verify": {"count": 0},
}


def _calibration(width: float) -> dict[str, Any]:
    """Bands a factor exp(width) wide, from 30 made-up trajectories with that error."""
    ones = np.ones((30, 4))
    predicted = {n: ones[:, :, None].repeat(12, 2) if n == "structure_factor" else ones for n in QOIS}
    truth = {n: v * np.exp(width) for n, v in predicted.items()}
    lead = np.tile([10.0, 40.0, 80.0, 400.0], (30, 1))
    extra = {"structure_factor": (np.arange(12) * 2 * np.pi / 16).tolist()}
    return fit_calibration(predicted, truth, lead, extra=extra).as_dict()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    settings = JumpSettings(groups=3, width=8, blocks=2, reach=20.0, conserve=True)
    net = JumpNet(settings)
    for value in net.parameters():
        torch.nn.init.normal_(value, std=0.02)
    about = {"name": "small", "process": "cahn_hilliard", "kind": "jump", "settings": asdict(settings)}
    about |= {"schedule": {"ages": [0.0], "lengths": [20.0]}, "calibration": _calibration(9.0)}
    about |= {"domain": {"kappa": [0.25, 1.5], "composition": [-0.6, 0.6], "contrast": [0.0, 1.0]}}
    save_model(tmp_path / "model", net.state_dict(), about)
    return tmp_path / "model"


@pytest.fixture
def learned(tmp_path: Path, model: Path) -> Callable[..., Sweep]:
    def make(store: str = "learned.zarr", **changes: Any) -> Sweep:
        own = {"engine": {"kind": "surrogate", "model": str(model), **changes.pop("engine", {})}}
        output = {"path": str(tmp_path / store), **changes.pop("output", {})}
        return Sweep.from_config({**SWEEP, **own, "output": output, **changes})

    return make


def test_bands_trust_and_counters_are_stored(learned, model, client) -> None:
    sweep = learned(verify={"count": 2})
    result = sweep.run(client, progress=False)
    assert (result.computed, result.failed, result.untrusted) == (6, (), 2)
    ds = open_sweep(sweep.store)
    np.testing.assert_array_equal(ds.trust[:, 0], np.where(ds.kappa > 1.5, 0.0, 1.0))
    assert "kappa" in str(ds.error.values[ds.trust.values == 0][0])
    for name in QOIS:
        assert ((ds[f"{name}_low"] <= ds[name]) & (ds[name] <= ds[f"{name}_high"])).all()
        assert ds[f"{name}_low"].attrs["units"] == ds[name].attrs["units"]
    assert (ds.mass_drift < 1e-6).all()
    assert (ds.energy_rises >= 0).all()
    assert set(ds.engine.values.ravel()) == {"surrogate small"}
    assert ds.attrs["weights_sha256"] == json.loads((model / MODEL).read_text())["weights_sha256"]
    # Bands as wide as these hold anything, and ask for no accurate reference.
    checks = xr.open_zarr(sweep.store, group="verification")
    assert xr.open_zarr(sweep.store, group="reference").attrs["tolerance"] == BAND_TOLERANCES[1]
    assert (checks.inside_band == 1).all()
    assert result.verified == 2
    found = status(sweep.store)
    assert (found["trust"]["trusted"], found["trust"]["samples"]) == (4, 6)


def test_quantities_without_calibration_have_no_bands(learned, model, client) -> None:
    calibration = _calibration(9.0)
    for name in ("domain_size", "structure_factor"):
        del calibration["qois"][name]
    update_model(model, calibration=calibration)
    sweep = learned(verify={"count": 2}, engine={"outside": {"tolerance": 0.01}})
    result = sweep.run(client, progress=False)
    assert (result.computed, result.failed, result.verified) == (6, (), 2)
    ds = open_sweep(sweep.store)
    assert np.isfinite(ds.domain_size).all()
    assert np.isnan(ds.domain_size_low).all()
    assert np.isnan(ds.structure_factor_high).all()
    assert ((ds.free_energy_low <= ds.free_energy) & (ds.free_energy <= ds.free_energy_high)).all()
    note = surrogate_note(sweep.config.model_dump(mode="json"))
    assert note == "No bands for domain_size, structure_factor: the model was not calibrated for them."


def test_bands_that_miss_the_solver_are_told(learned, model, client) -> None:
    update_model(model, calibration=_calibration(1e-9))
    result = learned(verify={"count": 3}).run(client, progress=False)
    assert result.verified == 0
    assert "bands too narrow" in result.missed[-1]


def test_bfloat16_changes_the_network_alone(client, tmp_path) -> None:
    """The shipped model: frames of the solver to the bit, later ones nearly; other keys, the same keys as ever without.

    Rounding to 8 bits is 0.4 %; on this start bands of nine tenths are 1 to 5 % wide.
    """
    stores = []
    for precision in ("float32", "bfloat16"):
        engine = {"kind": "surrogate", "model": "ch-jump", "precision": precision}
        changes = {"grid": {"shape": [32, 32]}, "engine": engine, "output": {"path": str(tmp_path / precision)}}
        changes |= {"parameters": {"mobility": 1.0, "kappa": [0.7, 1.0]}, "times": {"stop": 400, "count": 21}}
        sweep = Sweep.from_config({**SWEEP, **changes})
        assert sweep.run(client, progress=False).computed == 2
        stores.append(open_sweep(sweep.store))
    exact, low = stores
    assert set(low.engine.values.ravel()) == {"surrogate ch-jump in bfloat16"}
    assert (exact.key.values != low.key.values).all()
    early = exact.time.values <= 20
    np.testing.assert_array_equal(low.field.values[:, :, early], exact.field.values[:, :, early])
    assert (low.field.values != exact.field.values).any()
    for name in ("domain_size", "free_energy", "interface_density"):
        inside = (low[name] >= exact[f"{name}_low"]) & (low[name] <= exact[f"{name}_high"])
        assert inside.mean() >= 0.9, name
    assert (low.mass_drift < 1e-5).all()
    without = {**SWEEP, "engine": {"kind": "surrogate", "model": "ch-jump"}}
    config = Sweep.from_config(without).config
    named = Sweep.from_config({**without, "engine": {**without["engine"], "precision": "float32"}}).config
    assert config_hash(config) == config_hash(named)


def test_outside_points_go_to_the_solver_where_asked(learned, client) -> None:
    sweep = learned(engine={"outside": {"tolerance": 0.01}})
    assert sweep.run(client, progress=False).untrusted == 0
    ds = open_sweep(sweep.store)
    solved = ds.kappa.values > 1.5
    assert set(ds.engine.values[solved].ravel()) == {"solver (outside the model's domain)"}
    config = {**SWEEP, "parameters": {"mobility": [1.0, 2.0], "kappa": 1.9}, "engine": {"tolerance": 0.01}}
    other = Sweep.from_config({**config, "output": {"path": sweep.store.replace("learned", "solver")}})
    other.run(client, progress=False)
    np.testing.assert_allclose(ds.field[solved], open_sweep(other.store).field, atol=2e-5)


def test_other_weights_are_other_points(learned, model) -> None:
    before = learned().plan().keys
    update_model(model, calibration=_calibration(8.0))
    assert not np.isin(learned().plan().keys, before).any()


def test_mobility_only_rescales_time_exactly(learned, client) -> None:
    sweep = learned(times={"stop": 200, "count": 21})
    sweep.run(client, progress=False)
    ds = open_sweep(sweep.store, unstack=True)
    assert np.isfinite(ds.field).all()
    slow, fast = ds.field.sel(mobility=1.0), ds.field.sel(mobility=2.0)
    np.testing.assert_array_equal(slow[:, :, ::2][:, :, :11], fast[:, :, :11])
    np.testing.assert_array_equal(
        ds.domain_size_low.sel(mobility=1.0)[:, :, ::2][:, :, :11], ds.domain_size_low.sel(mobility=2.0)[:, :, :11]
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": {"shape": [18, 16]}}, r"grid of 18 x 16 cells, allowed"),
        ({"process": "grain_growth", "initial": {"kind": "voronoi", "grains": 9}}, r"a problem of grain_growth"),
    ],
)
def test_what_a_model_cannot_take_is_one_line(learned, tmp_path, changes, message, capsys) -> None:
    sweep = learned(**changes)
    path = tmp_path / "sweep.yaml"
    path.write_text(json.dumps(sweep.config.model_dump(mode="json"), indent=1))
    assert phasetwin.main(["run", str(path)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "engine.model: " in err
    with pytest.raises(InputError, match=message):
        sweep.plan()
    assert not Path(sweep.store).exists()


@pytest.mark.parametrize("damage", ["flipped", "truncated", "foreign", "uncalibrated"])
def test_a_bad_model_is_one_line(learned, model, damage) -> None:
    content = bytearray((model / WEIGHTS).read_bytes())
    if damage == "flipped":
        content[200] ^= 1
    elif damage == "truncated":
        del content[-10:]
    elif damage == "foreign":
        (model / MODEL).write_text('{"a": 1}')
    else:
        update_model(model, calibration=None)
    (model / WEIGHTS).write_bytes(content)
    message = {"foreign": "format: found None", "uncalibrated": "no calibrated bands"}.get(damage, "corrupted")
    with pytest.raises(InputError, match=message) as caught:
        learned().plan()
    assert "\n" not in str(caught.value)


def test_auto_records_its_choice_and_keeps_to_it(tmp_path, client, monkeypatch) -> None:
    config = {**SWEEP, "engine": {"kind": "auto", "tolerance": 0.01}, "output": {"path": str(tmp_path / "auto.zarr")}}
    first = Sweep.from_config(config)
    plan = first.plan()
    assert plan.config.engine.kind == "solver"
    assert plan.choice is not None
    assert plan.choice.reason.startswith("solver: ")
    first.run(client, progress=False)
    assert json.loads(open_sweep(first.store).attrs["engine_choice"])["reason"] == plan.choice.reason
    assert status(first.store)["engine_choice"]["engine"]["kind"] == "solver"

    def measured_again(*_: Any) -> None:
        raise AssertionError("the store knows what was chosen")

    monkeypatch.setattr(choice_module, "_measured", measured_again)
    assert Sweep.from_config(config).run(client, progress=False).computed == 0
    # What auto chose is what naming it would have given.
    named = Sweep.from_config({**config, "engine": {"kind": "solver", "tolerance": 0.01, "dtype": "float32"}})
    assert (named.plan().keys == plan.keys).all()
