"""Ten thousand trials: do memory and time of the driver stay flat?"""

from __future__ import annotations

import itertools
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from common.runs import Records, markdown_table, say, sweep_blocks
from ruamel.yaml import YAML

from studies import Study
from sweeps import Sweep

if TYPE_CHECKING:
    from distributed import Client

PART = 1_000
SWEEP = sweep_blocks(
    "flat",
    grid={"shape": [16, 16]},
    parameters={"mobility": 1.0, "kappa": {"linspace": [0.5, 2.0, 12]}, "composition": 0.0},
    realizations={"count": 4, "independent": True},
    times={"start": 0, "stop": 40, "count": 9},
    engine={"kind": "solver", "tolerance": 1.0e-2},
)


def measure(trials: int, client: Client, folder: Path, records: Records) -> None:
    """A study of so many trials, if there is no record of it."""
    records.measured(f"flat/{trials}", lambda: {"parts": _one(trials, client, folder / "flat")})


def _one(trials: int, client: Client, place: Path) -> list[dict[str, float]]:
    place.mkdir(parents=True)
    emulator = _emulator(client, place)
    path = place / "flat.yaml"
    with path.open("w") as file:
        YAML(typ="safe").dump({**SWEEP, "parameters": {"composition": 0.0}}, file)
    data = {
        "schema_version": 1,
        "name": "flat",
        "sweep": str(path),
        "changes": {"engine": {"kind": "emulator", "model": emulator}, "cluster": {"workers": 1}},
        "variables": {"mobility": {"low": 0.6, "high": 0.9}, "kappa": {"low": 0.5, "high": 2.0}},
        "objectives": [{"qoi": "interface_density", "direction": "minimize"}],
        "sampler": {"kind": "tpe", "seed": 0},
        "trials": trials,
        "batch": 100,
        "stop": "budget",
        "verify": {"top": 1, "random": 0, "equivalents": 0},
        "output": {"path": str(place / "study")},
    }
    return _watched(Study.from_config(data))


def table(records: Records) -> list[str]:
    """Markdown lines."""
    lines: list[str] = []
    for trials in (10_000, 2_000):
        found = records.get(f"flat/{trials}")
        if found:
            rows = [
                (f"{p['first']:,} to {p['last']:,}", f"{p['cpu_ms']:.1f}", f"{p['mb']:.0f}") for p in found["parts"]
            ]
            columns = ("trials", "processor ms a trial, driver", "driver's memory at the end, MB")
            title = f"## {trials:,} trials in one study (emulator, TPE, batches of 100 and of 4)"
            lines += ["", title, "", *markdown_table(columns, rows)]
    return lines


def _emulator(client: Client, place: Path) -> str:
    from surrogate.emulator.build import learn_from_stores

    data = {**SWEEP, "output": {"path": str(place / "known.zarr"), "retain": "qoi"}}
    Sweep.from_config(data).run(client, progress=False)
    learn_from_stores([place / "known.zarr"]).save(place / "emulator")
    return str((place / "emulator").absolute())


def _watched(study: Study) -> list[dict[str, float]]:
    """First and last trial, processor ms a trial and MB of the driver, of each thousand (of each fifth of a few)."""
    process, marks = psutil.Process(), [(0, time.process_time(), 0.0)]
    part = min(PART, study.config.trials // 5)

    def mark(record: logging.LogRecord) -> bool:
        line = record.getMessage()
        if " trials" in line and "batch" in line:
            done = int(line.split(" of ")[0].split()[-1])
            if done >= marks[-1][0] + part or done == study.config.trials:
                marks.append((done, time.process_time(), process.memory_info().rss / 1e6))
                (first, before, _), (_, now, mb) = marks[-2:]
                took = 1000 * (now - before) / max(1, done - first)
                say(f"flat: {done} trials, {took:.1f} ms a trial, {mb:.0f} MB")

        return False

    logger = logging.getLogger("phasetwin")
    logger.addFilter(mark)
    logger.setLevel(logging.INFO)
    # On workers of its own, as a user's study runs.
    study.run(progress=False, report=False)
    logger.removeFilter(mark)
    return [
        {"first": a[0], "last": b[0], "cpu_ms": 1000 * (b[1] - a[1]) / max(1, b[0] - a[0]), "mb": b[2]}
        for a, b in itertools.pairwise(marks)
    ]
