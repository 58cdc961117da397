"""Cost of the quantities of interest per frame: ``python -m benchmarks.qois``.

Prints microseconds per frame on one thread for the whole set that a sweep stores (free energy excepted, which
the solver hands over), best of ten passes over a batch.
"""

from __future__ import annotations

import time

import torch

from solvers.frames import Frames
from solvers.grids.grid import Grid
from solvers.processes.cahn_hilliard import CahnHilliard
from solvers.processes.grain_growth import GrainGrowth
from solvers.qois import evaluate_qois

CELLS = 2**22


def microseconds_per_frame(side: int, boundary: str, dtype: torch.dtype, grains: bool) -> float:
    """Best of ten passes over a batch of about ``CELLS`` cells."""
    grid = Grid(shape=(side, side), boundary="periodic" if boundary == "periodic" else "no_flux")
    batch, times = max(1, CELLS // grid.cells // 16), 16
    field = torch.randn(batch, times, side, side, dtype=dtype)
    problem: CahnHilliard | GrainGrowth = CahnHilliard(grid, kappa=torch.ones(batch))
    grain_id = None
    if grains:
        problem, blocks = GrainGrowth(grid), torch.arange(side) // 8
        grain_id = (blocks[:, None] * (side // 8) + blocks).expand(batch, times, -1, -1).int()
    frames = Frames(field, free_energy=torch.zeros(batch, times, dtype=dtype), grain_id=grain_id)
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        evaluate_qois(problem, frames)
        seconds.append(time.perf_counter() - start)
    return 1e6 * min(seconds) / (batch * times)


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print("process          cells      boundary  dtype    us/frame")
    for side in (64, 128, 256):
        for boundary in ("periodic", "no_flux"):
            for dtype in (torch.float32, torch.float64):
                cost = microseconds_per_frame(side, boundary, dtype, grains=False)
                name = str(dtype).removeprefix("torch.")
                print(f"cahn_hilliard    {side}x{side:<6} {boundary:9} {name:8} {cost:8.1f}")
        cost = microseconds_per_frame(side, "periodic", torch.float32, grains=True)
        print(f"grain_growth     {side}x{side:<6} {'periodic':9} {'float32':8} {cost:8.1f}")


if __name__ == "__main__":
    main()
