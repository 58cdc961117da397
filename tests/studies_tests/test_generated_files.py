"""Generated files of studies and twins, valid and broken: no traceback, right exit status, one line, no writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import inverse_studies as small
import numpy as np
import pytest
from generated_yaml import NAMES, SETTINGS, broken, check_broken, check_valid, somebodys_work
from hypothesis import given
from hypothesis import strategies as st

_positive = st.floats(0.01, 100.0)
_at = st.sampled_from([20, 40])
_bounds = st.builds(lambda a, log: {"low": a, "high": 2.0 * a, "log": log}, st.floats(0.1, 2.0), st.booleans())
_when = st.one_of(
    st.builds(lambda t: {"at": t}, _at),
    st.builds(lambda how: {"window": [0, 40], "reduce": how}, st.sampled_from(["mean", "min", "max", "slope"])),
    st.just({}),
)
_robust = st.sampled_from(["mean", "worst", {"quantile": 0.9}])
_aim = st.one_of(
    st.builds(lambda d: {"direction": d}, st.sampled_from(["minimize", "maximize"])),
    st.builds(lambda t: {"target": t}, st.floats(0.01, 0.5)),
)
_objective = st.builds(
    lambda qoi, when, how, aim: {"qoi": qoi, **when, "realizations": how, **aim},
    st.just("interface_density"),
    _when,
    _robust,
    _aim,
)
_constraint = st.builds(
    lambda qoi, top, t: {"qoi": qoi, "at": t, "max": top},
    st.sampled_from(["interface_density", "domain_size"]),
    st.floats(0.1, 30.0),
    _at,
)


@st.composite
def study(draw: Any) -> dict[str, Any]:
    """A study that is right in every key."""
    names = draw(st.lists(st.sampled_from(["mobility", "kappa"]), unique=True, min_size=1))
    objectives = draw(st.lists(_objective, min_size=1, max_size=2))
    kinds = ["tpe", "gp", "qmc", "random", "grid", "nsga2"]
    if len(objectives) == 1 and len(names) > 1:
        kinds.append("cmaes")
    return {
        "schema_version": 1,
        "name": draw(NAMES),
        "sweep": "small.yaml",
        "variables": {name: draw(_bounds) for name in names},
        "objectives": objectives,
        "constraints": draw(st.lists(_constraint, max_size=2)),
        "sampler": {"kind": draw(st.sampled_from(kinds)), "seed": draw(st.integers(0, 2**31))},
        "trials": draw(st.integers(1, 500)),
        "batch": draw(st.integers(1, 64)),
        "stop": draw(st.sampled_from(["held", "budget"])),
        "verify": {"top": draw(st.integers(1, 9)), "random": draw(st.integers(0, 9))},
    }


_prior = st.one_of(
    _positive,
    st.builds(lambda m, s: {"prior": "lognormal", "median": m, "sigma": s}, _positive, st.floats(0.05, 1.0)),
    st.builds(lambda a: {"prior": "uniform", "low": a, "high": 2.0 * a}, _positive),
)
_threshold = st.builds(
    lambda qoi, side, value: {"qoi": qoi, side: value},
    st.sampled_from(["domain_size", "interface_density"]),
    st.sampled_from(["above", "below"]),
    _positive,
)


@st.composite
def twin(draw: Any) -> dict[str, Any]:
    """A twin that is right in every key."""
    names = draw(st.lists(st.sampled_from(["mobility", "kappa"]), unique=True))
    return {
        "schema_version": 1,
        "name": draw(NAMES),
        "process": "cahn_hilliard",
        "observations": {
            "path": "frames.npy",
            "interval": draw(_positive),
            "noise": draw(st.one_of(st.just("auto"), st.floats(0.001, 0.5))),
            "levels": draw(st.sampled_from(["auto", [0, 1], [255, 0]])),
        },
        "grid": {"spacing": draw(_positive), "boundary": draw(st.sampled_from(["periodic", "no_flux"]))},
        "parameters": {name: draw(_prior) for name in names},
        "assimilation": {"members": draw(st.integers(8, 64)), "seed": draw(st.integers(0, 2**31))},
        "forecast": {
            "until": draw(_positive),
            "every": draw(_positive),
            "thresholds": draw(st.lists(_threshold, max_size=2)),
        },
        "engine": {"kind": "solver", "tolerance": draw(st.floats(1e-3, 0.1))},
    }


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in, with a sweep, a film of noise, and somebody's work where outputs would go."""
    monkeypatch.chdir(tmp_path)
    somebodys_work(tmp_path)
    (tmp_path / "small.yaml").write_text(json.dumps(small.SWEEP))
    np.save(tmp_path / "frames.npy", np.random.default_rng(0).random((3, 8, 8)))
    return tmp_path


@SETTINGS
@given(config=study())
def test_valid_studies(config: dict[str, Any], place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_valid(config, place, capsys, ("lint",))


@SETTINGS
@given(text=broken(study()))
def test_broken_studies_are_one_line(text: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_broken(text, place, capsys, "optimize", "objectives")


@SETTINGS
@given(config=twin())
def test_valid_twins(config: dict[str, Any], place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_valid(config, place, capsys, ("lint",))


@SETTINGS
@given(text=broken(twin()))
def test_broken_twins_are_one_line(text: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_broken(text, place, capsys, "assimilate", "observations")
