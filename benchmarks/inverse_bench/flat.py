"""Ten thousand trials: do memory and time of the driver stay flat?"""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
from ruamel.yaml import YAML

from studies import Study
from sweeps import Sweep

if TYPE_CHECKING:
    from distributed import Client

SWEEP = {
    "schema_version": 1,
    "name": "flat",
    "process": "cahn_hilliard",
    "grid": {"shape": [16, 16]},
    "parameters": {"mobility": 1.0, "kappa": {"linspace": [0.5, 2.0, 12]}, "composition": 0.0},
    "realizations": {"count": 4, "independent": True},
    "initial": {"kind": "noise"},
    "times": {"start": 0, "stop": 40, "count": 9},
    "engine": {"kind": "solver", "tolerance": 1.0e-2},
    "output": {"retain": "qoi"},
    "verify": {"count": 0},
}


def measure(trials: int, client: Client, folder: Path) -> list[str]:
    """Markdown lines."""
    place = folder / "flat"
    place.mkdir(parents=True)
    emulator = _emulator(client, place)
    path = place / "flat.yaml"
    with path.open("w") as file:
        YAML(typ="safe").dump({**SWEEP, "parameters": {"composition": 0.0}}, file)
    data = {
        "schema_version": 1,
        "name": "flat",
        "sweep": str(path),
        "changes": {"engine": {"kind": "emulator", "model": emulator}},
        "variables": {"mobility": {"low": 0.6, "high": 0.9}, "kappa": {"low": 0.5, "high": 2.0}},
        "objectives": [{"qoi": "interface_density", "direction": "minimize"}],
        "sampler": {"kind": "tpe", "seed": 0},
        "trials": trials,
        "batch": 100,
        "stop": "budget",
        "verify": {"top": 1, "random": 0, "equivalents": 0},
        "output": {"path": str(place / "study")},
    }
    rows = _watched(Study.from_config(data), client)
    lines = [
        "",
        f"### {trials:,} trials in one study (emulator, TPE, batches of 100)",
        "",
        "| trials | ms a trial | driver's memory, MB |",
        "|---|---|---|",
    ]
    return lines + [f"| {start:,} to {stop:,} | {pace:.1f} | {memory:.0f} |" for start, stop, pace, memory in rows]


def _emulator(client: Client, place: Path) -> str:
    from surrogate.emulator import Emulator

    data = {**SWEEP, "output": {"path": str(place / "known.zarr"), "retain": "qoi"}}
    Sweep.from_config(data).run(client, progress=False)
    Emulator.from_store(str(place / "known.zarr")).save(place / "emulator")
    return str((place / "emulator").absolute())


def _watched(study: Study, client: Client) -> list[tuple[int, int, float, float]]:
    """(first, last trial, ms a trial, MB) of ten parts."""
    process, marks = psutil.Process(), [(0, time.monotonic(), np.nan)]

    def say(line: str) -> None:
        if " trials" in line and "batch" in line:
            done = int(line.split(" of ")[0].split()[-1])
            marks.append((done, time.monotonic(), process.memory_info().rss / 1e6))

    study.run(client, progress=say, report=False)
    part = max(1, len(marks) // 10)
    chosen = marks[::part]
    for done, _, memory in chosen:
        print(f"flat: {done} trials, {memory:.0f} MB", file=sys.stderr)
    return [(a[0], b[0], 1000 * (b[1] - a[1]) / max(1, b[0] - a[0]), b[2]) for a, b in itertools.pairwise(chosen)]
