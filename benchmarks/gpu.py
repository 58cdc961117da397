"""What a GPU gains: ``python benchmarks/gpu.py`` on a machine that has one writes docs/benchmarks/gpu.md.

The solver and the surrogate of Cahn-Hilliard on batches of several sizes, on one core, on all cores, and on the GPU, in
turn and in one process; seconds are the least of two. Answers of the GPU are compared with those of one core.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from typing import cast

import torch
from common import PAGES
from common.runs import markdown_table, parser, say

from solvers import CahnHilliard, Grid
from solvers.initial import noise
from solvers.simulation import solve
from surrogate import load_surrogate
from surrogate.models.protocol import RolloutSurrogate
from sweeps.files import write_text

PAGE = PAGES / "gpu.md"
#: Cells a side, samples in the batch.
SIZES = ((64, 1), (64, 64), (64, 256), (256, 1), (256, 16))
TOLERANCE, STOP, ROUNDS = 1e-3, 100.0, 2


def seconds(run: Callable[[], torch.Tensor]) -> tuple[float, torch.Tensor]:
    """The least time of a few rounds, and the answer; the first round compiles and is not counted."""
    found = run()
    best = float("inf")
    for _ in range(ROUNDS):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        started = time.perf_counter()
        found = run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return best, found


def solver(cells: int, batch: int, device: str) -> Callable[[], torch.Tensor]:
    """The solver to 1e-3 in float32."""
    grid = Grid((cells, cells))
    start = noise(grid, 0.0, 0.05, seeds=range(batch)).float()
    problem = CahnHilliard(grid, mobility=1.0, kappa=torch.linspace(0.5, 2.0, batch, dtype=torch.float64))
    return lambda: solve(problem, start, [STOP], TOLERANCE, torch.float32, device).states


def surrogate(cells: int, batch: int, device: str) -> Callable[[], torch.Tensor]:
    """The surrogate to t = 500, its first frames by the solver on the CPU."""
    grid = Grid((cells, cells))
    start = noise(grid, 0.0, 0.05, seeds=range(batch)).float()
    problem = CahnHilliard(grid, mobility=1.0, kappa=torch.linspace(0.5, 2.0, batch, dtype=torch.float64))
    model = cast("RolloutSurrogate", load_surrogate("ch-jump", device=device))
    times = torch.linspace(50.0, 500.0, 10, dtype=torch.float64).expand(batch, -1)
    return lambda: model.rollout(problem, start, times).frames.field


def row(name: str, make: Callable[[int, int, str], Callable[[], torch.Tensor]], cells: int, batch: int) -> list[str]:
    """One line of the table."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    one, true = seconds(make(cells, batch, "cpu"))
    torch.set_num_threads(threads)
    many, _ = seconds(make(cells, batch, "cpu"))
    gpu, found = seconds(make(cells, batch, "cuda"))
    off = float(((found.cpu() - true).norm() / true.norm()).nan_to_num(float("inf")))
    found_row = [name, f"{cells} x {cells}", str(batch), *(f"{s:.3g}" for s in (one, many, gpu))]
    found_row += [f"{one / gpu:.2g}", f"{many / gpu:.2g}", f"{off:.1e}"]
    say(" | ".join(found_row))
    return found_row


def main() -> int:
    """Measure and write the page."""
    parser(__doc__).parse_args()
    if not torch.cuda.is_available():
        say("no GPU here: nothing is measured")
        return 2
    rows = [row("solver", solver, *size) for size in SIZES]
    rows += [row("surrogate", surrogate, *size) for size in SIZES[:2]]
    head = ["what", "cells", "batch", "one core, s", "all cores, s", "GPU, s", "one / GPU", "all / GPU", "difference"]
    about = f"{torch.cuda.get_device_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    about += f", Python {platform.python_version()}"
    lines = ["# On a GPU", "", f"Made by `python benchmarks/gpu.py` (its docstring says how) on: {about}.", ""]
    lines += [*markdown_table(head, rows), ""]
    write_text(PAGE, "\n".join(lines))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
