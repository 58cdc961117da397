"""What tests of generated YAML files share: how many, how they are broken, and what must hold of the command line.

``PHASETWIN_GENERATED=500`` sets how many; the default keeps the suite short.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

import phasetwin

SETTINGS = settings(
    max_examples=int(os.environ.get("PHASETWIN_GENERATED", "25")),
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,12}", fullmatch=True)

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
def broken(draw: Any, valid: st.SearchStrategy[dict[str, Any]]) -> str:
    """A file with something replaced, taken away or added; or not even YAML any more."""
    config = draw(valid)
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


def all_files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def somebodys_work(folder: Path) -> None:
    """A file where outputs would go."""
    (folder / "runs").mkdir()
    (folder / "runs" / "thesis.txt").write_text("years of work")


def check_valid(
    config: dict[str, Any], place: Path, capsys: pytest.CaptureFixture[str], verbs: tuple[str, ...]
) -> None:
    """A right file is right, silently, and nothing is written."""
    file = place / "file.yaml"
    file.write_text(json.dumps(config))
    before = all_files(place)
    for verb in verbs:
        assert phasetwin.main([verb, str(file)]) == 0, (config, capsys.readouterr().err)
    assert capsys.readouterr().err == ""
    assert all_files(place) == before


def check_broken(text: str, place: Path, capsys: pytest.CaptureFixture[str], verb: str, marker: str) -> None:
    """A wrong file is one line and status 2, from ``lint`` and from the verb that would run it; nothing is written.

    Args:
        text: of the file.
        place: the current folder.
        capsys: pytest's.
        verb: that runs files of this kind.
        marker: the key by which ``lint`` tells the kind; empty for sweeps.
    """
    file = place / "file.yaml"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    before = all_files(place)
    status = phasetwin.main(["lint", str(file)])
    out, err = capsys.readouterr()
    # What was replaced may still be right.
    assert status in (0, 2), (text, err)
    if status == 2:
        assert out == ""
        assert err.count("\n") == 1, err
        assert "Traceback" not in err
        assert "file.yaml" in err
        # What cannot be read cannot be run, and says so in the same words, if it still looks like a file of its kind.
        assert phasetwin.main([verb, str(file)]) == 2
        told = capsys.readouterr().err
        assert told.count("\n") == 1, told
        assert told == err or (marker and f'"{marker}"' not in text), (text, err, told)
    assert all_files(place) == before
