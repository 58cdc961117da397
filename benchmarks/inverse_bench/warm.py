"""Warm starts: how many trajectories does a study need that begins with a finished sweep?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inverse_bench.examples import hidden_sets, hidden_study
from studies import Study
from sweeps import Sweep

if TYPE_CHECKING:
    from distributed import Client

NUMBER, SIDE = 5, 8


def measure(names: Sequence[str], client: Client, folder: Path) -> list[str]:
    """Markdown lines."""
    lines = [
        "",
        f"### Warm start from a finished {SIDE} x {SIDE} sweep",
        "",
        "| example | cold: trials, rollouts | warm: trials, rollouts | warm / cold |",
        "|---|---|---|---|",
    ]
    for name in names:
        hidden = hidden_sets(name, NUMBER + 1)[NUMBER]
        study = hidden_study(name, hidden, NUMBER, client, folder / "warm" / name)
        cold = study.run(client, progress=False, report=False)
        store = _grid(study, client, folder / "warm" / name / "grid.zarr")
        data = study.config.model_dump(mode="json") | {"warm_start": [store]}
        data["output"] = {"path": str(folder / "warm" / name / "warm")}
        warm = Study.from_config(data).run(client, progress=False, report=False)
        share = warm.rollouts / max(1, cold.rollouts)
        print(f"{name}: cold {cold.rollouts}, warm {warm.rollouts}", file=sys.stderr)
        lines.append(
            f"| {name} | {cold.trials}, {cold.rollouts} | {warm.trials}, {warm.rollouts} | {100 * share:.0f} % |"
        )
    return lines


def _grid(study: Study, client: Client, path: Path) -> str:
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
