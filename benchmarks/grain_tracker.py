"""The grain tracker: cost, memory, growth law, and agreement with one field per grain.

    python benchmarks/grain_tracker.py            1,600 grains on 256x256 to t = 200: time, peak memory, fields
    python benchmarks/grain_tracker.py --check    100 grains on 64x64 to t = 200 against the dense solver

Times are CPU seconds of one thread, which a busy machine disturbs less than wall time.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import torch

from solvers import GrainGrowth, Grid, order_parameters, solve
from solvers.grains.simulation import GrainSolution, solve_grains
from solvers.initial.starts import voronoi


def tracked(
    cells: int, grains: int, times: np.ndarray, tolerance: float, seed: int
) -> tuple[GrainSolution, float, torch.Tensor]:
    """The tracker's answer, its CPU seconds, and the labels it started from."""
    grid = Grid((cells, cells))
    labels = voronoi(grid, grains, [seed])
    start = time.process_time()
    solution = solve_grains(GrainGrowth(grid), labels, times, tolerance)
    return solution, time.process_time() - start, labels


def print_cost(solution: GrainSolution, seconds: float) -> None:
    """Seconds, evaluations, and how the number of fields falls."""
    fields = solution.fields[0]
    ten = [fields[int(i)] for i in np.linspace(0, len(fields) - 1, 10)]
    print(f"tracked: {seconds:.1f} CPU s, {solution.evaluations[0]} evaluations, {solution.moves[0]} moves")
    print(f"fields, at ten evenly spaced steps: {ten}")


def check(tolerance: float, seed: int) -> bool:
    """Against the dense solver: 100 grains on 64x64."""
    times = np.array([0.0, 5.0, 10.0, 20.0, 50.0, 100.0, 150.0, 200.0])
    solution, seconds, labels = tracked(64, 100, times, tolerance, seed)
    print_cost(solution, seconds)
    grid = Grid((64, 64))
    start = time.process_time()
    dense = solve(GrainGrowth(grid), order_parameters(labels, grid), times, tolerance)
    dense_seconds = time.process_time() - start
    print(f"dense: {dense_seconds:.1f} CPU s, {dense.evaluations[0]} evaluations; ratio {dense_seconds / seconds:.1f}")
    phi, dominating = dense.states.square().sum(2)[0], dense.states.argmax(2)[0]
    assert solution.frames.grain_id is not None
    passed = True
    for j, t in enumerate(times):
        error = float((solution.frames.field[0, j] - phi[j]).norm() / phi[j].norm())
        counts = len(torch.unique(solution.frames.grain_id[0, j])), len(torch.unique(dominating[j]))
        passed &= error < 1e-3 and counts[0] == counts[1]
        print(f"t = {t:5.0f}: phi differs by {error:.1e} (relative L2); grains {counts[0]}, dense {counts[1]}")
    print("passed" if passed else "FAILED")
    return passed


def large(cells: int, grains: int, until: float, tolerance: float, seed: int) -> bool:
    """Cost, peak memory and the growth law: mean grain area linear in time."""
    times = np.linspace(0.0, until, 21)
    solution, seconds, _ = tracked(cells, grains, times, tolerance, seed)
    print_cost(solution, seconds)
    assert solution.frames.grain_id is not None
    counts = np.array([len(torch.unique(frame)) for frame in solution.frames.grain_id[0]])
    area = cells**2 / counts
    # The Voronoi start relaxes first; after that d<A>/dt is constant.
    late = times >= 0.25 * until
    slope, intercept = np.polyfit(times[late], area[late], 1)
    residual = area[late] - (slope * times[late] + intercept)
    fit = 1.0 - residual.var() / area[late].var()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"grains: {counts.tolist()}")
    print(f"mean area = {intercept:.1f} + {slope:.3f} t from t = {0.25 * until:g} on, R^2 = {fit:.4f}")
    print(f"peak memory of the process {peak:.2f} GiB")
    return bool(peak < 2.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the dense solver")
    parser.add_argument("--cells", type=int, default=256)
    parser.add_argument("--grains", type=int, default=1600)
    parser.add_argument("--until", type=float, default=200.0)
    parser.add_argument("--tolerance", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.check:
        passed = check(args.tolerance, args.seed)
    else:
        passed = large(args.cells, args.grains, args.until, args.tolerance, args.seed)
    raise SystemExit(0 if passed else 1)


if __name__ == "__main__":
    main()
