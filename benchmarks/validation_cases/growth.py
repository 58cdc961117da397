"""Coarsening law of Cahn-Hilliard: domains grow as the cube root of time (Lifshitz and Slyozov 1961,
doi:10.1016/0022-3697(61)90054-3; Huse 1986 for the approach to it, doi:10.1103/PhysRevB.34.7845)."""

from __future__ import annotations

import math

import torch
from common.runs import Table

from solvers import CahnHilliard, Grid, qois, simulate
from solvers.initial import noise

# Late enough that domains are several times wider than interfaces, early enough that the box holds eight across.
WINDOW = (200.0, 3000.0)
# Huse's correction, exponent = 1/3 (1 - constant / L), keeps effective exponents below 1/3 in any such window, most so
# for droplets in a majority phase. Per composition, least exponents from S(k) and from interfaces; 0.36 is the most.
LEAST = {0.0: (0.22, 0.27), 0.3: (0.18, 0.22)}
MOST = 0.36
# Of the length with t^(1/3), an offset allowed.
CORRELATION = 0.998


def exponents(cells: int, composition: float, seeds: range, window: tuple[float, float] = WINDOW) -> dict[str, float]:
    """Slope of log length over log time in the window, lengths averaged over seeds.

    Returns:
        Slopes for the first moment of the structure factor and for the inverse interface density, the last domain
        size, and the correlation of the second length with t^(1/3).
    """
    grid = Grid((cells, cells))
    times = [window[0] * (window[1] / window[0]) ** (i / 8) for i in range(9)]
    problem = CahnHilliard(grid)
    initial = noise(grid, composition, 0.05, list(seeds))
    frames = simulate(problem, initial, times, tolerance=1e-2, dtype=torch.float32)
    moment = qois.domain_size(frames, grid).double().mean(0)
    interface = qois.domain_size_interface(qois.interface_density(frames, grid)).double().mean(0)
    return {
        "structure factor": slope(times, moment),
        "interface density": slope(times, interface),
        "last domain size": float(moment[-1]),
        "correlation": _correlation([t ** (1 / 3) for t in times], interface),
    }


def slope(times: list[float], lengths: torch.Tensor) -> float:
    """Least-squares exponent."""
    x = torch.tensor([math.log(t) for t in times], dtype=torch.float64)
    x = x - x.mean()
    return float((x * lengths.log()).sum() / (x * x).sum())


def _correlation(times: list[float], values: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([torch.tensor(times, dtype=torch.float64), values]))[0, 1])


def growth_law() -> list[Table]:
    """Exponents for two compositions in two box sizes."""
    table = Table(
        "Growth law of Cahn-Hilliard",
        f"kappa = M = 1, periodic, spacing 1, noise 0.05, tolerance 1e-2, float32. Exponent of the domain size between "
        f"t = {WINDOW[0]:g} and {WINDOW[1]:g}. The law is 1/3, reached from below, with an offset: held if the length "
        f"is linear in the cube root of time, correlation above {CORRELATION}, and the exponents lie between "
        f"{LEAST[0.0]} at composition 0, {LEAST[0.3]} at 0.3, and {MOST}.",
        ["cells", "seeds", "mean composition", "from S(k)", "from interfaces", "last domain size", "linear in t^(1/3)"],
    )
    for cells, seeds in ((128, 8), (256, 4)):
        for composition in LEAST:
            found = exponents(cells, composition, range(seeds))
            slopes = found["structure factor"], found["interface density"]
            last = f"{found['last domain size']:.1f}", f"{found['correlation']:.5f}"
            within = all(low <= s <= MOST for low, s in zip(LEAST[composition], slopes, strict=True))
            held = within and found["correlation"] >= CORRELATION
            table.add(cells, seeds, composition, *slopes, *last, held=held)
    return [table]
