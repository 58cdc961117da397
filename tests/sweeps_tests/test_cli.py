"""What the verbs print and return, with the sweep itself replaced: exit statuses 0, 1 and 130, options passed on."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

import phasetwin
from sweeps import RunResult, Sweep

EXAMPLE = str(Path(__file__).parents[2] / "sweeps" / "examples" / "spinodal.yaml")


def finish(monkeypatch: pytest.MonkeyPatch, verb: str, **changes: Any) -> list[Sweep]:
    """Let a verb of Sweep return at once; gives the sweeps it was called on."""
    values = {"store": "runs/a.zarr", "points": 64, "computed": 60, "reused": 4, "failed": (), "diverged": 0}
    result = RunResult(**(values | {"verified": 8, "missed": (), "wall_s": 1.0} | changes))
    called: list[Sweep] = []

    def done(self: Sweep, **options: Any) -> RunResult:
        called.append(self)
        return result

    monkeypatch.setattr(Sweep, verb, done)
    return called


def test_a_run_that_went_well(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    finish(monkeypatch, "run")
    assert phasetwin.main(["run", EXAMPLE]) == 0
    out, err = capsys.readouterr()
    assert "60 points computed, 4 reused" in out
    assert "8 of 64 points verified" in out
    assert err == ""


def test_failed_points_are_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    finish(monkeypatch, "run", failed=tuple(f"point {i}" for i in range(30)))
    assert phasetwin.main(["run", EXAMPLE]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "failed: point 0"
    assert len(lines) == 21
    assert "10 more" in lines[-1]


def test_a_missed_tolerance_is_told_and_fails_verify_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(monkeypatch, "run", missed=("point 3",))
    finish(monkeypatch, "verify", missed=("point 3",))
    assert phasetwin.main(["run", EXAMPLE]) == 0
    assert phasetwin.main(["verify", EXAMPLE]) == 1
    assert capsys.readouterr().err.splitlines() == ["spot check missed: point 3"] * 2


def test_checks_without_a_solution_fail_a_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(monkeypatch, "run", unchecked=("point 3: the worker died",))
    assert phasetwin.main(["run", EXAMPLE]) == 1
    assert capsys.readouterr().err == "spot check without a solution: point 3: the worker died\n"


def test_options_reach_the_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    called = finish(monkeypatch, "run")
    overrides = ["--set", "realizations.count=2", "--set", "engine={tolerance: 1e-3}"]
    assert phasetwin.main(["run", EXAMPLE, "--address", "tcp://host:8786", *overrides]) == 0
    config = called[0].config
    assert config.cluster.kind == "address"
    assert config.cluster.address == "tcp://host:8786"
    assert config.realizations.count == 2
    assert config.engine.tolerance == 1e-3  # type: ignore[union-attr]


def test_interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(self: Sweep, **options: Any) -> RunResult:
        raise KeyboardInterrupt

    monkeypatch.setattr(Sweep, "run", interrupt)
    assert phasetwin.main(["run", EXAMPLE]) == 130
    assert capsys.readouterr().err == "interrupted; run again to resume\n"


@pytest.mark.parametrize("verb", ["status", "report"])
def test_no_store_yet(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "none.zarr"
    assert phasetwin.main([verb, EXAMPLE, "--set", f"output.path={missing}"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert str(missing) in err


def test_a_full_disk_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Wherever it shows; what a file system cannot be blamed for is raised."""

    def fail(number: int) -> None:
        def run(self: Sweep, **options: Any) -> RunResult:
            raise OSError(number, os.strerror(number), "runs/a/journal.log")

        monkeypatch.setattr(Sweep, "run", run)

    fail(errno.ENOSPC)
    assert phasetwin.main(["run", EXAMPLE]) == 2
    told = "runs/a/journal.log: No space left on device; run again when that is mended\n"
    assert capsys.readouterr().err == told
    fail(errno.ENOTSOCK)
    with pytest.raises(OSError, match="socket"):
        phasetwin.main(["run", EXAMPLE])


def test_a_store_takes_no_overrides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert phasetwin.main(["status", str(tmp_path), "--set", "name=b"]) == 2
    assert "allowed with a YAML file" in capsys.readouterr().err
