"""evoxels: its grid, stencils and steppers on a user's constant-mobility Cahn-Hilliard problem, jax backend.

The Cahn-Hilliard class it ships has mobility c (1 - c) and clips to [0, 1], so the problem is written on its base
class, once with its own second-order stencils and once with Fourier derivatives.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
from common.spectral import Array

from peers_bench.contender import Contender, Setting, Solver
from peers_bench.problem import BOX, T_END, resample


def _problem_class(spectral: bool, shift: float) -> Any:
    """Constant-mobility Cahn-Hilliard on evoxels' semilinear base class.

    The linear part given to its steppers is -k^4 + (1 - shift) k^2; their form u + h phi(h L) rhs(u) allows any.
    """
    from evoxels.pdes.base import SemiLinearODE

    @dataclass
    class ConstantMobility(SemiLinearODE):
        vg: Any
        bc: Any = "fully_periodic"
        _k2: Any = field(init=False, repr=False)

        def __post_init__(self) -> None:
            self.initialize_boundary_conditions()
            self._k2 = self.k_squared() if spectral else self.k_squared_fd()

        @property
        def order(self) -> int:
            return 2

        @property
        def fourier_symbol(self) -> Any:
            return (1.0 - shift) * self._k2 - self._k2**2

        def rhs_analytic(self, t: Any, u: Any) -> Any:
            raise NotImplementedError("only its numerical right-hand side is needed here")

        def rhs(self, t: float, u: Any) -> Any:  # noqa: ARG002 - the library's signature
            if spectral:
                grid = self.vg
                mu = grid.rfftn(u**3 - u, u.shape) + self._k2 * grid.rfftn(u, u.shape)
                return grid.irfftn(-self._k2 * mu, u.shape)
            mu = u**3 - u - self.vg.laplace(self.pad_bc(u))
            return self.vg.laplace(self.pad_bc(mu))

    return ConstantMobility


def _build(setting: Setting) -> Solver:
    import evoxels.timesteppers as steppers
    import jax
    import jax.numpy as jnp
    from evoxels.voxelgrid import Grid, VoxelGridJax

    jax.config.update("jax_enable_x64", True)
    cells, steps, dtype = int(setting["cells"]), int(setting["steps"]), str(setting["dtype"])
    spacing = BOX / cells
    grid = VoxelGridJax(Grid((cells, cells, 1), (0.0, 0.0, 0.0), (spacing, spacing, spacing), "cell_center"), dtype)
    problem = _problem_class(setting["space"] == "Fourier", float(setting["shift"]))(grid)
    stepper = getattr(steppers, str(setting["stepper"]))(problem, T_END / steps)

    def trajectory(u: Any) -> Any:
        return jax.lax.fori_loop(0, steps, lambda _, state: stepper.step(0.0, state).astype(state.dtype), u)

    run = jax.jit(jax.vmap(trajectory))

    def solve(fields: Array) -> Array:
        fine = jnp.asarray(resample(fields, cells)[:, None, :, :, None], dtype=dtype)
        answer = np.asarray(run(fine), dtype=np.float64)[:, 0, :, :, 0]
        return resample(answer, fields.shape[-1])

    return solve


def _contender(name: str, trajectories: int, note: str, *rows: tuple[str, str, int, int]) -> Contender:
    settings: tuple[Setting, ...] = tuple(
        {"space": space, "stepper": stepper, "cells": cells, "steps": steps, "shift": 0.0, "dtype": "float64"}
        for space, stepper, cells, steps in rows
    )
    common = "jax backend, whole run compiled, float64; its exponential Euler and IMEX on a constant-mobility problem"
    return Contender(name, settings, _build, chunks=(1, 8), trajectories=trajectories, note=f"{common}, {note}")


_EULER, _IMEX = "ExponentialEuler", "PseudoSpectralIMEX"
CONTENDERS = [
    _contender(
        "evoxels",
        4,
        "its own second-order stencils",
        *(("stencil", _EULER, *row) for row in product((64, 96, 128, 160, 192), (350, 400, 600))),
        ("stencil", _IMEX, 128, 1600),
    ),
    _contender(
        "evoxels, Fourier",
        8,
        "Fourier derivatives",
        *(("Fourier", _EULER, *row) for row in product((64, 72), (350, 400, 450, 600, 1200, 4800))),
        ("Fourier", _IMEX, 64, 1200),
    ),
]
