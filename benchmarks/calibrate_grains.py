"""Measures how well the accuracy model of grain growth keeps its promise: ``python benchmarks/calibrate_grains.py``.

For each kappa and tolerance: relative L2 error of the order parameters over the tolerance, worst over times, with both
the internal grid and the steps as chosen; then with only one of them as chosen and the other refined, which says which
constant to change. The reference is the dense solver at a tolerance fifty times smaller. A ratio of 0.33 to 1 is
wanted.
"""

from __future__ import annotations

import argparse
from unittest import mock

import numpy as np
import torch

from solvers import GrainGrowth, Grid, order_parameters, solve
from solvers.accuracy import AccuracyModel
from solvers.processes.grain_growth_process import PROCESS
from solvers.initial.starts import voronoi

TIMES = np.array([1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0])


def answer(problem: GrainGrowth, start: torch.Tensor, space: float, steps: float) -> torch.Tensor:
    """States with the internal grid of one tolerance and the steps of another."""

    def spacing(_: AccuracyModel, __: float, length: float) -> float:
        return chosen_spacing(PROCESS.accuracy, space, length)

    with mock.patch.object(AccuracyModel, "spacing", spacing):
        return solve(problem, start, TIMES, steps).states


chosen_spacing = AccuracyModel.spacing


def worst(states: torch.Tensor, reference: torch.Tensor) -> float:
    """Largest relative L2 error over times."""
    return float(((states - reference).flatten(2).norm(dim=2) / reference.flatten(2).norm(dim=2)).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=32)
    parser.add_argument("--grains", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(1)
    grid = Grid((args.cells, args.cells))
    print("kappa  tolerance  seed  error/tolerance  space alone  steps alone")
    for kappa in (0.5, 1.0, 2.0):
        problem = GrainGrowth(grid, kappa=kappa)
        for seed in range(args.seeds):
            start = order_parameters(voronoi(grid, args.grains, [seed]), grid)
            reference = answer(problem, start, 2e-6, 2e-6)
            for tolerance in (1e-2, 1e-3, 1e-4):
                pairs = ((tolerance, tolerance), (tolerance, tolerance / 50), (tolerance / 50, tolerance))
                ratios = [worst(answer(problem, start, *pair), reference) / tolerance for pair in pairs]
                print(f"{kappa:5.1f}  {tolerance:9.0e}  {seed:4d}", *(f"{r:15.2f}" for r in ratios), flush=True)


if __name__ == "__main__":
    main()
