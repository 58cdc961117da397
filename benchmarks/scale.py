"""How a sweep grows: ``python benchmarks/scale.py`` writes docs/benchmarks/scale.md.

1. Plans of 1,000, 100,000 and a million points: seconds, processor seconds, and peak memory of the process.
2. Sweeps of 1,000 and 100,000 points on two workers, statistics only. Small: 16 x 16 cells to t = 50, about the
   smallest useful one, once with 63 points to a batch in both (what the planner cuts 1,000 into), once with the
   batches that the planner cuts (63 and 512 points), which shows what larger batches save. Tiny: 4 x 4 cells to t = 2,
   250 points to a batch, almost no work, which shows the engine's own bookkeeping. Seconds, processor seconds of driver
   and workers together, memory of the driver (with the scheduler in it) after a tenth of the time and at the end,
   reading and checking the finished store (`status --check`).
3. What does not grow: starting two workers, loading libraries in them, a first sweep of 32 points in them (machine code
   loaded from disk, first calls of everything), the same again in warm workers. The cost of one more point is the
   difference of the two sizes.

About six minutes of processor time. ``--quick`` does 1,000 and 4,000 points and no page.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from common import PAGES
from common.runs import Clock, apart, import_worker_code, independent_points, markdown_table, parser, sweep_blocks

PAGE = PAGES / "scale.md"
WORKERS = 2
FEW = 32
#: Problems: their blocks of the file.
PROBLEMS: dict[str, dict[str, Any]] = {
    "small": {
        "grid": {"shape": [16, 16]},
        "times": {"stop": 50, "count": 6},
        "engine": {"kind": "solver", "tolerance": 0.01},
    },
    "tiny": {
        "grid": {"shape": [4, 4]},
        "times": {"stop": 2, "count": 3},
        "engine": {"kind": "solver", "tolerance": 0.1},
    },
}
#: Problem and points to a batch; 0 leaves it to the planner.
SWEPT = (("small", 63), ("small", 0), ("tiny", 250))

Found = dict[str, float]
#: Problem, points to a batch, points.
Case = tuple[str, int, int]


def configuration(store: Path, points: int, problem: str = "tiny", batch: int = 0) -> dict[str, Any]:
    """A sweep in which no two points share a trajectory; ``batch`` points to a batch, 0 leaves it to the planner."""
    return sweep_blocks(
        "scale",
        store,
        cluster={"kind": "local", "workers": WORKERS},
        **independent_points(points),
        **PROBLEMS[problem],
        **({"batch": {"rollouts": batch}} if batch else {}),
    )


def plan(points: int) -> Found:
    """Seconds and peak memory (MiB) of planning, imports apart."""
    import resource

    from sweeps import Sweep
    from sweeps.plan.plan import make_plan

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


def run(problem: str, batch: int, points: int) -> Found:
    """A sweep in warm workers, and what comes before it."""
    from sweeps import Sweep
    from sweeps.cluster.client import open_client
    from sweeps.monitoring.status import check_store

    folder = Path(tempfile.mkdtemp())
    sweep = Sweep.from_config(configuration(folder / "a.zarr", points, problem, batch))
    sweep.plan()
    found: Found = {}
    try:
        clock = Clock()
        with open_client(sweep.config.cluster, WORKERS) as client:
            _note(found, "start", clock)
            client.run(import_worker_code)
            _note(found, "load", clock)
            for name in ("first", "second"):
                Sweep.from_config(configuration(folder / f"{name}.zarr", FEW, problem)).run(client, progress=False)
                _note(found, name, clock)
            with memory_watched() as memory:
                result = sweep.run(client, progress=False)
            _note(found, "sweep", clock)
        assert not result.failed, result.failed[:3]
        clock.lap()
        assert not check_store(sweep.store)
        _note(found, "check", clock)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {**found, "early": memory[len(memory) // 10], "end": memory[-1], "batches": len(sweep.plan().batches)}


def _note(found: Found, name: str, clock: Clock) -> None:
    lap = clock.lap()
    found[name], found[f"{name}_cpu"] = lap["seconds"], lap["cpu_s"]


def page(plans: dict[int, Found], runs: dict[Case, Found]) -> str:
    """The page."""
    lines = ["# How a sweep grows", ""]
    lines += ["Made by `python benchmarks/scale.py`; its docstring says what is measured.", ""]
    rows: list[tuple[str, ...]] = [
        (f"{n:,} points", f"{f['seconds']:.2f}", f"{f['cpu_s']:.2f}", f"{f['batches']:.0f}", f"{f['more_mib']:.0f}")
        for n, f in plans.items()
    ]
    lines += [*markdown_table(("plan of", "seconds", "processor s", "batches", "memory, MiB more"), rows), ""]
    rows = []
    for (problem, batch, n), f in runs.items():
        cut = f"{f['batches']:.0f} of {batch}" if batch else f"{f['batches']:.0f}, the planner's"
        each = f"{1e3 * f['sweep'] / n:.2f}", f"{1e3 * f['sweep_cpu'] / n:.3f}"
        memory = f"{f['early']:.0f}", f"{f['end']:.0f}"
        rows.append((f"{n:,} {problem} points", cut, f"{f['sweep']:.1f}", *each, *memory, f"{f['check']:.1f}"))
    of_points = ("ms a point", "processor ms a point", "driver, MiB early", "at the end", "check, s")
    lines += markdown_table(("sweep of", "batches", "s", *of_points), rows)
    return "\n".join([*lines, "", *_growth(runs), "", *_fixed(runs), ""])


def _growth(runs: dict[Case, Found]) -> list[str]:
    """Sentences on how the cost of a point changes."""
    lines = []
    for problem, batch in dict.fromkeys(case[:2] for case in runs):
        (few, a), (many, b) = sorted((n, f) for (*which, n), f in runs.items() if which == [problem, batch])
        wall, cpu = (1e3 * (b[key] - a[key]) / (many - few) for key in ("sweep", "sweep_cpu"))
        mean_few, mean_many = 1e3 * a["sweep_cpu"] / few, 1e3 * b["sweep_cpu"] / many
        # Of the smaller sweep, what is left when its points cost what one more point costs.
        rest = a["sweep_cpu"] - 1e-3 * cpu * few
        cut = f"{batch} to a batch in both" if batch else "the planner cuts the batches"
        lines.append(
            f"- {problem} points, {cut}: processor time a point {mean_few:.3f} ms at {few:,}, {mean_many:.3f} ms at "
            f"{many:,} ({mean_many / mean_few - 1:+.1%}); one more point {cpu:.3f} ms ({wall:.3f} ms of wall); beside "
            f"its points the sweep of {few:,} takes {rest:.2f} s of processor."
        )
    return lines


def _fixed(runs: dict[Case, Found]) -> list[str]:
    """The table of what does not grow, from the run that was measured first."""
    found = next(iter(runs.values()))
    rows = {
        "start": f"start of {WORKERS} workers",
        "load": "libraries loaded in them",
        "first": f"a first sweep of {FEW} points",
        "second": "the same again, warm",
    }
    cells = [(what, f"{found[n]:.2f}", f"{found[f'{n}_cpu']:.2f}") for n, what in rows.items()]
    return markdown_table(("what does not grow", "seconds", "processor s"), cells)


def measure(words: list[str]) -> Found:
    """One measurement, here."""
    if words[0] == "plan":
        return plan(int(words[1]))
    return run(words[1], int(words[2]), int(words[3]))


def main() -> None:
    given = parser(__doc__)
    given.add_argument("--quick", action="store_true")
    given.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    options = given.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return
    planned, sizes = ((1000, 4000), (1000, 4000)) if options.quick else ((1000, 100_000, 1_000_000), (1000, 100_000))
    plans = {n: apart(__file__, "--measure", "plan", n) for n in planned}
    runs = {(*which, n): apart(__file__, "--measure", "run", *which, n) for which in SWEPT for n in sizes}
    text = page(plans, runs)
    if not options.quick:
        PAGE.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
