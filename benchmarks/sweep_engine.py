"""What the sweep engine costs over bare computation: ``python benchmarks/sweep_engine.py``.

Three figures, each a ratio within one run, written to docs/benchmarks/sweep_engine.md:

1. overhead: a 1,024-point sweep on two Dask workers (cluster start apart) against the same batches in two plain
   processes;
2. collapse: a 32 x 32 (mobility x kappa) sweep against 1 x 32;
3. memory: driver and largest worker at 4,096 points against 256, `retain: qoi`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
PAGE = ROOT / "docs" / "benchmarks" / "sweep_engine.md"
WORKERS = 2


def configuration(folder: Path, name: str, **blocks: Any) -> dict[str, Any]:
    """A sweep of statistics to t = 100 at a tolerance of 1e-3."""
    return {
        "schema_version": 1,
        "name": name,
        "process": "cahn_hilliard",
        "grid": {"shape": [64, 64]},
        "initial": {"kind": "noise", "amplitude": 0.05},
        "times": {"start": 0, "stop": 100, "count": 6},
        "engine": {"kind": "solver", "tolerance": 1e-3, "dtype": "float64"},
        "output": {"path": str(folder / f"{name}.zarr"), "retain": "qoi"},
        "cluster": {"kind": "local", "workers": WORKERS},
        "verify": {"count": 0},
        **blocks,
    }


def many_points(count: int) -> dict[str, Any]:
    """Blocks of a design in which no two points share a trajectory."""
    return {
        "parameters": {"mobility": 1.0, "kappa": {"low": 1.0, "high": 2.0}, "composition": {"low": -0.3, "high": 0.3}},
        "design": {"sampler": "sobol", "n": count, "seed": 0},
    }


def _warm() -> None:
    import torch

    import sweeps.tasks  # noqa: F401

    torch.set_num_threads(1)


def _compute(task: Any) -> None:
    from sweeps.tasks import compute_batch

    compute_batch(task)


def bare(config: dict[str, Any]) -> float:
    """Seconds for all batches in plain processes, imports and store template apart."""
    from sweeps import Sweep
    from sweeps.cluster import WORKER_MEMORY
    from sweeps.resume import make_tasks, prepare

    sweep = Sweep.from_config(config)
    tasks = make_tasks(prepare(sweep.store, sweep.plan()))
    # The same memory settings as the engine gives its workers, or the comparison flatters the engine.
    os.environ.update({name: str(value) for name, value in WORKER_MEMORY.items()})
    with multiprocessing.get_context("spawn").Pool(WORKERS, initializer=_warm) as pool:
        pool.map(_compute, [], chunksize=1)
        pool.map(time.sleep, [3.0] * WORKERS, chunksize=1)  # every process is up and has imported
        started = time.perf_counter()
        for _ in pool.imap_unordered(_compute, tasks, chunksize=1):
            pass
        return time.perf_counter() - started


def on_dask(config: dict[str, Any]) -> float:
    """Seconds for ``Sweep.run``, cluster start apart."""
    from sweeps import Sweep
    from sweeps.cluster import open_client

    sweep = Sweep.from_config(config)
    _warm()
    sweep.plan()  # imports, as in the plain processes
    with open_client(sweep.config.cluster, WORKERS) as client:
        client.run(_warm)
        started = time.perf_counter()
        sweep.run(client=client, progress=False)
        return time.perf_counter() - started


def overhead(folder: Path, points: int, rounds: int) -> tuple[str, list[float], float]:
    ratios, seconds = [], 0.0
    for i in range(rounds):
        a = bare(configuration(folder, f"bare-{i}", **many_points(points)))
        b = on_dask(configuration(folder, f"dask-{i}", **many_points(points)))
        ratios.append(b / a)
        seconds = b
        print(f"overhead: bare {a:.2f} s, Dask {b:.2f} s, ratio {b / a:.3f}", flush=True)
    return f"{points}-point sweep on {WORKERS} workers / the same batches bare", ratios, seconds


def collapse(folder: Path, side: int, rounds: int) -> tuple[str, list[float], float]:
    kappa = {"linspace": [0.5, 2.0, side]}
    ratios, seconds = [], 0.0
    for i in range(rounds):
        one = on_dask(configuration(folder, f"one-{i}", parameters={"mobility": 2.0, "kappa": kappa}))
        grid = {"mobility": {"logspace": [0.5, 2.0, side]}, "kappa": kappa}
        all_of = on_dask(configuration(folder, f"grid-{i}", parameters=grid))
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
    from sweeps.cluster import open_client

    with tempfile.TemporaryDirectory() as name:
        config = configuration(Path(name), "memory", **many_points(points), grid={"shape": [32, 32]})
        sweep = Sweep.from_config(config)
        with open_client(sweep.config.cluster, WORKERS) as client:
            sweep.run(client=client, progress=False)
            worker = max(client.run(peak_mebibytes).values())
        print(json.dumps({"driver": peak_mebibytes(), "worker": worker}))


def memory(sizes: tuple[int, int]) -> list[tuple[str, list[float], float]]:
    peaks = []
    for points in sizes:
        command = [sys.executable, __file__, "--memory-of", str(points)]
        text = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
        peaks.append(json.loads(text.splitlines()[-1]))
        print(f"memory at {points} points: {peaks[-1]}", flush=True)
    few, many = peaks
    return [
        (f"{who} memory at {sizes[1]} points / at {sizes[0]} (MiB at the larger)", [many[who] / few[who]], many[who])
        for who in ("driver", "worker")
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, one round; no page")
    parser.add_argument("--only-overhead", action="store_true", help="the first figure alone; no page")
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        measure_memory(options.memory_of)
        return
    folder = Path(tempfile.mkdtemp())
    try:
        rounds = 1
        rows = [overhead(folder, 128 if options.quick else 1024, rounds)]
        if options.only_overhead:
            return
        rows.append(collapse(folder, 8 if options.quick else 32, rounds))
        rows += memory((64, 256) if options.quick else (256, 4096))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    lines = ["| figure | ratio (median) | all rounds | seconds or MiB |", "|---|---|---|---|"]
    for name, ratios, value in rows:
        lines.append(
            f"| {name} | {statistics.median(ratios):.3f} | {', '.join(f'{r:.3f}' for r in ratios)} | {value:.1f} |"
        )
    print("\n".join(lines))
    if not options.quick:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        intro = "Made by `python benchmarks/sweep_engine.py`; its docstring says what is compared."
        PAGE.write_text("\n".join(["# The sweep engine", "", intro, "", *lines, ""]))


if __name__ == "__main__":
    main()
