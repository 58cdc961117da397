"""What the sweep engine costs over bare computation: ``python benchmarks/sweep_engine.py``.

Figures, each a ratio within one run, written to docs/benchmarks/sweep_engine.md:

1. overhead: a 4,096-point sweep on two Dask workers (cluster start apart) against the same batches in two plain
   processes, wall and processor time (the second also means something on a busy machine);
2. workers: a 1,024-point sweep on one worker against two;
3. collapse: a 32 x 32 (mobility x kappa) sweep against 1 x 32;
4. memory: driver and largest worker at 4,096 points against 256, `retain: qoi`.

About five minutes on two idle cores.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from common import PAGES
from common.runs import Clock, apart, import_worker_code, independent_points, markdown_table, parser, sweep_blocks

PAGE = PAGES / "sweep_engine.md"
WORKERS = 2

Found = dict[str, float]
#: Name, ratios, and seconds or MiB of the last round.
Figure = tuple[str, list[float], float]


def configuration(folder: Path, name: str, **blocks: Any) -> dict[str, Any]:
    """A sweep of statistics to t = 100 at a tolerance of 1e-3."""
    fixed = {
        "grid": {"shape": [64, 64]},
        "initial": {"kind": "noise", "amplitude": 0.05},
        "times": {"start": 0, "stop": 100, "count": 6},
        "engine": {"kind": "solver", "tolerance": 1e-3, "dtype": "float64"},
        "cluster": {"kind": "local", "workers": WORKERS},
    }
    return sweep_blocks(name, folder / f"{name}.zarr", **{**fixed, **blocks})


def _warm() -> None:
    import torch

    import_worker_code()
    torch.set_num_threads(1)


def _compute(task: Any) -> None:
    from sweeps.execution.task import compute_batch

    compute_batch(task)


def bare(config: dict[str, Any]) -> Found:
    """All batches in plain processes, imports and store template apart."""
    from sweeps import Sweep
    from sweeps.cluster.dask_settings import WORKER_MEMORY
    from sweeps.execution.prepare import make_tasks, prepare

    sweep = Sweep.from_config(config)
    tasks = make_tasks(prepare(sweep.store, sweep.plan()))
    # The same memory settings as the engine gives its workers, or the comparison flatters the engine.
    os.environ.update({name: str(value) for name, value in WORKER_MEMORY.items()})
    with multiprocessing.get_context("spawn").Pool(WORKERS, initializer=_warm) as pool:
        pool.map(_compute, [], chunksize=1)
        pool.map(time.sleep, [3.0] * WORKERS, chunksize=1)  # every process is up and has imported
        clock = Clock()
        for _ in pool.imap_unordered(_compute, tasks, chunksize=1):
            pass
        return clock.lap()


def on_dask(config: dict[str, Any], workers: int = WORKERS) -> Found:
    """``Sweep.run``, cluster start apart."""
    from sweeps import Sweep
    from sweeps.cluster.client import open_client

    config = {**config, "cluster": {**config["cluster"], "workers": workers}}
    sweep = Sweep.from_config(config)
    _warm()
    sweep.plan()  # imports, as in the plain processes
    with open_client(sweep.config.cluster, workers) as client:
        client.run(_warm)
        clock = Clock()
        sweep.run(client=client, progress=False)
        return clock.lap()


def overhead(folder: Path, points: int, rounds: int) -> list[Figure]:
    """Wall and processor time of a sweep over those of its batches alone."""
    walls, cpus, last = [], [], {"seconds": 0.0, "cpu_s": 0.0}
    for i in range(rounds):
        a = bare(configuration(folder, f"bare-{i}", **independent_points(points)))
        last = on_dask(configuration(folder, f"dask-{i}", **independent_points(points)))
        walls.append(last["seconds"] / a["seconds"])
        cpus.append(last["cpu_s"] / a["cpu_s"])
        print(f"overhead: bare {a}, Dask {last}, ratios {walls[-1]:.3f}, {cpus[-1]:.3f}", flush=True)
    name = f"{points}-point sweep on {WORKERS} workers / the same batches bare"
    return [(f"{name}, wall", walls, last["seconds"]), (f"{name}, processor time", cpus, last["cpu_s"])]


def workers(folder: Path, points: int, rounds: int) -> Figure:
    """How much faster two workers are than one."""
    ratios, seconds = [], 0.0
    for i in range(rounds):
        one, two = (
            on_dask(configuration(folder, f"w{n}-{i}", **independent_points(points)), n)["seconds"] for n in (1, 2)
        )
        ratios.append(one / two)
        seconds = two
        print(f"workers: one {one:.2f} s, two {two:.2f} s, ratio {one / two:.3f}", flush=True)
    return f"{points}-point sweep on 1 worker / on 2", ratios, seconds


def collapse(folder: Path, side: int, rounds: int) -> Figure:
    """A grid over mobility and kappa against one over kappa alone."""
    kappa = {"linspace": [0.5, 2.0, side]}
    ratios, seconds = [], 0.0
    for i in range(rounds):
        one = on_dask(configuration(folder, f"one-{i}", parameters={"mobility": 2.0, "kappa": kappa}))["seconds"]
        grid = {"mobility": {"logspace": [0.5, 2.0, side]}, "kappa": kappa}
        all_of = on_dask(configuration(folder, f"grid-{i}", parameters=grid))["seconds"]
        ratios.append(all_of / one)
        seconds = all_of
        print(f"collapse: 1 x {side} {one:.2f} s, {side} x {side} {all_of:.2f} s, ratio {all_of / one:.3f}", flush=True)
    return f"{side} x {side} (mobility x kappa) / 1 x {side}", ratios, seconds


def peak_mebibytes() -> float:
    """Peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def measure_memory(points: int) -> None:
    """Runs a sweep of ``points`` in this process and prints the peaks of driver and workers as JSON."""
    from sweeps import Sweep
    from sweeps.cluster.client import open_client

    with tempfile.TemporaryDirectory() as name:
        config = configuration(Path(name), "memory", **independent_points(points), grid={"shape": [32, 32]})
        sweep = Sweep.from_config(config)
        with open_client(sweep.config.cluster, WORKERS) as client:
            sweep.run(client=client, progress=False)
            worker = max(client.run(peak_mebibytes).values())
        print(json.dumps({"driver": peak_mebibytes(), "worker": worker}))


