"""Is the tolerance honest? Error of ``simulate`` over what was asked, against the independent converged solution."""

from __future__ import annotations

import numpy as np
import torch
from common.runs import Table
from common.spectral import Array, cosines, relative_l2, smooth_noise

from solvers import CahnHilliard, GrainGrowth, Grid, Solution, solve
from validation_cases.reference import Material, cached, cahn_hilliard, grain_growth

CELLS = 64
TIMES = (5.0, 10.0, 20.0, 50.0, 100.0, 200.0)
MOBILITIES = (0.5, 1.0, 2.0)
KAPPAS = (0.5, 1.0, 2.0)
TOLERANCES = (1e-2, 1e-3, 1e-4, 1e-5)
CONTRASTS = (0.3, 0.9)

GENERIC = {
    "noise 0.1, mean 0": (0.1, 0.0, 0),
    "noise 0.02, mean 0": (0.02, 0.0, 1),
    "noise 0.5, mean 0": (0.5, 0.0, 2),
    "noise 0.1, mean 0.3": (0.1, 0.3, 3),
    "noise 0.02, mean 0.3": (0.02, 0.3, 6),
    "noise 0.1, mean -0.5": (0.1, -0.5, 4),
    "noise 0.5, mean -0.5": (0.5, -0.5, 5),
}
WHITE = "white noise 0.1, mean 0.1"
SYMMETRIC = {
    "cosines (3,0) and (0,2), mean -0.1": (-0.1, [(0, 3, 0.3), (2, 0, 0.3)]),
    "oblique cosines, mean 0": (0.0, [(1, 1, 0.2), (2, -1, 0.2)]),
    "one slow cosine product": (0.0, [(1, 1, 0.05), (1, -1, 0.05)]),
    "stripes (1,0) and (4,0)": (0.0, [(0, 1, 0.05), (0, 4, 0.05)]),
}


def generic_starts() -> dict[str, Array]:
    """Smooth noise of several strengths and mean compositions, and white noise as sweeps use it."""
    shape = (CELLS, CELLS)
    fields = {name: smooth_noise(shape, std, mean, seed) for name, (std, mean, seed) in GENERIC.items()}
    white = np.random.default_rng(7).standard_normal(shape)
    fields[WHITE] = 0.1 + 0.1 * (white - white.mean()) / white.std()
    return fields


def symmetric_starts() -> dict[str, Array]:
    """A few cosines: symmetric states, unstable to whatever breaks the symmetry."""
    return {name: cosines((CELLS, CELLS), mean, waves) for name, (mean, waves) in SYMMETRIC.items()}


def reference(
    name: str, start: Array, kappa: float, times: tuple[float, ...], contrast: float = 0.0, refine: float = 1.0
) -> Array:
    """(time, y, x), at mobility 1."""
    material = Material(kappa, contrast=contrast)
    key = (name, kappa, times, (("contrast", contrast),) if contrast else (), refine, CELLS)
    return cached("cahn-hilliard", key, lambda: cahn_hilliard(material, start, 1.0, times, refine=refine))


def compared(kappa: float, tolerance: float, starts: dict[str, Array], dtype: torch.dtype) -> tuple[Array, Solution]:
    """Error over tolerance (start, mobility, time), and the solution (start and mobility flattened)."""
    scaled = tuple(sorted({m * t for m in MOBILITIES for t in TIMES}))
    exact = np.stack([reference(name, start, kappa, scaled) for name, start in starts.items()])
    wanted = np.stack([exact[:, [scaled.index(m * t) for t in TIMES]] for m in MOBILITIES], axis=1)
    fields = torch.from_numpy(np.stack(list(starts.values()))).repeat_interleave(len(MOBILITIES), 0)
    mobility = torch.tensor(MOBILITIES, dtype=torch.float64).repeat(len(starts))
    problem = CahnHilliard(Grid((CELLS, CELLS)), mobility, kappa)
    solution = solve(problem, fields, TIMES, tolerance, dtype)
    found = solution.states.double().numpy().reshape(wanted.shape)
    return relative_l2(found, wanted) / tolerance, solution


def amplification(kappa: float, starts: dict[str, Array]) -> Array:
    """By how much the differential equation itself magnifies a small perturbation of the start, (start, 1, time).

    Relative, at the times M t of mobility 1 in the matrix; infinite where it may have carried round-off (1e-16) to the
    size of the solution.
    """
    fields = torch.from_numpy(np.stack(list(starts.values())))
    push = torch.from_numpy(smooth_noise((CELLS, CELLS), 1.0, 0.0, seed=99))
    size = 1e-9 * fields.square().mean((-1, -2), keepdim=True).sqrt()
    problem = CahnHilliard(Grid((CELLS, CELLS)), kappa=kappa)
    times = torch.tensor([[m * t for m in MOBILITIES for t in TIMES]]).flatten()
    row, back = torch.unique(times, return_inverse=True)
    plain, pushed = (solve(problem, f, row, 1e-3).states for f in (fields, fields + size * push))
    factor = relative_l2(pushed.numpy(), plain.numpy()) / 1e-9
    factor = np.where(factor > 1e6, np.inf, np.maximum(factor, 1.0))
    return factor[:, back.numpy()].reshape(len(starts), len(MOBILITIES), len(TIMES))


