"""How a sweep grows: ``python benchmarks/scale.py`` writes docs/benchmarks/scale.md.

1. Plans of 1,000, 100,000 and a million points: seconds, processor seconds, and peak memory of the process.
2. Sweeps of 1,000 and 100,000 points on two workers that have done two such batches, statistics only, 250 points to a
   batch in both, which shows what bookkeeping adds as a sweep grows: of a small problem (32 x 32 cells, eleven times to
   t = 400), and of one that is next to nothing (4 x 4 cells, three times to t = 2), where bookkeeping is all there is.
   The latter also with the batches that the planner cuts (63 and 6,250 points), which shows what larger batches save.
   Seconds and processor seconds of driver and workers together, memory of the driver (with the scheduler in it) after a
   tenth of the time and at the end, reading and checking the finished store (`status --check`).
3. What does not grow: starting two workers, loading libraries in them, a first sweep of 32 points in them (machine code
   loaded from disk, first calls of everything), the same again in warm workers. The cost of one more point is the
   difference of the two sizes.

``--quick`` does 1,000 and 4,000 points and no page.
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from clock import Clock

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
PAGE = ROOT / "docs" / "benchmarks" / "scale.md"
WORKERS = 2
BATCH = 250
FEW = 32

TINY, SMALL = 4, 32
STOPS = {TINY: (2, 3), SMALL: (400, 11)}
# Cells along a side and points to a batch, 0 for the planner's own.
KINDS = ((TINY, BATCH), (TINY, 0), (SMALL, BATCH))

Found = dict[str, float]
Runs = dict[tuple[int, int, int], Found]


def configuration(store: Path, points: int, batch: int = 0, side: int = TINY) -> dict[str, Any]:
    """A sweep in which no two points share a trajectory; ``batch`` points to a batch, 0 leaves it to the planner."""
    stop, count = STOPS[side]
    return {
        "schema_version": 1,
        "name": "scale",
        "process": "cahn_hilliard",
        "grid": {"shape": [side, side]},
        "parameters": {"mobility": 1.0, "kappa": {"low": 1.0, "high": 2.0}, "composition": {"low": -0.3, "high": 0.3}},
        "design": {"sampler": "sobol", "n": points},
        "initial": {"kind": "noise"},
        "times": {"stop": stop, "count": count},
        "engine": {"kind": "solver", "tolerance": 0.1},
        "output": {"path": str(store), "retain": "qoi"},
        "cluster": {"kind": "local", "workers": WORKERS},
        "verify": {"count": 0},
        **({"batch": {"rollouts": batch}} if batch else {}),
    }


def plan(points: int, side: int, batch: int) -> Found:  # noqa: ARG001 every measurement takes all three
    """Seconds and peak memory (MiB) of planning, imports apart."""
    import resource

    from sweeps import Sweep
    from sweeps.plan import make_plan

    make_plan(Sweep.from_config(configuration(Path("none.zarr"), 16)).config)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started, busy = time.perf_counter(), time.process_time()
    made = Sweep.from_config(configuration(Path("none.zarr"), points)).plan()
    found = {"seconds": time.perf_counter() - started, "cpu_s": time.process_time() - busy}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {**found, "batches": len(made.batches), "more_mib": peak - before}


@contextmanager
def memory_watched() -> Iterator[list[float]]:
    """Resident memory of this process (MiB), twice a second."""
    found: list[float] = []
    stop, process = threading.Event(), psutil.Process()

    def watch() -> None:
        while not stop.wait(0.5):
            found.append(process.memory_info().rss / 2**20)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()
        found.append(process.memory_info().rss / 2**20)


def run(points: int, side: int, batch: int) -> Found:
    """A sweep in warm workers, and what comes before it; batch 0 leaves the cut to the planner."""
    from sweeps import Sweep
    from sweeps.cluster import open_client
    from sweeps.damage import find_damage

    folder = Path(tempfile.mkdtemp())
    sweep = Sweep.from_config(configuration(folder / "a.zarr", points, batch, side))
    sweep.plan()
    found: Found = {}
    try:
        clock = Clock()
        with open_client(sweep.config.cluster, WORKERS) as client:
            _note(found, "start", clock)
            client.run(_warm)
            _note(found, "load", clock)
            for name in ("first", "second"):
                Sweep.from_config(configuration(folder / f"{name}.zarr", FEW, side=side)).run(client, progress=False)
                _note(found, name, clock)
            # Memory of the size that a batch takes is asked for, and kept, once.
            size = WORKERS * (batch or BATCH)
            Sweep.from_config(configuration(folder / "warm.zarr", size, batch, side)).run(client, progress=False)
            clock.lap()
            with memory_watched() as memory:
                result = sweep.run(client, progress=False)
            _note(found, "sweep", clock)
        assert not result.failed, result.failed[:3]
        clock.lap()
        assert not find_damage(sweep.store)
        _note(found, "check", clock)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {**found, "early": memory[len(memory) // 10], "end": memory[-1], "batches": len(sweep.plan().batches)}


def _note(found: Found, name: str, clock: Clock) -> None:
    lap = clock.lap()
    found[name], found[f"{name}_cpu"] = lap["seconds"], lap["cpu_s"]


def _warm() -> None:
    import sweeps.tasks  # noqa: F401


def apart(what: str, points: int, side: int = TINY, batch: int = 0) -> Found:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, "--measure", what, str(points), str(side), str(batch)]
    text = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    found = json.loads(text.splitlines()[-1])
    print(what, points, side, batch, {name: round(value, 3) for name, value in found.items()}, flush=True)
    return dict(found)


def page(plans: dict[int, Found], runs: Runs) -> str:
    """The page."""
    lines = ["# How a sweep grows", ""]
    lines += ["Made by `python benchmarks/scale.py`; its docstring says what is measured.", ""]
    lines += ["| plan of | seconds | processor s | batches | memory, MiB more |", "|---|---|---|---|---|"]
    for n, f in plans.items():
        row = f"{f['seconds']:.2f} | {f['cpu_s']:.2f} | {f['batches']:.0f} | {f['more_mib']:.0f}"
        lines.append(f"| {n:,} points | {row} |")
    head = (
        "sweep of | cells | batches | s | ms a point | processor ms a point | driver, MiB early | at the end | check, s"
    )
    lines += ["", f"| {head} |", "|---|---|---|---|---|---|---|---|---|"]
    for (n, side, batch), f in runs.items():
        each = f"{1e3 * f['sweep'] / n:.2f} | {1e3 * f['sweep_cpu'] / n:.2f}"
        row = f"{f['sweep']:.1f} | {each} | {f['early']:.0f} | {f['end']:.0f} | {f['check']:.1f}"
        lines.append(f"| {n:,} points | {side} x {side} | {f['batches']:.0f}{' (equal)' if batch else ''} | {row} |")
    lines += ["", *_one_more(runs), "", *_fixed(runs)]
    return "\n".join([*lines, ""])


def _one_more(runs: Runs) -> list[str]:
    """Sentences on the cost of one more point."""
    lines = []
    for side, batch in KINDS:
        (few, a), (many, b) = sorted((n, f) for (n, *kind), f in runs.items() if kind == [side, batch])
        wall, cpu = (1e3 * (b[key] - a[key]) / (many - few) for key in ("sweep", "sweep_cpu"))
        # Of the smaller sweep, what is left when its points cost what one more point costs.
        rest = a["sweep_cpu"] - 1e-3 * cpu * few
        less, mean = (1e3 * f["sweep_cpu"] / n for n, f in ((few, a), (many, b)))
        what = f"{side} x {side} cells, " + (f"{batch} points to a batch in both" if batch else "the planner's batches")
        lines.append(
            f"- {what}: {less:.3f} ms of processor a point at {few:,} points, {mean:.3f} at {many:,} "
            f"({mean / less - 1:+.1%}). One more point {wall:.3f} ms ({cpu:.3f} ms of processor) between the two; "
            f"beside its points the sweep of {few:,} takes {rest:.2f} s of processor."
        )
    return lines


def _fixed(runs: Runs) -> list[str]:
    """The table of what does not grow, from the run that was measured first."""
    found = next(iter(runs.values()))
    rows = {
        "start": f"start of {WORKERS} workers",
        "load": "libraries loaded in them",
        "first": f"a first sweep of {FEW} points",
        "second": "the same again, warm",
    }
    lines = ["| what does not grow | seconds | processor s |", "|---|---|---|"]
    return lines + [f"| {what} | {found[n]:.2f} | {found[f'{n}_cpu']:.2f} |" for n, what in rows.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        what, *numbers = options.measure
        print(json.dumps({"plan": plan, "run": run}[what](*map(int, numbers))))
        return
    planned, swept = ((1000, 4000), (1000, 4000)) if options.quick else ((1000, 100_000, 1_000_000), (1000, 100_000))
    plans = {n: apart("plan", n) for n in planned}
    runs = {(n, *kind): apart("run", n, *kind) for kind in KINDS for n in swept}
    text = page(plans, runs)
    if not options.quick:
        PAGE.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
