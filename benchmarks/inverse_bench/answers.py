"""Known answers: are hidden parameters' quantities found again, verified, in how many trials and solutions?"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from clock import Clock

from inverse_bench.examples import EXAMPLES, hidden_sets, hidden_study, off
from inverse_bench.records import Records

if TYPE_CHECKING:
    from distributed import Client

WITHIN, MOST = 0.01, 256


def measure(names: Sequence[str], sets: int, client: Client, folder: Path, records: Records) -> None:
    """Every hidden set of every example that has no record yet."""
    for name in names:
        for number, hidden in enumerate(hidden_sets(name, sets)):
            place = folder / "answers" / name / str(number)
            found = records.measured(f"answers/{name}/{number}", lambda: _one(name, hidden, number, client, place))  # noqa: B023
            print(
                f"{name} {number}: {100 * found['miss']:.2f} %, {found['trials']} trials, {found['seconds']:.0f} s",
                file=sys.stderr,
                flush=True,
            )


def _one(name: str, hidden: dict[str, float], number: int, client: Client, place: Path) -> dict[str, Any]:
    study = hidden_study(name, hidden, number, client, place)
    clock = Clock()
    result = study.run(client, progress=False, report=False)
    record = {
        "hidden": hidden,
        "found": result.best[0]["parameters"] if result.best else None,
        "miss": off(study, result.best[0]) if result.best else None,
        "trials": result.trials,
        "rollouts": result.rollouts,
        "verified": result.verified,
        "why": result.why,
        **clock.lap(),
    }
    shutil.rmtree(place)
    return record


def table(records: Records) -> list[str]:
    """Markdown lines."""
    lines = [
        "",
        "## Known answers",
        "",
        "| example | verified within 1 % | misses in % | trials, median (most) | trajectories, median (most) | "
        "processor s, median (most) | wall s, median (most) | load a core |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in EXAMPLES:
        rows = records.under(f"answers/{name}/")
        if not rows:
            continue
        good = sum(r["miss"] is not None and r["miss"] <= WITHIN and r["trials"] <= MOST for r in rows)
        shown = " ".join(sorted("none" if r["miss"] is None else f"{100 * r['miss']:.2f}" for r in rows))
        numbers = [_middle([r[key] for r in rows]) for key in ("trials", "rollouts", "cpu_s", "seconds")]
        load = max(r["load"] for r in rows)
        lines.append(f"| {name} | {good} of {len(rows)} | {shown} | {' | '.join(numbers)} | {load:.1f} |")
    return lines


def _middle(values: Sequence[float]) -> str:
    return f"{np.median(values):.0f} ({max(values):.0f})"
