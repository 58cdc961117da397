"""py-pde: its Cahn-Hilliard equation on its numba backend, own differences or its Fourier Laplacian (rocket-fft)."""

from __future__ import annotations

import numpy as np
from common.spectral import Array

from peers_bench.contender import Contender, Setting, Solver
from peers_bench.problem import BOX, T_END, resample


def _build(setting: Setting) -> Solver:
    import numba
    import pde
    from pde.solvers.base import SolverBase

    numba.set_num_threads(1)
    pde.config["backend.numba.use_spectral"] = setting["space"] == "Fourier"
    cells = int(setting["cells"])
    grid = pde.CartesianGrid([[0.0, BOX], [0.0, BOX]], [cells, cells], periodic=True)
    equation = pde.CahnHilliardPDE(interface_width=1.0)
    solver = SolverBase.from_name(str(setting["scheme"]), equation, backend="numba")
    stepper = solver.make_stepper(pde.ScalarField(grid, np.zeros((cells, cells))), T_END / int(setting["steps"]))

    def one(field: Array) -> Array:
        state = pde.ScalarField(grid, resample(field, cells))
        stepper(state, 0.0, T_END)
        return resample(state.data, field.shape[-1])

    return lambda fields: np.stack([one(field) for field in fields])


# Explicit Euler at its stability limit, h < 2 / (k^4 - k^2 + 3 k^2): the error is then decided by space alone. Its
# Runge-Kutta, adaptive or not, needs several times as long for the same answer.
_GRIDS = {
    "stencil": ((64, 4000), (96, 18000), (128, 56000), (160, 134000)),
    "Fourier": ((64, 23000), (72, 36000)),
}


def _contender(name: str, space: str, note: str) -> Contender:
    settings: tuple[Setting, ...] = tuple(
        {"space": space, "scheme": "euler", "cells": cells, "steps": steps} for cells, steps in _GRIDS[space]
    )
    note = f"numba backend, float64, explicit Euler at its stability limit, {note}"
    return Contender(name, settings, _build, chunks=(1,), trajectories=2, note=note)


CONTENDERS = [
    _contender("py-pde", "stencil", "its own differences"),
    _contender("py-pde, Fourier", "Fourier", "its Fourier Laplacian"),
]