def memory(sizes: tuple[int, int]) -> list[Figure]:
    """Peaks of driver and workers, each size in a process of its own."""
    peaks = []
    for points in sizes:
        peaks.append(apart(__file__, "--memory-of", points))
    few, many = peaks
    return [
        (f"{who} memory at {sizes[1]} points / at {sizes[0]} (MiB at the larger)", [many[who] / few[who]], many[who])
        for who in ("driver", "worker")
    ]


def main() -> None:
    given = parser(__doc__)
    given.add_argument("--quick", action="store_true", help="small sizes, one round; no page")
    given.add_argument("--only-overhead", action="store_true", help="the first figure alone; no page")
    given.add_argument("--points", type=int, help="of the first figure")
    given.add_argument("--rounds", type=int, default=1)
    given.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    options = given.parse_args()
    if options.memory_of:
        measure_memory(options.memory_of)
        return
    folder = Path(tempfile.mkdtemp())
    try:
        rounds = options.rounds
        rows = overhead(folder, options.points or (128 if options.quick else 4096), rounds)
        if options.only_overhead:
            return
        rows.append(workers(folder, 128 if options.quick else 1024, rounds))
        rows.append(collapse(folder, 8 if options.quick else 32, rounds))
        rows += memory((64, 256) if options.quick else (256, 4096))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    cells = [
        (name, f"{statistics.median(ratios):.3f}", ", ".join(f"{r:.3f}" for r in ratios), f"{value:.1f}")
        for name, ratios, value in rows
    ]
    lines = markdown_table(("figure", "ratio (median)", "all rounds", "seconds or MiB"), cells)
    print("\n".join(lines))
    if not options.quick:
        intro = "Made by `python benchmarks/sweep_engine.py`; its docstring says what is compared."
        PAGE.write_text("\n".join(["# The sweep engine", "", intro, "", *lines, ""]))


if __name__ == "__main__":
    main()
