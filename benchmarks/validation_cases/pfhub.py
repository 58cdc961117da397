"""PFHub benchmark 1a: spinodal decomposition in a periodic box, judged by its free energy."""

from __future__ import annotations

from solvers import CahnHilliard, Grid, solve
from solvers.initial.pfhub import pfhub_1a
from validation_cases.table import Table

# Published free energies that independent converged codes agree on; later the codes branch.
PUBLISHED = {1.0: (318.857, 0.003), 10.0: (297.965, 0.02), 20.0: (213.1, 0.2), 100.0: (136.6, 0.5)}


def problem() -> CahnHilliard:
    """The benchmark's material on its box of side 200."""
    return CahnHilliard(Grid((200, 200)), mobility=5.0, kappa=2.0, well={"rho": 5.0, "ca": 0.3, "cb": 0.7})  # type: ignore[arg-type]


def benchmark_1a() -> list[Table]:
    """Free energy at the times before published codes branch."""
    table = Table(
        "PFHub 1a: free energy of spinodal decomposition",
        "Side 200, spacing 1, f = 5 (c - 0.3)^2 (0.7 - c)^2, kappa = 2, M = 5, the benchmark's formula as start "
        "(doi:10.1016/j.commatsci.2016.09.022, section 3.1).",
        ["tolerance", "t", "free energy", "published", "within", "cells", "evaluations"],
    )
    material = problem()
    start = pfhub_1a(material.grid)[None]
    for tolerance in (1e-2, 1e-3, 1e-4):
        solution = solve(material, start, list(PUBLISHED), tolerance)
        for (time, (value, band)), found in zip(PUBLISHED.items(), solution.free_energy[0].tolist(), strict=True):
            cost = int(solution.evaluations[0])
            shown = (f"{tolerance:g}", f"{time:g}", f"{found:.4f}", f"{value:g}", f"{band:g}")
            table.add(*shown, solution.shapes[0][0], cost, held=abs(found - value) <= band)
    return [table]
