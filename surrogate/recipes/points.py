"""The parameter tables of training and calibration: ``python -m surrogate.recipes.points`` writes them, bit for bit.

Points are spread by scrambled Sobol sequences over boxes of kappa / (W dx^2), mean composition, mobility contrast and
gamma. Mobilities are chosen such that one unit of time moves interfaces about as far at every kappa: boundaries of
grains move at a speed proportional to M kappa, those of coarsening domains to M sqrt(kappa).
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
from scipy.stats import qmc

FOLDER = Path(__file__).parent
KAPPA = (0.25, 2.0)
# The paper's network has no kappa as input: it must infer it from the images, and gets the range of the fixed protocol.
KAPPA_OF = {"gsta-spinodal": (0.5, 2.0), "gsta-grain": (0.5, 2.0), "gsta-grain-second": (0.5, 2.0)}
# Tables: name -> process, points, seed, ranges of composition and contrast (Cahn-Hilliard) or of gamma (grains).
# Shallow quenches separate from small noise; deep in the metastable range it takes large noise to make droplets.
CAHN_HILLIARD = {
    "ch-train-spinodal": (160, 1, (-0.4, 0.4), (0.0, 1.0)),
    "ch-train-droplets": (96, 2, (0.35, 0.62), (0.0, 1.0)),
    "ch-validation": (32, 3, (-0.4, 0.4), (0.0, 1.0)),
    "ch-validation-droplets": (16, 4, (0.35, 0.6), (0.0, 1.0)),
    "gsta-spinodal": (96, 7, (-0.1, 0.1), (0.0, 0.0)),
    "ch-calibration": (260, 13, (-0.4, 0.4), (0.0, 1.0)),
    "ch-calibration-droplets": (120, 14, (0.35, 0.62), (0.0, 1.0)),
    "ch-calibration-32": (120, 15, (-0.4, 0.4), (0.0, 1.0)),
    "ch-coverage": (100, 16, (-0.4, 0.4), (0.0, 1.0)),
    "ch-coverage-droplets": (50, 17, (0.35, 0.62), (0.0, 1.0)),
    "ch-coverage-32": (50, 18, (-0.4, 0.4), (0.0, 1.0)),
    "ch-calibration-late": (160, 21, (-0.4, 0.4), (0.0, 0.0)),
    "ch-coverage-late": (60, 22, (-0.4, 0.4), (0.0, 0.0)),
}
GRAIN_GROWTH = {
    "gg-train": (240, 5, (1.0, 2.0)),
    "gg-validation": (32, 6, (1.0, 2.0)),
    "gsta-grain": (96, 8, (1.5, 1.5)),
    "gsta-grain-second": (192, 23, (1.5, 1.5)),
    "gg-calibration": (110, 9, (1.0, 2.0)),
    "gg-calibration-32": (120, 10, (1.0, 2.0)),
    "gg-coverage": (100, 11, (1.0, 2.0)),
    "gg-coverage-32": (100, 12, (1.0, 2.0)),
}
# Points beyond the training: name -> points, seed. At least one group is in the ranges below it or above it.
# Mobility is constant: a low kappa with a contrast would take the solver minutes.
OUTSIDE = {"gg-outside": (30, 19), "ch-outside": (30, 20)}
KAPPA_OUTSIDE = ((0.15, 0.22), (2.4, 6.0))
GAMMA_OUTSIDE = ((0.8, 0.95), (2.3, 3.5))
COMPOSITION_OUTSIDE = ((-0.8, -0.66), (0.66, 0.8))


def unit(count: int, dimensions: int, seed: int) -> np.ndarray:
    """(count, dimensions) in [0, 1), scrambled Sobol (Owen 1998, doi:10.1006/jcom.1998.0487)."""
    return qmc.Sobol(dimensions, seed=seed).random(2 ** math.ceil(math.log2(count)))[:count]


def _log_between(low: float, high: float, share: np.ndarray) -> np.ndarray:
    return low * (high / low) ** share


def cahn_hilliard_table(
    count: int,
    seed: int,
    composition: tuple[float, float],
    contrast: tuple[float, float],
    kappas: tuple[float, float] = KAPPA,
) -> list[dict[str, float]]:
    """Rows of mobility, kappa, composition and mobility_contrast; half of them have constant mobility."""
    shares = unit(count, 3, seed)
    kappa = _log_between(*kappas, shares[:, 0])
    mean = composition[0] + (composition[1] - composition[0]) * shares[:, 1]
    # The lower half of the share is constant mobility, which most users have.
    upper = np.maximum(0.0, 2.0 * shares[:, 2] - 1.0)
    varied = np.where(shares[:, 2] < 0.5, 0.0, contrast[0] + (contrast[1] - contrast[0]) * upper)
    return _rows(kappa**-0.5, kappa=kappa, composition=mean, mobility_contrast=varied)


def grain_growth_table(
    count: int, seed: int, gamma: tuple[float, float], kappas: tuple[float, float] = KAPPA
) -> list[dict[str, float]]:
    """Rows of mobility, kappa and gamma."""
    shares = unit(count, 2, seed)
    kappa = _log_between(*kappas, shares[:, 0])
    repulsion = gamma[0] + (gamma[1] - gamma[0]) * shares[:, 1]
    return _rows(1.0 / kappa, kappa=kappa, gamma=repulsion)


def outside_table(process: str, count: int, seed: int) -> list[dict[str, float]]:
    """Equal parts with kappa, with gamma (``gg``) or composition (``ch``), and with both beyond the training box."""
    shares = unit(count, 4, seed)
    # Which group is outside goes round from row to row.
    turn = np.arange(count) % 3
    kappa = np.where(turn != 1, _either(KAPPA_OUTSIDE, shares[:, 0], True), _log_between(*KAPPA, shares[:, 0]))
    if process == "gg":
        gamma = np.where(turn != 0, _either(GAMMA_OUTSIDE, shares[:, 1], False), 1.0 + shares[:, 1])
        return _rows(1.0 / kappa, kappa=kappa, gamma=gamma)
    mean = np.where(turn != 0, _either(COMPOSITION_OUTSIDE, shares[:, 1], False), 0.8 * shares[:, 1] - 0.4)
    return _rows(kappa**-0.5, kappa=kappa, composition=mean, mobility_contrast=np.zeros(count))


def _either(ranges: tuple[tuple[float, float], tuple[float, float]], share: np.ndarray, log: bool) -> np.ndarray:
    """The lower half of the share over the lower range, the upper half over the upper one."""
    found = []
    for (low, high), part in zip(ranges, (2.0 * share, 2.0 * share - 1.0), strict=True):
        inside = part.clip(0.0, 1.0)
        found.append(_log_between(low, high, inside) if log else low + (high - low) * inside)
    return np.where(share < 0.5, *found)


def _rows(mobility: np.ndarray, **others: np.ndarray) -> list[dict[str, float]]:
    """Rows of columns (row,), to six digits."""
    columns = {"mobility": mobility, **others}
    return [
        {n: float(f"{v:.6g}") for n, v in zip(columns, row, strict=True)} for row in zip(*columns.values(), strict=True)
    ]


def write(folder: Path = FOLDER) -> None:
    """Writes all tables into ``folder``."""
    tables = {name: cahn_hilliard_table(*row, KAPPA_OF.get(name, KAPPA)) for name, row in CAHN_HILLIARD.items()}
    tables |= {name: grain_growth_table(*row, KAPPA_OF.get(name, KAPPA)) for name, row in GRAIN_GROWTH.items()}
    tables |= {name: outside_table(name[:2], *row) for name, row in OUTSIDE.items()}
    for name, rows in tables.items():
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    write()
