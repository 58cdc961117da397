"""Free energies over time."""

from __future__ import annotations

import numpy as np

#: A free energy rises where it does by more than this share of it. Below it are rounding (1e-7 in single precision) and
#: sampling: the same field between other cells has an energy up to 2e-5 higher (64 x 64 cells, kappa' 0.5 to 1.9). From
#: frame to frame of a coarsening structure energies fall by 3e-4 and more.
RISE = 1e-4


def highest_allowed(energy: np.ndarray) -> np.ndarray:
    """What a free energy (...) may be at a later time without having risen."""
    return np.asarray(energy + RISE * np.abs(energy))


def energy_rises(energy: np.ndarray) -> np.ndarray:
    """How often a free energy (..., time) is above that of the frame before, (...) integers."""
    return np.asarray((energy[..., 1:] > highest_allowed(energy[..., :-1])).sum(-1))