def error_over_tolerance() -> list[Table]:
    """The matrix tolerance x kappa x mobility x start x time."""
    own = Table(
        "The reference's own error",
        "Plain numpy ETDRK4 on cells of at most sqrt(kappa)/2, steps of 0.0125 until M t = 20 and 0.05 after; here "
        "against half the steps, at the times up to M t = 100. Relative L2, the worst time.",
        ["kappa", "start", "error"],
    )
    first = next(iter(GENERIC))
    short = tuple(t for t in TIMES if t <= 100.0)
    start = generic_starts()[first]
    for kappa in KAPPAS:
        plain, finer = (reference(first, start, kappa, short, refine=r) for r in (1.0, 2.0))
        error = float(relative_l2(plain, finer).max())
        own.add(kappa, first, error, held=error < 0.1 * TOLERANCES[-1])
    table = Table(
        "Error over tolerance, Cahn-Hilliard",
        f"Relative L2 error on the user's {CELLS} x {CELLS} grid, spacing 1, over the tolerance asked for: the worst "
        f"over mobilities {MOBILITIES}, times {TIMES} and starts. Generic: {', '.join([*GENERIC, WHITE])}. Symmetric: "
        f"{', '.join(SYMMETRIC)}. The symmetric ones pass through unstable states at which the differential equation "
        "itself magnifies any perturbation up to the size of the solution. They are shown as found, and divided by "
        "that magnification (measured with a relative push of 1e-9, times of more than 1e6 left out), without a "
        "promise. Evaluations of the right-hand side: the most for any start.",
        [
            *("precision", "tolerance", "kappa", "generic", "worst start", "at M t"),
            *("symmetric", "symmetric / magnification", "cells", "evaluations"),
        ],
    )
    for dtype, tolerances in ((torch.float64, TOLERANCES), (torch.float32, TOLERANCES[:3])):
        for tolerance in tolerances:
            for kappa in KAPPAS:
                _row(table, dtype, tolerance, kappa)
    return [own, table]


def _row(table: Table, dtype: torch.dtype, tolerance: float, kappa: float) -> None:
    starts = generic_starts()
    ratio, solution = compared(kappa, tolerance, starts, dtype)
    special, _ = compared(kappa, tolerance, symmetric_starts(), dtype)
    excused = special / amplification(kappa, symmetric_starts())
    where = np.unravel_index(int(ratio.argmax()), ratio.shape)
    table.add(
        str(dtype).removeprefix("torch."),
        f"{tolerance:g}",
        kappa,
        float(ratio.max()),
        list(starts)[where[0]],
        MOBILITIES[where[1]] * TIMES[where[2]],
        float(special.max()),
        float(excused.max()),
        solution.shapes[0][0],
        int(solution.evaluations.max()),
        held=bool(ratio.max() <= 1.0),
    )


def other_equations() -> list[Table]:
    """Variable mobility and grain growth, on a smaller matrix."""
    variable = Table(
        "Error over tolerance, variable mobility",
        "As above, M(c) = 1 - a c^2, mobility 1, times up to 50. While |c| stays below 1/sqrt(a): beyond it M is cut "
        "off at 0, the solution has corners, and no spectral grid converges fast; the start with deviation 0.5 is "
        "there to show it, without a promise.",
        ["tolerance", "a", "kappa", "generic", "worst start", "cut off", "evaluations"],
    )
    times = tuple(t for t in TIMES if t <= 50.0)
    names = ["noise 0.1, mean 0", "noise 0.1, mean 0.3", "noise 0.5, mean 0"]
    starts = {name: generic_starts()[name] for name in names}
    fields = torch.from_numpy(np.stack(list(starts.values())))
    for contrast in CONTRASTS:
        for kappa in (0.5, 1.0):
            exact = np.stack([reference(n, s, kappa, times, contrast=contrast) for n, s in starts.items()])
            for tolerance in TOLERANCES[:3]:
                problem = CahnHilliard(Grid((CELLS, CELLS)), kappa=kappa, mobility_contrast=contrast)
                solution = solve(problem, fields, times, tolerance)
                ratio = relative_l2(solution.states.numpy(), exact).max(1) / tolerance
                worst = int(ratio[:2].argmax())
                cells = (f"{tolerance:g}", contrast, kappa, float(ratio[worst]), names[worst], float(ratio[2]))
                variable.add(*cells, int(solution.evaluations.max()), held=bool(ratio[:2].max() <= 1.0))
    return [variable, _grain_growth()]


def _grain_growth() -> Table:
    table = Table(
        "Error over tolerance, grain growth",
        "Six order parameters on 48 x 48 cells from smooth noise about 0.3, gamma 1.5 and 1, times up to 50: relative "
        "L2 error over all order parameters, the worst time.",
        ["tolerance", "kappa", "gamma", "ratio", "cells", "evaluations"],
    )
    times = tuple(t for t in TIMES if t <= 50.0)
    start = np.stack([smooth_noise((48, 48), 0.15, 0.3, 20 + g, wavelength=12.0) for g in range(6)])
    for kappa in KAPPAS:
        for gamma in (1.5, 1.0):
            exact = cached(
                "grain-growth",
                (kappa, gamma, times),
                lambda kappa=kappa, gamma=gamma: grain_growth(kappa, gamma, start, 1.0, times),  # type: ignore[misc]
            )
            for tolerance in TOLERANCES[:3]:
                problem = GrainGrowth(Grid((48, 48)), kappa=kappa, gamma=gamma)
                solution = solve(problem, torch.from_numpy(start)[None], times, tolerance)
                ratio = float(relative_l2(solution.states[0].numpy(), exact, axes=3).max()) / tolerance
                shape, cost = solution.shapes[0][0], int(solution.evaluations.max())
                table.add(f"{tolerance:g}", kappa, gamma, ratio, shape, cost, held=ratio <= 1.0)
    return table
