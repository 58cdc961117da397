"""Converged solutions of cases, computed once and kept: from minutes to a quarter of an hour for a set of sixty."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from common.runs import say
from common.spectral import relative_l2

from error_bench.cases import Array, Case
from solvers import solve
from solvers.grains.simulation import order_parameters, solve_grains
from solvers.processes.grain_growth import GrainGrowth
from sweeps.files import replacing

#: Tolerances of truths by kind of start. Circles take the steps of thousands of units of time, and none of the tracker.
TOLERANCE = {"noise": 2e-6, "smooth": 2e-6, "circle": 3e-7, "voronoi": 5e-7}
#: Grains in walls are solved with one order parameter each, not by the tracker, which was once wrong there.
DENSE_TOLERANCE = 4e-6
#: By name, of both sets: cases whose truth is compared with one of a tolerance this much smaller.
CHECKED = {
    "calibrate-00": 0.1,
    "calibrate-08": 0.15,
    "calibrate-23": 0.15,
    "calibrate-45": 0.3,
    "calibrate-49": 0.2,
    "report-39": 0.1,
    "report-49": 0.4,
}


def truth(case: Case, folder: Path, factor: float = 1.0) -> Array:
    """The field that a solution of the case is compared with, (time, cells, cells) float64; kept in ``folder``.

    Args:
        case: what to solve.
        folder: where truths are kept, as float32 (relative error 6e-8).
        factor: on the tolerance of truths.
    """
    path = truth_file(case, folder, factor)
    if not path.exists():
        started = time.perf_counter()
        states = _solved(case, factor)
        say(f"truth of {case.name}: {time.perf_counter() - started:.0f} s")
        with replacing(path) as file:
            np.savez_compressed(file, states=states.astype(np.float32))
    return np.asarray(np.load(path)["states"], dtype=np.float64)


def truth_file(case: Case, folder: Path, factor: float = 1.0) -> Path:
    """Where the truth of a case lies."""
    return folder / f"truth-{case.name}-{case.digest}{'' if factor == 1.0 else '-check'}.npz"


def own_error(case: Case, folder: Path) -> float:
    """The largest change of a case's truth with a tolerance several times smaller."""
    return float(relative_l2(truth(case, folder), truth(case, folder, CHECKED[case.name])).max())


def _solved(case: Case, factor: float) -> Array:
    problem, times, tolerance = case.problem(), list(case.times), TOLERANCE[case.start] * factor
    if not isinstance(problem, GrainGrowth):
        return solve(problem, case.initial(), times, tolerance).states[0].numpy()
    if case.start == "circle" or case.boundary == "no_flux":
        start = order_parameters(case.initial(), case.grid)
        tolerance = tolerance if case.start == "circle" else DENSE_TOLERANCE * factor
        return solve(problem, start, times, tolerance).states[0].square().sum(1).numpy()
    return solve_grains(problem, case.initial(), times, tolerance).frames.field[0].numpy()
