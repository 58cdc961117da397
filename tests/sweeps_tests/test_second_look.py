"""A run under way, in a process of its own: the lines that it prints, and the report of what it has so far."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import phasetwin
from sweeps import open_sweep
from sweeps.execution.prepare import prepare
from sweeps.execution.task import BatchOutcome
from sweeps.monitoring import results
from sweeps.monitoring.results import ResultLines
from sweeps.store.layout import DONE, FAILED

FILE = """
schema_version: 1
name: long
process: cahn_hilliard
grid: {shape: [32, 32]}
parameters: {mobility: [0.5, 1.0], kappa: {linspace: [0.5, 2.0, 2000]}}
realizations: {count: 2}
initial: {kind: noise, amplitude: 0.05}
times: [0, 20, 50]
engine: {kind: solver, tolerance: 1.0e-3}
cluster: {kind: local, workers: 1, dashboard_address: null}
batch: {rollouts: 2}
output: {path: runs/long.zarr}
verify: {count: 0}
"""


@pytest.fixture
def under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    """A sweep of 4,000 points that has finished a few of them, in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("long.yaml").write_text(FILE)
    with Path("log").open("w") as log:
        run = subprocess.Popen(
            [sys.executable, "-m", "phasetwin", "run", "long.yaml"],
            stderr=log,
            text=True,
            env={"PYTHONPATH": str(Path(phasetwin.__file__).parent), "OMP_NUM_THREADS": "1"},
        )
    try:
        until = time.monotonic() + 120
        while Path("log").read_text().count("domain size") < 3 and run.poll() is None and time.monotonic() < until:
            time.sleep(0.1)
        yield run
    finally:
        run.kill()
        run.wait()


def test_report_of_a_run_under_way(under_way, capsys: pytest.CaptureFixture[str]) -> None:
    line = r"  4 points, mobility 0\.5 to 1, kappa 0\.5\d*(?: to 0\.5\d*)?: domain size [\d.]+ to [\d.]+ at t = 50\n"
    assert len(re.findall(line, Path("log").read_text())) >= 3
    # The status is written once a second.
    until = time.monotonic() + 30
    while not (usable := int((open_sweep("runs/long.zarr").status > 0).sum())) and time.monotonic() < until:
        time.sleep(0.2)
    assert phasetwin.main(["report", "long.yaml"]) == 0
    said = re.search(r"long: (\d+) of 8000 samples have results so far; a run is under way", capsys.readouterr().err)
    assert said is not None
    assert usable <= int(said[1]) < 8000
    page = Path("runs/long-report/index.html").read_text()
    assert f"Not finished: {said[1]} of 8000 samples have results so far" in page
    assert "Results over the parameters" in page
    # The run has not noticed.
    assert under_way.poll() is None
    under_way.send_signal(signal.SIGINT)
    assert under_way.wait(60) == 130
    assert Path("log").read_text().count("Traceback") == 0


@pytest.fixture
def lines(tiny, client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch):
    """What is said of batches of a finished sweep; ``clock.now`` is the time."""
    sweep = tiny("said.zarr", verify={"count": 0})
    sweep.run(client, progress=False)
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(results, "time", clock)
    caplog.set_level("INFO", logger="phasetwin")
    prepared = prepare(sweep.store, sweep.plan())
    samples = np.full((3, prepared.store.layout.realizations), DONE, dtype=np.int8)
    return ResultLines(prepared, True), clock, samples, caplog


def test_lines_become_rarer(lines) -> None:
    said, clock, samples, log = lines
    batch = BatchOutcome(0, 0, 3, np.ones(3, dtype=bool), samples)
    log.clear()
    for i in range(10 * 1000):
        clock.now = 0.1 * i
        said.report(batch)
    # 10 at once, one a second until 20 s, then one each 5 % of the time: ln(1000 / 20) / ln(1.05) of them.
    assert 80 < len(log.messages) < 120


def test_failures_are_said(lines) -> None:
    said, _, samples, log = lines
    log.clear()
    samples[1] = FAILED
    said.report(BatchOutcome(0, 0, 3, np.ones(3, dtype=bool), samples))
    samples[:] = FAILED
    said.report(BatchOutcome(0, 0, 3, np.ones(3, dtype=bool), samples))
    some, none = log.messages
    assert some.endswith(f"; {samples[1].size} of {samples.size} samples failed")
    assert "domain size" in some
    assert none.endswith(f"; {samples.size} of {samples.size} samples failed")
    assert "domain size" not in none
