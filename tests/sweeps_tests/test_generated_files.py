"""Generated YAML files, valid and broken: no traceback, the right exit status, one line, and nothing written.

``PHASETWIN_GENERATED=500`` sets how many; the default keeps the suite short.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import phasetwin

COUNT = int(os.environ.get("PHASETWIN_GENERATED", "25"))
SETTINGS = settings(
    max_examples=COUNT,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

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
        "name": draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,12}", fullmatch=True)),
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


_rubbish = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def _places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(data, dict):
        return found + [p for key in data for p in _places(data[key], (*path, key))]
    if isinstance(data, list):
        return found + [p for i, value in enumerate(data) for p in _places(value, (*path, i))]
    return found


@st.composite
def broken(draw: Any) -> str:
    """A sweep with something replaced, taken away or added; or not even YAML any more."""
    config = draw(valid())
    place = draw(st.sampled_from(_places(config)))
    parent = config
    for key in place[:-1]:
        parent = parent[key]
    how = draw(st.sampled_from(["replace", "remove", "add", "cut", "text"]))
    if how == "replace":
        parent[place[-1]] = draw(_rubbish)
    elif how == "remove":
        del parent[place[-1]]
    elif how == "add" and isinstance(parent, dict):
        parent[draw(st.text(min_size=1, max_size=8))] = draw(_rubbish)
    text = json.dumps(config)
    if how == "cut":
        return text[: draw(st.integers(0, len(text)))]
    if how == "text":
        at = draw(st.integers(0, len(text)))
        return text[:at] + draw(st.text(min_size=1, max_size=5)) + text[at:]
    return text


def _files(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in, with somebody's work where sweeps would go."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "thesis.txt").write_text("years of work")
    return tmp_path


@SETTINGS
@given(config=valid())
def test_valid_files_are_planned(config: dict[str, Any], place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = place / "sweep.yaml"
    file.write_text(json.dumps(config))
    before = _files(place)
    for verb in ("lint", "plan"):
        assert phasetwin.main([verb, str(file)]) == 0, (config, capsys.readouterr().err)
    assert capsys.readouterr().err == ""
    assert _files(place) == before


@SETTINGS
@given(text=broken())
def test_broken_files_are_one_line(text: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = place / "sweep.yaml"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    before = _files(place)
    status = phasetwin.main(["lint", str(file)])
    out, err = capsys.readouterr()
    # What was replaced may still be right.
    assert status in (0, 2), (text, err)
    if status == 2:
        assert out == ""
        assert err.count("\n") == 1, err
        assert "Traceback" not in err
        assert "sweep.yaml" in err
        # What cannot be read can be neither planned nor run, and says so in the same words.
        assert phasetwin.main(["run", str(file)]) == 2
        assert capsys.readouterr().err == err
    assert _files(place) == before
