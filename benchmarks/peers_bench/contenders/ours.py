"""This project's own schemes. To add one, write a ``_build`` function and append a Contender to ``CONTENDERS``."""

from __future__ import annotations

import copy
from itertools import product

from common.spectral import Array

from peers_bench.contender import Contender, Setting, Solver
from peers_bench.problem import CELLS, FIRST, PROBLEMS, T_END

_TOLERANCES = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4)
_OTHER_TOLERANCES = (1e-2, 1e-3, 1e-4)


def _build_simulate(setting: Setting) -> Solver:
    """The public entry point, asked for a tolerance only: it chooses its own grid and steps."""
    import torch

    from solvers import CahnHilliard, Grid, simulate

    torch.set_num_threads(1)
    asked = PROBLEMS[str(setting.get("problem", FIRST.name))]
    grid = Grid((asked.cells, asked.cells), 1.0, "periodic")
    problem = CahnHilliard(grid, mobility=asked.mobility, kappa=asked.kappa)
    tolerance, dtype = float(setting["tolerance"]), getattr(torch, str(setting["dtype"]))

    def solve(fields: Array) -> Array:
        initial = torch.from_numpy(fields).to(dtype)
        answer = simulate(problem, initial, [asked.t_end], tolerance=tolerance, dtype=dtype)
        return answer[:, -1].double().numpy()

    return solve


def _build_fixed_step(setting: Setting) -> Solver:
    """A scheme of ``solvers.integrators`` at a fixed step on a chosen grid."""
    import torch

    from solvers import CahnHilliard, Grid
    from solvers.grids.resampling import resample
    from solvers.grids.spectral_basis import basis_for
    from solvers.integrators import FixedStep, make_scheme

    torch.set_num_threads(1)
    grid = Grid((CELLS, CELLS), 1.0, "periodic")
    shape = (int(setting["cells"]),) * 2
    dtype, steps = getattr(torch, str(setting["dtype"])), int(setting["steps"])
    basis = basis_for(grid, dtype, shape=shape)
    built: dict[int, FixedStep] = {}

    def scheme_for(batch: int) -> FixedStep:
        if batch not in built:
            equation = CahnHilliard(grid).equation(basis, batch)
            built[batch] = make_scheme(str(setting["scheme"]), equation, T_END / steps, float(setting["stabilisation"]))
        return copy.deepcopy(built[batch])  # multistep schemes carry their history

    @torch.inference_mode()
    def solve(fields: Array) -> Array:
        state = basis.forward(resample(torch.from_numpy(fields).to(dtype), shape, "periodic")[:, None])
        scheme = scheme_for(len(fields))
        for _ in range(steps):
            state = scheme(state)
        answer = resample(basis.inverse(state)[:, 0], (CELLS, CELLS), "periodic")
        return answer.double().numpy()

    return solve


_COUNTS = {
    ("etdrk2", -1.0): (225, 300),
    ("etdrk4", -1.0): (200,),
    ("sbdf2", 0.0): (200, 250, 300),
    ("sbdf3", 1.0): (70, 80, 90, 100, 125, 150, 200, 250, 300),
}
_FIXED_STEPS: tuple[Setting, ...] = tuple(
    {"scheme": scheme, "stabilisation": stabilisation, "cells": cells, "steps": steps, "dtype": "float32"}
    for (scheme, stabilisation), counts in _COUNTS.items()
    for cells, steps in product((64, 72), counts)
)
_SIMULATE: tuple[Setting, ...] = tuple(
    {"problem": name, "tolerance": tolerance, "dtype": dtype}
    for name, dtype in product(PROBLEMS, ("float32", "float64"))
    for tolerance in (_TOLERANCES if name == FIRST.name else _OTHER_TOLERANCES)
)
CONTENDERS = [  # the first is what ratios refer to
    Contender(
        "phasetwin simulate",
        _SIMULATE,
        _build_simulate,
        environment="project",
        chunks=(1, 64),
        asked=True,
        note="solvers.simulate with its default settings and a tolerance; steps and grid are its own choice",
    ),
    Contender(
        "phasetwin fixed steps",
        _FIXED_STEPS,
        _build_fixed_step,
        environment="project",
        chunks=(1, 8, 16),
        note="the schemes of solvers.integrators at a fixed step, float32",
    ),
]
