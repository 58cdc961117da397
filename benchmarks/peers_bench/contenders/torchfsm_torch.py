"""torchfsm: its operators and integrators, with the Laplacian of the cube as a user's nonlinear term."""

from __future__ import annotations

from itertools import product
from typing import Any

from common.spectral import Array

from peers_bench.contender import Contender, Setting, Solver
from peers_bench.problem import BOX, T_END, resample


def _cubic_laplacian() -> Any:
    """Operator lap(c^3); torchfsm has no Cahn-Hilliard, this follows its own operator classes."""
    import torch
    from torchfsm.operator import NonlinearFunc, NonlinearOperator

    class Core(NonlinearFunc):
        def __init__(self) -> None:
            super().__init__(False)  # no truncation: on this problem a finer grid beats it
            self._laplacian: Any = None

        def __call__(self, u_fft: Any, f_mesh: Any, u: Any = None) -> Any:  # noqa: ARG002 - the library's signature
            if self._laplacian is None:
                self._laplacian = f_mesh.laplacian()
            return self._laplacian * f_mesh.fft(torch.mul(u * u, u))

    return NonlinearOperator(Core())


def _build(setting: Setting) -> Solver:
    import torch
    from torchfsm.integrator import SETDRKIntegrator
    from torchfsm.mesh import FourierMesh
    from torchfsm.operator import Biharmonic, Laplacian

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    cells, steps = int(setting["cells"]), int(setting["steps"])
    dtype = getattr(torch, str(setting["dtype"]))
    operator = _cubic_laplacian() - Laplacian() - Biharmonic()
    operator.set_integrator(getattr(SETDRKIntegrator, f"SETDRK{setting['order']}"))
    mesh = FourierMesh([(0.0, BOX, cells)] * 2, device="cpu", dtype=dtype)
    operator.register_mesh(mesh, 1)

    @torch.inference_mode()
    def solve(fields: Array) -> Array:
        fine = torch.from_numpy(resample(fields, cells)[:, None]).to(dtype)
        answer = operator.integrate(u_0=fine, dt=T_END / steps, step=steps)
        return resample(answer[:, 0].double().numpy(), fields.shape[-1])

    return solve


_STEPS = {2: (206, 212, 218, 225, 300, 400), 3: (225, 250, 300), 4: (170, 190, 200, 225)}
_SETTINGS: tuple[Setting, ...] = tuple(
    {"order": order, "cells": cells, "steps": count, "dtype": dtype}
    for order, cells, dtype in product((2, 3, 4), (64, 72), ("float32", "float64"))
    for count in _STEPS[order]
)
_NOTE = "SETDRK2 to SETDRK4, no truncation; the nonlinear term lap(c^3) written for it; float64 and float32"
CONTENDERS = [Contender("torchfsm", _SETTINGS, _build, note=_NOTE)]
