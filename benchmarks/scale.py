"""How a sweep grows: ``python benchmarks/scale.py`` writes docs/benchmarks/scale.md.

1. Plans of 1,000, 100,000 and a million points: seconds, and peak memory of the process.
2. The same tiny problem (4 x 4 cells, statistics only) as sweeps of 1,000 and 100,000 points on two workers: seconds a
   point, and the memory of the driver (with the scheduler in it) after a tenth of the points and at the end.
3. Reading and checking a finished store (`status --check`).

``--quick`` does 200 and 2,000 points and no page.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
PAGE = ROOT / "docs" / "benchmarks" / "scale.md"


def configuration(store: Path, points: int) -> dict[str, Any]:
    """A sweep in which no two points share a trajectory."""
    return {
        "schema_version": 1,
        "name": "scale",
        "process": "cahn_hilliard",
        "grid": {"shape": [4, 4]},
        "parameters": {"mobility": 1.0, "kappa": {"low": 1.0, "high": 2.0}, "composition": {"low": -0.3, "high": 0.3}},
        "design": {"sampler": "sobol", "n": points},
        "initial": {"kind": "noise"},
        "times": {"stop": 2, "count": 3},
        "engine": {"kind": "solver", "tolerance": 0.1},
        "output": {"path": str(store), "retain": "qoi"},
        "cluster": {"kind": "local", "workers": 2},
        "verify": {"count": 0},
    }


def plan(points: int) -> dict[str, float]:
    """Seconds and peak memory (MiB) of planning, imports apart."""
    import resource

    from sweeps import Sweep
    from sweeps.plan import make_plan

    make_plan(Sweep.from_config(configuration(Path("none.zarr"), 16)).config)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started = time.perf_counter()
    made = Sweep.from_config(configuration(Path("none.zarr"), points)).plan()
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "batches": len(made.batches), "more_mib": peak - before}


def run(points: int) -> dict[str, float]:
    """Seconds a point, and memory of the driver (MiB) after a tenth and at the end."""
    from sweeps import Sweep
    from sweeps.cluster import open_client
    from sweeps.damage import find_damage

    folder = Path(tempfile.mkdtemp())
    sweep = Sweep.from_config(configuration(folder / "a.zarr", points))
    sweep.plan()
    memory, stop = [], threading.Event()

    def watch() -> None:
        process = psutil.Process()
        while not stop.wait(0.5):
            memory.append(process.memory_info().rss / 2**20)

    try:
        with open_client(sweep.config.cluster, 2) as client:
            client.run(_warm)
            thread = threading.Thread(target=watch)
            thread.start()
            started = time.perf_counter()
            result = sweep.run(client, progress=False)
            seconds = time.perf_counter() - started
            stop.set()
            thread.join()
        assert not result.failed, result.failed[:3]
        started = time.perf_counter()
        assert not find_damage(sweep.store)
        checked = time.perf_counter() - started
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    early = memory[len(memory) // 10] if memory else 0.0
    return {
        "ms_a_point": 1e3 * seconds / points,
        "seconds": seconds,
        "early": early,
        "end": max(memory[-3:]),
        "check": checked,
    }


def _warm() -> None:
    import sweeps.tasks  # noqa: F401


def apart(what: str, points: int) -> dict[str, float]:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, "--measure", what, str(points)]
    text = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    found = json.loads(text.splitlines()[-1])
    print(what, points, found, flush=True)
    return dict(found)


def page(plans: dict[int, dict[str, float]], runs: dict[int, dict[str, float]]) -> str:
    """The page."""
    lines = [
        "# How a sweep grows",
        "",
        "Made by `python benchmarks/scale.py`; its docstring says what is measured.",
        "",
    ]
    lines += ["| plan of | seconds | batches | memory, MiB more |", "|---|---|---|---|"]
    for n, f in plans.items():
        lines.append(f"| {n:,} points | {f['seconds']:.2f} | {f['batches']:.0f} | {f['more_mib']:.0f} |")
    lines += [
        "",
        "| sweep of | ms a point | seconds | driver, MiB after a tenth | at the end | check, s |",
        "|---|---|---|---|---|---|",
    ]
    for n, f in runs.items():
        row = f"{f['ms_a_point']:.2f} | {f['seconds']:.0f} | {f['early']:.0f} | {f['end']:.0f} | {f['check']:.1f}"
        lines.append(f"| {n:,} points | {row} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        what, points = options.measure
        print(json.dumps({"plan": plan, "run": run}[what](int(points))))
        return
    planned, swept = ((200, 2000), (200, 2000)) if options.quick else ((1000, 100_000, 1_000_000), (1000, 100_000))
    plans = {n: apart("plan", n) for n in planned}
    runs = {n: apart("run", n) for n in swept}
    if not options.quick:
        PAGE.write_text(page(plans, runs))
    print(page(plans, runs))


if __name__ == "__main__":
    main()
