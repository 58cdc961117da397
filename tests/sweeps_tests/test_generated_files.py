"""Generated sweep files, valid and broken: no traceback, the right exit status, one line, and nothing written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from generated_yaml import NAMES, SETTINGS, broken, check_broken, check_valid, somebodys_work
from hypothesis import given
from hypothesis import strategies as st

_positive = st.floats(0.01, 100.0)
_count = st.integers(1, 6)
_spread = st.one_of(
    _positive,
    st.lists(_positive, min_size=1, max_size=4, unique=True),
    st.builds(lambda a, n: {"linspace": [a, a + 1.0, n]}, _positive, _count),
    st.builds(lambda a, n: {"logspace": [a, 3.0 * a, n]}, _positive, _count),
)
_range = st.one_of(
    _positive, st.builds(lambda a, log: {"low": a, "high": 2.0 * a, "log": log}, _positive, st.booleans())
)
_engine = st.one_of(
    st.builds(lambda t: {"kind": "solver", "tolerance": t}, st.floats(1e-4, 0.4)),
    st.builds(lambda t: {"tolerance": t, "dtype": "float64"}, st.floats(1e-4, 0.4)),
    st.just({"kind": "surrogate", "model": "ch-jump"}),
)
_times = st.one_of(
    st.builds(lambda stop, n: {"stop": stop, "count": n}, st.floats(0.5, 500.0), st.integers(2, 20)),
    st.lists(st.floats(0.0, 900.0), min_size=1, max_size=8, unique=True).map(sorted),
)
_cluster = st.one_of(
    st.builds(lambda n: {"kind": "local", "workers": n}, _count),
    st.just({"address": "tcp://127.0.0.1:1"}),
    st.builds(lambda n: {"kind": "slurm", "jobs": n, "queue": "short"}, _count),
    st.builds(lambda n: {"kind": "ssh", "hosts": ["a"] * n}, _count),
)


@st.composite
def valid(draw: Any) -> dict[str, Any]:
    """A sweep that is right in every key."""
    sampled = draw(st.booleans())
    names = draw(st.lists(st.sampled_from(["mobility", "kappa"]), unique=True))
    parameters = {name: draw(_range if sampled else _spread) for name in names}
    config: dict[str, Any] = {
        "schema_version": 1,
        "name": draw(NAMES),
        "process": "cahn_hilliard",
        # What a network takes apart into patches: whole ones.
        "grid": {"shape": [4 * n for n in draw(st.tuples(st.integers(1, 16), st.integers(1, 16)))]},
        "parameters": parameters,
        "initial": {"kind": "noise", "amplitude": draw(st.floats(0.0, 0.2))},
        "times": draw(_times),
        "engine": draw(_engine),
        "cluster": draw(_cluster),
        "realizations": {"count": draw(_count), "seed": draw(st.integers(0, 2**40))},
    }
    if sampled and any(isinstance(p, dict) for p in parameters.values()):
        config["design"] = {"sampler": draw(st.sampled_from(["sobol", "lhs", "random"])), "n": draw(st.integers(1, 40))}
    elif sampled:
        config["parameters"] = {}
    return config


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in, with somebody's work where sweeps would go."""
    monkeypatch.chdir(tmp_path)
    somebodys_work(tmp_path)
    return tmp_path


@SETTINGS
@given(config=valid())
def test_valid_files_are_planned(config: dict[str, Any], place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_valid(config, place, capsys, ("lint", "plan"))


@SETTINGS
@given(text=broken(valid()))
def test_broken_files_are_one_line(text: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_broken(text, place, capsys, "run", "")
