"""Warm starts: how many trajectories does a study need that begins with a finished sweep?

On hidden sets that nothing was chosen on: sets 0 to 9 of each example are those of the known answers.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inverse_bench.examples import EXAMPLES, hidden_sets, hidden_study, off
from inverse_bench.records import Records
from studies import Study
from sweeps import Sweep

if TYPE_CHECKING:
    from distributed import Client

NUMBERS, SIDE = (10, 11, 12), 8


def measure(names: Sequence[str], client: Client, folder: Path, records: Records) -> None:
    """A cold and a warm study of every example that has no record yet."""
    for name in names:
        for number in NUMBERS:
            place = folder / "warm" / f"{name}-{number}"
            found = records.measured(f"warm/{name}/{number}", lambda: _one(name, number, client, place))  # noqa: B023
            print(f"{name}, {number}: cold {found['cold']}, warm {found['warm']}", file=sys.stderr, flush=True)


def _one(name: str, number: int, client: Client, place: Path) -> dict[str, Any]:
    hidden = hidden_sets(name, number + 1)[number]
    study = hidden_study(name, hidden, number, client, place)
    cold = study.run(client, progress=False, report=False)
    data = study.config.model_dump(mode="json") | {"warm_start": [finished_sweep(study, client, place / "grid.zarr")]}
    data["output"] = {"path": str(place / "warm")}
    warm = Study.from_config(data).run(client, progress=False, report=False)
    record: dict[str, Any] = {"hidden": hidden}
    for kind, found, own in (("cold", cold, study), ("warm", warm, study)):
        record[kind] = {
            "trials": found.trials,
            "rollouts": found.rollouts,
            "verified": found.verified,
            "miss": off(own, found.best[0]),
        }
    shutil.rmtree(place)
    return record


def table(records: Records) -> list[str]:
    """Markdown lines."""
    lines = [
        "",
        f"## Warm start from a finished {SIDE} x {SIDE} sweep",
        "",
        f"New trajectories, verification included; the sweep's own are not counted. Hidden sets {NUMBERS[0]} to "
        f"{NUMBERS[-1]} of each example, used for nothing else.",
        "",
        "| example | set | cold: trials, trajectories, miss | warm: trials, trajectories, miss | warm / cold |",
        "|---|---|---|---|---|",
    ]
    for name, number in product(EXAMPLES, NUMBERS):
        found = records.get(f"warm/{name}/{number}")
        if found:
            cells = [
                f"{found[k]['trials']}, {found[k]['rollouts']}, {100 * found[k]['miss']:.2f} %"
                for k in ("cold", "warm")
            ]
            share = found["warm"]["rollouts"] / max(1, found["cold"]["rollouts"])
            lines.append(f"| {name} | {number} | {' | '.join(cells)} | {100 * share:.0f} % |")
    return lines


def finished_sweep(study: Study, client: Client, path: Path) -> str:
    """An ordinary sweep of the study's problem over a grid of its variables."""
    problem = study.prepare()
    config = problem.confirming or problem.exploring
    data: dict[str, Any] = config.model_dump(mode="json")
    data["name"] = "grid"
    for name, spec in study.config.variables.items():
        kind = "logspace" if spec.log else "linspace"
        data["parameters"][name] = {kind: [spec.low, spec.high, SIDE]}
    data["design"] = "grid"
    data["output"]["path"] = str(path)
    data["verify"] = {"count": 0}
    Sweep.from_config(data).run(client, progress=False)
    return str(path)
