"""``engine: emulator``: statistics with bands in a store, checked by the solver."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import phasetwin
from solvers.errors import InputError
from solvers.qois.registry import QOIS, Qoi, register_qoi
from surrogate.engine_kinds import emulator_note
from sweeps import Sweep, open_sweep
from sweeps.monitoring.status import status

SWEEP = {
    "schema_version": 1,
    "name": "statistics",
    "process": "cahn_hilliard",
    "grid": {"shape": [16, 16]},
    "parameters": {"mobility": [0.5, 1.0], "kappa": {"linspace": [0.7, 1.9, 9]}},
    "realizations": {"count": 3, "independent": True},
    "initial": {"kind": "noise", "amplitude": 0.3},
    "times": {"stop": 40, "count": 5},
    "engine": {"kind": "solver", "tolerance": 1.0e-2},
    "output": {"retain": "qoi"},
    "verify": {"count": 0},
}


@pytest.fixture(scope="module")
def emulator(tmp_path_factory, client) -> str:
    folder = tmp_path_factory.mktemp("emulator")
    store = folder / "learn.zarr"
    Sweep.from_config({**SWEEP, "output": {"path": str(store), "retain": "qoi"}}).run(client, progress=False)
    assert phasetwin.main(["emulate", str(store), "--out", str(folder / "model")]) == 0
    return str(folder / "model")


def _sweep(tmp_path, model: str, **changes) -> Sweep:
    own = {"parameters": {"mobility": [0.7], "kappa": [1.0, 1.4, 1.77]}, "realizations": {"count": 2, "seed": 5}}
    own |= {"engine": {"kind": "emulator", "model": model}}
    return Sweep.from_config({**SWEEP, "output": {"path": str(tmp_path / "e.zarr"), "retain": "qoi"}, **own, **changes})


def test_bands_trust_and_spot_checks_are_stored(tmp_path, emulator, client) -> None:
    sweep = _sweep(tmp_path, emulator, verify={"count": 2})
    result = sweep.run(client, progress=False)
    assert (result.computed, result.failed, result.untrusted) == (3, (), 0)
    ds = open_sweep(sweep.store)
    assert (ds.trust == 1).all()
    assert ((ds.domain_size_low < ds.domain_size) & (ds.domain_size < ds.domain_size_high)).all()
    assert ds.structure_factor_low.dims == ds.structure_factor.dims
    assert ds.attrs["weights_sha256"] == json.loads(Path(emulator, "emulator.json").read_text())["sha256"]
    checks = xr.open_zarr(sweep.store, group="verification")
    assert set(np.unique(checks.inside_band)) <= {0, 1}
    assert ((checks.free_energy_inside >= 0) & (checks.free_energy_inside <= 1)).all()
    assert status(sweep.store)["verification"]["judged_by"] == "bands"
    assert "free_energy_low" not in xr.open_zarr(sweep.store, group="reference")
    assert sweep.run(client, progress=False).computed == 0


def test_a_registered_quantity_that_was_not_learned_is_missing(tmp_path, emulator, client) -> None:
    register_qoi(Qoi("new", "1", "a quantity", "solvers.qois.analysis:mean_field", processes=("cahn_hilliard",)))
    try:
        sweep = _sweep(tmp_path, emulator)
        assert sweep.run(client, progress=False).computed == 3
        ds = open_sweep(sweep.store)
        assert np.isnan(ds.new).all()
        assert np.isnan(ds.new_low).all()
        assert np.isfinite(ds.free_energy).all()
        note = emulator_note(sweep.config.model_dump(mode="json"))
        assert note == "No values for new: the emulator has not learned them."
    finally:
        QOIS.unregister("new")


def test_outside_its_domain_it_says_so(tmp_path, emulator, client) -> None:
    sweep = _sweep(tmp_path, emulator, parameters={"kappa": [1.0, 5.0]})
    assert sweep.run(client, progress=False).untrusted == 1
    ds = open_sweep(sweep.store)
    np.testing.assert_array_equal(ds.trust[:, 0], [1, 0])
    assert "kappa" in str(ds.error.values[1, 0])
    assert status(sweep.store)["trust"]["trusted"] == 2


def test_another_box_or_start_is_refused(tmp_path, emulator) -> None:
    for changes in ({"grid": {"shape": [16, 32]}}, {"grid": {"shape": [16, 16], "boundary": "no_flux"}}):
        with pytest.raises(InputError, match=r"engine\.model: emulator .* allowed cahn_hilliard"):
            _sweep(tmp_path, emulator, **changes).plan()


def test_a_damaged_emulator_is_refused(tmp_path, emulator, client) -> None:
    import shutil

    from surrogate.emulator_engine import _load_emulator

    broken = tmp_path / "broken"
    shutil.copytree(emulator, broken)
    content = bytearray((broken / "emulator.npz").read_bytes())
    content[100] ^= 1
    (broken / "emulator.npz").write_bytes(content)
    _load_emulator.cache_clear()
    with pytest.raises(InputError, match="corrupted"):
        _sweep(tmp_path, str(broken)).plan()
