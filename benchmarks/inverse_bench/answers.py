"""Hidden parameters as known answers: are they found again, and how many trajectories does a finished sweep save?

Warm starts are measured on hidden sets of their own; sets 0 to 9 of each example are those of the known answers.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from common.runs import Clock, Records, markdown_table, say

from inverse_bench.examples import EXAMPLES, hidden_sets, hidden_study, off
from studies import Study
from sweeps import Sweep

if TYPE_CHECKING:
    from distributed import Client

    from studies import StudyResult

WITHIN, MOST = 0.01, 256
WARM_SETS, SIDE = (10, 11, 12), 8


def measure(names: Sequence[str], sets: int, client: Client, folder: Path, records: Records) -> None:
    """Every hidden set of every example that has no record yet."""
    for name in names:
        for number, hidden in enumerate(hidden_sets(name, sets)):
            place = folder / "answers" / name / str(number)
            found = records.measured(f"answers/{name}/{number}", lambda: _one(name, hidden, number, client, place))  # noqa: B023
            miss = "no optimum" if found["miss"] is None else f"{100 * found['miss']:.2f} %"
            say(f"{name} {number}: {miss}, {found['trials']} trials, {found['seconds']:.0f} s")


def _one(name: str, hidden: dict[str, float], number: int, client: Client, place: Path) -> dict[str, Any]:
    study = hidden_study(name, hidden, number, client, place)
    clock = Clock()
    result = study.run(client, progress=False, report=False)
    found = result.best[0]["parameters"] if result.best else None
    record = {"hidden": hidden, "found": found, "why": result.why, **outcome(study, result), **clock.lap()}
    shutil.rmtree(place)
    return record


def outcome(study: Study, result: StudyResult) -> dict[str, Any]:
    """What a record keeps of every study."""
    miss = off(study, result.best[0]) if result.best else None
    return {"miss": miss, "trials": result.trials, "rollouts": result.rollouts, "verified": result.verified}


def table(records: Records) -> list[str]:
    """Markdown lines."""
    cells = []
    for name in EXAMPLES:
        rows = records.under(f"answers/{name}/")
        if not rows:
            continue
        good = sum(r["miss"] is not None and r["miss"] <= WITHIN and r["trials"] <= MOST for r in rows)
        shown = " ".join(sorted("none" if r["miss"] is None else f"{100 * r['miss']:.2f}" for r in rows))
        numbers = [_middle([r[key] for r in rows]) for key in ("trials", "rollouts", "cpu_s", "seconds")]
        load = max(r["load"] for r in rows)
        cells.append((name, f"{good} of {len(rows)}", shown, *numbers, f"{load:.1f}"))
    numbers = ["trials, median (most)", "trajectories, median (most)", "processor s, median (most)"]
    columns = ("example", "verified within 1 %", "misses in %", *numbers, "wall s, median (most)", "load a core")
    return ["", "## Known answers", "", *markdown_table(columns, cells)]


def _middle(values: Sequence[float]) -> str:
    return f"{np.median(values):.0f} ({max(values):.0f})"


def measure_warm(names: Sequence[str], client: Client, folder: Path, records: Records) -> None:
    """A study from nothing and one after a sweep, of every example that has no record yet."""
    for name, number in product(names, WARM_SETS):
        place = folder / "warm" / f"{name}-{number}"
        found = records.measured(f"warm/{name}/{number}", lambda: _warm(name, number, client, place))  # noqa: B023
        say(f"{name}, {number}: cold {found['cold']}, warm {found['warm']}")


def _warm(name: str, number: int, client: Client, place: Path) -> dict[str, Any]:
    hidden = hidden_sets(name, number + 1)[number]
    cold = hidden_study(name, hidden, number, client, place)
    record: dict[str, Any] = {"hidden": hidden, "cold": outcome(cold, cold.run(client, progress=False, report=False))}
    warm = warm_study(cold, finished_sweep(cold, client, place / "grid.zarr"), place / "warm")
    record["warm"] = outcome(warm, warm.run(client, progress=False, report=False))
    shutil.rmtree(place)
    return record


def warm_study(cold: Study, store: str, output: Path) -> Study:
    """The same study, begun with a finished sweep."""
    data = cold.config.model_dump(mode="json") | {"warm_start": [store], "output": {"path": str(output)}}
    return Study.from_config(data)


def warm_table(records: Records) -> list[str]:
    """Markdown lines."""
    cells = []
    for name, number in product(EXAMPLES, WARM_SETS):
        found = records.get(f"warm/{name}/{number}")
        if found:
            both = [found[kind] for kind in ("cold", "warm")]
            shown = [f"{f['trials']}, {f['rollouts']}, {100 * f['miss']:.2f} %" for f in both]
            share = both[1]["rollouts"] / max(1, both[0]["rollouts"])
            cells.append((name, number, *shown, f"{100 * share:.0f} %"))
    counts = "trials, trajectories, miss"
    return [
        "",
        f"## Warm start from a finished {SIDE} x {SIDE} sweep",
        "",
        f"New trajectories, verification included; the sweep's own are not counted. Hidden sets {WARM_SETS[0]} to "
        f"{WARM_SETS[-1]} of each example, used for nothing else.",
        "",
        *markdown_table(("example", "set", f"cold: {counts}", f"warm: {counts}", "warm / cold"), cells),
    ]


def finished_sweep(study: Study, client: Client, path: Path) -> str:
    """An ordinary sweep of the study's problem over a grid of its variables."""
    prepared = study.prepare()
    config = prepared.confirming or prepared.exploring
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
