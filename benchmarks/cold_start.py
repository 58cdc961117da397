"""What the first run after an installation waits for: ``python benchmarks/cold_start.py``.

Writes docs/benchmarks/cold_start.md:

1. each compiled kernel: processor time to compile it, for all combinations of types together, and to read it from disk,
   in a solver run of each process in float32 and float64 and one of the network ``ch-jump``, in a process of their own
   with an empty folder of machine code (``NUMBA_CACHE_DIR``) and then again;
2. the main job (sweeps/examples/spinodal.yaml) with an empty folder and then again, as the file says and on one and
   two worker processes.

``--kernels`` prints the first table and writes nothing. About three minutes on two idle cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from common import PAGES, ROOT
from common.runs import Clock, markdown_table, parser, say

if TYPE_CHECKING:
    from surrogate.models.protocol import RolloutSurrogate

PAGE = PAGES / "cold_start.md"
MAIN_JOB = ROOT / "sweeps" / "examples" / "spinodal.yaml"
CLUSTERS = {
    "as the file says": [],
    "1 worker process": ["--set", "cluster.kind=local", "--set", "cluster.workers=1"],
    "2 worker processes": ["--set", "cluster.kind=local", "--set", "cluster.workers=2"],
}


def main() -> None:
    given = arguments()
    if given.child:
        print(json.dumps(kernel_times()))
        return
    with tempfile.TemporaryDirectory() as folder:
        lines = kernel_table(*(child(folder) for _ in range(2)))
    print("\n".join(lines))
    if given.kernels:
        return
    lines += ["", *job_table()]
    PAGE.write_text(
        "# The first run after an installation\n\n"
        "Made by `python benchmarks/cold_start.py`; its docstring says what is measured. "
        f"{os.cpu_count()} cores, load average {os.getloadavg()[1]:.1f} at the end.\n\n" + "\n".join(lines) + "\n"
    )


def arguments() -> argparse.Namespace:
    given = parser(__doc__)
    given.add_argument("--kernels", action="store_true", help="the table of kernels only, printed")
    given.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return given.parse_args()


def child(folder: str) -> dict[str, Any]:
    """:func:`kernel_times` in a process whose machine code is in ``folder``."""
    done = subprocess.run(
        [sys.executable, __file__, "--child"],
        env=environment(folder),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def environment(folder: str) -> dict[str, str]:
    return os.environ | {"NUMBA_CACHE_DIR": folder, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def kernel_times() -> dict[str, Any]:
    """Processor seconds of every compilation or reading, by kernel; and of all of it."""
    from solvers import kernel_cache

    original = kernel_cache.Kernel.compile
    times: dict[str, list[float]] = {}

    def timed(kernel: kernel_cache.Kernel, sig: Any) -> Any:
        start, known = time.process_time(), len(kernel.overloads)
        result = original(kernel, sig)
        if len(kernel.overloads) > known:
            name = f"{kernel.py_func.__module__}.{kernel.py_func.__name__}"
            times.setdefault(name, []).append(time.process_time() - start)
        return result

    kernel_cache.Kernel.compile = timed  # type: ignore[method-assign, assignment]
    for run in runs():
        run()
    return times


def runs() -> list[Any]:
    """A short solver run for each process and type, and one with the network."""
    import torch

    from solvers import CahnHilliard, GrainGrowth, Grid, simulate
    from surrogate import load_surrogate

    grid = Grid(shape=(64, 64), spacing=1.0)
    random = torch.Generator().manual_seed(0)
    field = 0.05 * torch.randn(1, 64, 64, generator=random, dtype=torch.float64)
    grains = torch.rand(1, 6, 64, 64, generator=random, dtype=torch.float64)

    def solve(problem: Any, start: torch.Tensor, dtype: torch.dtype) -> Any:
        return lambda: simulate(problem, start.to(dtype), [0.0, 5.0, 40.0], tolerance=1e-2, dtype=dtype)

    def network() -> None:
        times = torch.tensor([[0.0, 40.0, 80.0]], dtype=torch.float64)
        model = cast("RolloutSurrogate", load_surrogate("ch-jump"))
        model.rollout(CahnHilliard(grid=grid), field.float(), times)

    types = (torch.float32, torch.float64)
    solved = [solve(p(grid=grid), s, t) for p, s in ((CahnHilliard, field), (GrainGrowth, grains)) for t in types]
    return [*solved, network]


def kernel_table(compiled: dict[str, list[float]], read: dict[str, list[float]]) -> list[str]:
    rows = [
        (name, len(spent), f"{sum(spent):.2f}", f"{1000 * sum(read.get(name, [])):.1f}")
        for name, spent in compiled.items()
    ]
    total = sum(sum(spent) for spent in compiled.values()), sum(sum(spent) for spent in read.values())
    rows.append(("all", sum(len(spent) for spent in compiled.values()), f"{total[0]:.2f}", f"{1000 * total[1]:.1f}"))
    return markdown_table(["kernel", "combinations of types", "compiling, s", "reading, ms"], rows)


def job_table() -> list[str]:
    """The main job with an empty folder of machine code and again, for each cluster."""
    rows = []
    for name, options in CLUSTERS.items():
        with tempfile.TemporaryDirectory() as folder:
            spent = [run_job(folder, str(k), options) for k in range(2)]
        rows.append([name, *(f"{lap['seconds']:.1f} ({lap['cpu_s']:.1f})" for lap in spent)])
        say(" ".join(rows[-1]))
    return markdown_table(["main job: wall s (processor s)", "nothing compiled", "again"], rows)


def run_job(folder: str, name: str, options: list[str]) -> dict[str, float]:
    store = Path(folder) / f"{name}.zarr"
    command = [sys.executable, "-m", "phasetwin", "run", str(MAIN_JOB), "--set", f"output.path={store}", *options]
    before = os.times()
    clock = Clock()
    subprocess.run(command, env=environment(folder), stdout=subprocess.DEVNULL, check=True)
    after = os.times()
    ended = after.children_user + after.children_system - before.children_user - before.children_system
    return {"seconds": clock.lap()["seconds"], "cpu_s": ended}


if __name__ == "__main__":
    main()
