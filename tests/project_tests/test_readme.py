"""What the README shows must work as it is shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.S)


def test_two_set_up_commands_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    commands = re.findall(r"^make (\w+)", blocks("sh")[0], flags=re.M)
    assert commands == ["demo", "test"]
    assert all(f"\n{name}:" in makefile for name in commands)


def test_the_sweep_file_is_right(tmp_path: Path) -> None:
    from sweeps import Sweep

    path = tmp_path / "sweep.yaml"
    path.write_text(blocks("yaml")[0])
    assert Sweep.from_yaml(path).plan().estimate.points == 64


def test_the_verbs_exist(capsys: pytest.CaptureFixture[str]) -> None:
    from phasetwin import main

    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    verbs = re.findall(r"^phasetwin (\w+)", blocks("sh")[1], flags=re.M)
    assert len(verbs) == 8
    assert all(verb in shown for verb in verbs)


def test_the_solver_lines_run() -> None:
    code = blocks("python")[0].split("Sweep.from_yaml")[0]
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert tuple(names["c"].shape) == (3, 3, 64, 64)  # type: ignore[attr-defined]


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+)\)", TEXT))
def test_links_lead_somewhere(target: str) -> None:
    assert (ROOT / target).exists()


def test_quoted_benchmarks_exist() -> None:
    """Of all pages; ``docs/experiments.md`` names the scripts that are in the history alone."""
    pages = {path: path.read_text() for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))}
    removed = re.search(r"no longer in `benchmarks/` \((.*?)\)", pages[ROOT / "docs" / "experiments.md"], flags=re.S)
    assert removed is not None
    quoted = {name for text in pages.values() for name in re.findall(r"python benchmarks/(\w+\.py)", text)}
    assert len(quoted) > 8
    assert {n for n in quoted if not (ROOT / "benchmarks" / n).exists()} <= set(re.findall(r"\w+\.py", removed[1]))
