"""spectraletd: first-order ETD or IMEX with its built-in 2/3 truncation of the nonlinear term."""

from __future__ import annotations

import contextlib
import io
from itertools import product
from typing import Any

import numpy as np
from common.spectral import Array

from peers_bench.contender import Contender, Setting, Solver
from peers_bench.problem import BOX, T_END, resample


def _solver(setting: Setting) -> Any:
    """The library's solver object, with the linear part -k^4 + (1 - s) k^2 and s as a stabilisation."""
    import torch
    from spectralETD import SpectralETD

    dtype = getattr(torch, str(setting["dtype"]))
    torch.set_default_dtype(dtype)  # its wavenumbers take the default
    cells, shift = int(setting["cells"]), float(setting["shift"])
    solver: Any = SpectralETD(ndim=2, method=str(setting["method"]), device="cpu")
    solver.Set_Geometry(BOX, cells)
    # Its work arrays are fixed to single precision; doubles are put in their place.
    solver.n = solver.n.to(dtype)
    solver.n_k = torch.fft.rfft2(solver.n)
    k2 = solver.K2
    solver.Set_LinearOperator(lambda _: (1.0 - shift) * k2 - k2**2, {})
    solver.Set_NonLinearOperator(lambda c, _: -k2 * torch.fft.rfft2((c * c - shift) * c), {})
    solver.Set_TimeStep(T_END / int(setting["steps"]))
    return solver


def _build(setting: Setting) -> Solver:
    import torch

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    with contextlib.redirect_stdout(io.StringIO()):
        solver = _solver(setting)
    cells, steps = int(setting["cells"]), int(setting["steps"])

    @torch.inference_mode()
    def one(field: Array) -> Array:
        solver.Set_Field(resample(field, cells))
        for _ in range(steps):  # its Calculate_Dynamics rounds the number of steps down
            solver.Calculate_TimeStep()
        return resample(solver.n.double().numpy(), field.shape[-1])

    return lambda fields: np.stack([one(field) for field in fields])


_SETTINGS: tuple[Setting, ...] = tuple(
    {"method": "ETD", "cells": cells, "steps": steps, "shift": 0.0, "dtype": dtype}
    for cells, steps, dtype in product((64, 80, 96, 108), (400, 450, 500, 600, 1200, 6400), ("float32", "float64"))
    if (steps < 6400 and cells < 108) or cells >= 96
)
_NOTE = "ETD (first order), its 2/3 truncation; float64 by replacing its work arrays, and float32"
CONTENDERS = [Contender("spectraletd", _SETTINGS, _build, chunks=(1,), trajectories=8, note=_NOTE)]
