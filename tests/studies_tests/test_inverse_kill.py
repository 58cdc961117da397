"""`kill -9` of a real `phasetwin optimize`: run again, the study ends as one that nobody killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import inverse_studies as small
import pytest
import yaml
from distributed import Client, LocalCluster

from studies import Study

ROOT = Path(__file__).parents[2]
#: Trials are asked until the budget ends, so that there is something to kill.
CHANGES: dict[str, Any] = {
    "objectives": [{"qoi": "interface_density", "direction": "minimize"}],
    "constraints": [{"qoi": "domain_size", "max": 9.5}],
    "sampler": {"kind": "tpe", "seed": 2, "refine": 4},
    "stop": "budget",
    "trials": 28,
    "verify": {"top": 2, "random": 2, "rounds": 2, "equivalents": 0},
}
SECONDS = 120


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A scheduler that outlives the drivers which are killed."""
    options: dict[str, Any] = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}
    with LocalCluster(processes=False, protocol="tcp://", **options) as cluster:
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, client: Client) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    Study.from_config(small.study_data(folder, **CHANGES)).run(client, progress=False, report=False)
    return folder / "study"


def outcome(folder: Path) -> list[dict[str, Any]]:
    """best.json without what tells where and in which attempt."""
    points = json.loads((folder / "best.json").read_text())
    assert points
    return [{k: v for k, v in p.items() if k not in ("store", "trial")} for p in points]


def trials(folder: Path) -> dict[tuple[int, int], tuple[dict[str, float], list[float] | None]]:
    """(batch, row) -> parameters and values of the trials that count; each is there once, and ended."""
    from optuna import load_study
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    storage = JournalStorage(JournalFileBackend(str(folder / "journal.log")))
    found = {}
    for trial in load_study(study_name=None, storage=storage).get_trials():
        assert trial.state.is_finished()
        if "interrupted" not in trial.user_attrs:
            place = (trial.user_attrs["batch"], trial.user_attrs["row"])
            assert place not in found, "a trial was doubled"
            found[place] = (trial.params, trial.values)
    return found


def kill_when(words: list[str], happened: Callable[[], bool]) -> None:
    """Run the program; kill the runner, and nothing else, as soon as something has happened."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "phasetwin", *words],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    until = time.monotonic() + SECONDS
    try:
        while not happened():
            assert process.poll() is None, process.stderr.read().decode()  # type: ignore[union-attr]
            assert time.monotonic() < until
            time.sleep(0.002)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert process.returncode == -signal.SIGKILL


MOMENTS: dict[str, tuple[str, bool]] = {
    # What is there when the runner is killed, and whether it has started workers of its own.
    "the first batch begun": ("batches/00000.zarr", True),
    "a batch of the model begun": ("batches/00002.zarr", False),
    "verification begun": ("verified/*.zarr", False),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_with_sigkill(moment: str, whole: Path, address: str, client: Client, tmp_path: Path) -> None:
    there, own = MOMENTS[moment]
    path, folder = tmp_path / "study.yaml", tmp_path / "study"
    path.write_text(yaml.safe_dump(small.study_data(tmp_path, **CHANGES), sort_keys=False))
    workers = ["--set", "changes.cluster={workers: 1}"] if own else ["--address", address]
    kill_when(["optimize", str(path), *workers], lambda: any(folder.glob(there)))
    assert not (folder / "best.json").exists()
    result = Study.from_yaml(path).run(client, progress=False, report=False)
    assert result.trials == CHANGES["trials"]
    assert outcome(folder) == outcome(whole)
    assert trials(folder) == trials(whole)
