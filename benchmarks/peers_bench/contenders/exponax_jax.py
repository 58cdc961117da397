"""exponax: its own Cahn-Hilliard stepper, the whole run compiled as one scan."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from common.spectral import Array

from peers_bench.contender import Contender, Setting, Solver
from peers_bench.problem import FIRST, PROBLEMS, Problem, resample

_SINGLE_PRECISION = {"float64": "float32", "complex128": "complex64"}


def _stepper(problem: Problem, setting: Setting, step: float) -> Any:
    import exponax
    import jax

    # Fraction 1 keeps every mode but Nyquist: on these problems a finer grid beats truncation.
    stepper: Any = exponax.stepper.reaction.CahnHilliard(
        2,
        float(problem.cells),
        int(setting["cells"]),
        step,
        diffusivity=problem.mobility,
        gamma=problem.kappa,
        order=int(setting["order"]),
        dealiasing_fraction=1.0,
    )
    if setting["dtype"] == "float64":
        return stepper
    # Coefficients in double precision, state and arithmetic in single.
    return jax.tree.map(
        lambda leaf: (
            leaf.astype(_SINGLE_PRECISION.get(str(leaf.dtype), leaf.dtype)) if hasattr(leaf, "dtype") else leaf
        ),
        stepper,
    )


def _trajectory(problem: Problem, setting: Setting) -> Any:
    """The map from the start to the end: short steps until a time where the setting has them, then long ones.

    Its scan over steps stays in Fourier space, where rounding makes the coefficients of conjugate modes differ. No
    inverse transform sees that difference, so nothing but the linear part acts on it, and in the spinodal it grows as
    exp(M t / (4 kappa)): beyond single precision where M / kappa is 1.9 and t is 100. Going to values and back after
    some steps removes it.
    """
    import exponax
    import jax

    steps, every = int(setting["steps"]), int(setting.get("every", setting["steps"]))
    first, until = int(setting.get("first", 0)), float(setting.get("until", 0.0))
    inner = exponax.RepeatedStepper(_stepper(problem, setting, (problem.t_end - until) / steps), every)
    begin: Any = exponax.RepeatedStepper(_stepper(problem, setting, until / first), first) if first else None

    def run(u: Any) -> Any:
        u = u if begin is None else begin(u)
        return jax.lax.scan(lambda state, _: (inner(state), None), u, None, length=steps // every)[0]

    return run


def _build(setting: Setting) -> Solver:
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    problem = PROBLEMS[str(setting.get("problem", FIRST.name))]
    run = jax.jit(jax.vmap(_trajectory(problem, setting)))
    cells, dtype = int(setting["cells"]), str(setting["dtype"])

    def solve(fields: Array) -> Array:
        fine = jnp.asarray(resample(fields, cells)[:, None], dtype=dtype)
        answer = np.asarray(run(fine), dtype=np.float64)[:, 0]
        return resample(answer, fields.shape[-1])

    return solve


# From just below each order's stability limit on the first problem to where space limits the error.
_STEPS = {
    1: (350, 400, 450, 600, 1200),
    2: (200, 206, 212, 218, 225, 250, 300, 400, 500),
    3: (212, 225, 250, 275, 300),
    4: (150, 160, 170, 180, 190, 200, 225, 250, 300, 400, 600, 900),
}
_SETTINGS: tuple[Setting, ...] = tuple(
    {"order": order, "cells": cells, "steps": count, "dtype": dtype}
    for order, cells, dtype in product((1, 2, 3, 4), (64, 72, 80, 96), ("float32", "float64"))
    for count in _STEPS[order]
    if cells < 80 or (order == 4 and count >= cells * 2.5)
)

# On the others: (order, precision, cells, steps), with and without short steps while the noise decays.
_OTHERS: dict[str, tuple[tuple[int, str, tuple[int, ...], tuple[int, ...]], ...]] = {
    "noise-64": (
        (2, "float32", (72, 80), (375, 400, 425, 450, 500, 600)),
        (3, "float32", (72, 80), (450, 475, 500, 550, 600)),
        (4, "float32", (72, 80), (375, 400, 425, 450, 500, 600, 800)),
        (4, "float64", (96, 108), (1200, 1800, 2700)),
    ),
    "noise-96": (
        (2, "float32", (96,), (325, 350, 375, 400, 450, 500, 600, 800)),
        (3, "float32", (96,), (350, 375, 400, 450, 500, 600)),
        (4, "float32", (96, 108), (300, 325, 350, 400, 450, 500, 600, 800)),
        (4, "float64", (96, 108), (900, 1500, 2400)),
    ),
}
_BEGINNINGS: tuple[Setting, ...] = ({}, {"first": 20, "until": 2.0}, {"first": 200, "until": 4.0})


def _other_settings() -> tuple[Setting, ...]:
    return tuple(
        {"problem": name, "order": order, "cells": cells, "steps": steps, "every": 25, "dtype": dtype, **beginning}
        for name, rows in _OTHERS.items()
        for order, dtype, grids, counts in rows
        for cells, steps, beginning in product(grids, counts, _BEGINNINGS)
        # Long ones pay where little error is left, and single steps only where it may be large.
        if (beginning or order == 2) and (order > 2 or beginning != _BEGINNINGS[-1])
    )


_NOTE = (
    "its CahnHilliard stepper, ETDRK1 to ETDRK4, no truncation, jit of the whole scan, vmap; float64 and float32. From "
    "noise with values in between every 25 steps, without which it overflows in float32 (M / kappa = 1.9), and with "
    "short first steps where that helps"
)
CONTENDERS = [
    Contender("exponax", (*_SETTINGS, *_other_settings()), _build, chunks=(1, 4, 16, 64), note=_NOTE),
]
