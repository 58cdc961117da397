"""`phasetwin new`: a copy of an example to begin with, which needs nothing but itself and what came with it."""

from __future__ import annotations

from pathlib import Path

import pytest

import phasetwin
from sweeps.inputs.examples import examples

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(path.stem for room in ("sweeps", "studies") for path in (ROOT / room / "examples").glob("*.yaml"))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_example_is_a_kind() -> None:
    phasetwin.build_app()
    assert sorted(examples()) == SHIPPED
    assert len(SHIPPED) >= 11


@pytest.mark.parametrize("name", SHIPPED)
def test_a_new_file_is_valid_where_it_is(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert phasetwin.main(["new", name]) == 0
    shown = capsys.readouterr().out
    assert f"{name}.yaml" in shown
    assert "next: phasetwin " in shown
    text = Path(f"{name}.yaml").read_text()
    assert text.startswith("# ")
    assert "../" not in text
    assert phasetwin.main(["lint", f"{name}.yaml"]) == 0


def test_under_another_name_it_writes_elsewhere() -> None:
    assert phasetwin.main(["new", "spinodal", "alloy.yaml"]) == 0
    text = Path("alloy.yaml").read_text()
    assert "\nname: alloy\n" in text
    assert "path: runs/alloy.zarr" in text


def test_nothing_is_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    Path("spinodal.yaml").write_text("mine")
    assert phasetwin.main(["new", "spinodal"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    # The sweep that a study starts from, too: the one that is there is used.
    assert phasetwin.main(["new", "domain-size"]) == 0
    assert capsys.readouterr().out.startswith("domain-size.yaml: ")
    assert Path("spinodal.yaml").read_text() == "mine"


@pytest.mark.parametrize("arguments", [[], ["spinodla"], ["spinodal", "missing/a.yaml"], ["spinodal", "."]])
def test_what_cannot_be_is_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert phasetwin.main(["new", *arguments]) == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert ("domain-size" in shown) == (len(arguments) < 2)
    assert [*tmp_path.iterdir()] == []
