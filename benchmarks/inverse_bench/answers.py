"""Known answers: are hidden parameters' quantities found again, verified, in how many trials and seconds?"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from inverse_bench.examples import hidden_sets, hidden_study, off

if TYPE_CHECKING:
    from distributed import Client

WITHIN = 0.01


def measure(names: Sequence[str], sets: int, client: Client, folder: Path) -> list[str]:
    """Markdown lines."""
    lines = [
        "",
        "### Known answers",
        "",
        "| example | within 1 % of the target, verified | largest miss | trials, median (most) | rollouts, median | "
        "seconds, median (most) |",
        "|---|---|---|---|---|---|",
    ]
    for name in names:
        misses, trials, rollouts, seconds = [], [], [], []
        for number, hidden in enumerate(hidden_sets(name, sets)):
            study = hidden_study(name, hidden, number, client, folder / "answers" / name / str(number))
            started = time.monotonic()
            result = study.run(client, progress=False, report=False)
            seconds.append(time.monotonic() - started)
            misses.append(off(study, result.best[0]) if result.best else np.inf)
            trials.append(result.trials)
            rollouts.append(result.rollouts)
            print(
                f"{name} {number}: {100 * misses[-1]:.2f} %, {trials[-1]} trials, {seconds[-1]:.1f} s", file=sys.stderr
            )
        good = sum(m <= WITHIN for m in misses)
        lines.append(
            f"| {name} | {good} of {sets} | {100 * max(misses):.2f} % | {np.median(trials):.0f} ({max(trials)}) | "
            f"{np.median(rollouts):.0f} | {np.median(seconds):.1f} ({max(seconds):.1f}) |"
        )
    return lines
