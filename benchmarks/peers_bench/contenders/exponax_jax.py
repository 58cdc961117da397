"""exponax: its own Cahn-Hilliard stepper, the whole run compiled as one scan."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from common.spectral import Array

from peers_bench.contender import Contender, Setting, Solver
from peers_bench.problem import BOX, T_END, resample

_SINGLE_PRECISION = {"float64": "float32", "complex128": "complex64"}


def _build(setting: Setting) -> Solver:
    import exponax
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    cells, steps = int(setting["cells"]), int(setting["steps"])
    # Fraction 1 keeps every mode but Nyquist: on this problem a finer grid beats truncation.
    stepper: Any = exponax.stepper.reaction.CahnHilliard(
        2, BOX, cells, T_END / steps, diffusivity=1.0, gamma=1.0, order=int(setting["order"]), dealiasing_fraction=1.0
    )
    dtype = str(setting["dtype"])
    if dtype == "float32":  # coefficients in double precision, state and arithmetic in single
        stepper = jax.tree.map(
            lambda leaf: (
                leaf.astype(_SINGLE_PRECISION.get(str(leaf.dtype), leaf.dtype)) if hasattr(leaf, "dtype") else leaf
            ),
            stepper,
        )
    run = jax.jit(jax.vmap(exponax.RepeatedStepper(stepper, steps)))

    def solve(fields: Array) -> Array:
        fine = jnp.asarray(resample(fields, cells)[:, None], dtype=dtype)
        answer = np.asarray(run(fine), dtype=np.float64)[:, 0]
        return resample(answer, fields.shape[-1])

    return solve


# From just below each order's stability limit on this problem to where space limits the error.
_STEPS = {
    1: (350, 400, 450, 600, 1200),
    2: (200, 206, 212, 218, 225, 250, 300, 400, 500),
    3: (212, 225, 250, 275, 300),
    4: (150, 160, 170, 180, 190, 200, 225, 250, 300, 400),
}
_SETTINGS: tuple[Setting, ...] = tuple(
    {"order": order, "cells": cells, "steps": count, "dtype": dtype}
    for order, cells, dtype in product((1, 2, 3, 4), (64, 72, 80, 96), ("float32", "float64"))
    for count in _STEPS[order]
    if cells < 80 or (order == 4 and count >= cells * 2.5)
)
_NOTE = "its CahnHilliard stepper, ETDRK1 to ETDRK4, no truncation, jit of the whole scan, vmap; float64 and float32"
CONTENDERS = [Contender("exponax", _SETTINGS, _build, chunks=(1, 4, 16, 64), note=_NOTE)]
