"""The fixed cases: a process, a box, some starts, and the times at which frames are wanted."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.errors import InputError

if TYPE_CHECKING:
    import torch

    from solvers.processes.base import Problem

CAHN_HILLIARD, GRAIN_GROWTH = "cahn_hilliard", "grain_growth"
PROCESSES = (CAHN_HILLIARD, GRAIN_GROWTH)
#: Frames asked for, evenly spaced from a twentieth of the last age on: the first is the solver's, whoever computes.
FRAMES = 20
# Not quite the whole range that models are trained on: its ends are outside their domain by a hair.
_KAPPA = (0.5, 1.9)
_CELLS_PER_GRAIN = 40.96


@dataclass(frozen=True)
class Case:
    """Trajectories that every candidate computes, as one batch.

    Attributes:
        name: for tables and the command line.
        process: ``"cahn_hilliard"`` or ``"grain_growth"``.
        cells: of a side of the square periodic box, spacing 1.
        trajectories: how many; the second half has the parameters of the first and other starts.
        end: scaled age of the last frame (mobility is such that times are scaled ages).
        reference: tolerance of the solver that gives the truth, float64.
        composition, contrast, amplitude: mean composition, mobility contrast and standard deviation of the starts'
            noise (Cahn-Hilliard).
    """

    name: str
    process: str
    cells: int
    trajectories: int
    end: float
    reference: float
    composition: float = 0.0
    contrast: float = 0.0
    amplitude: float = 0.1

    def as_dict(self) -> dict[str, Any]:
        """What decides its trajectories, for hashes."""
        return {**asdict(self), "kappa": self.kappa().tolist(), "frames": FRAMES, "cells_per_grain": _CELLS_PER_GRAIN}

    def kappa(self) -> np.ndarray:
        """kappa of each trajectory, float64 (trajectory,): 0.5 to 1.9 evenly in its logarithm, 1 where there is one."""
        half = self.trajectories // 2
        if half < 2:
            return np.ones(self.trajectories)
        return np.resize(np.geomspace(*_KAPPA, half), self.trajectories)

    def ages(self) -> np.ndarray:
        """(time,) scaled ages of the frames, which are times."""
        return self.end * np.arange(1, FRAMES + 1) / FRAMES

    def times(self) -> torch.Tensor:
        """(trajectory, time) float64."""
        import torch

        return torch.from_numpy(np.tile(self.ages(), (self.trajectories, 1)))

    def problem(self) -> Problem:
        """The problem of the batch."""
        import torch

        from solvers import CahnHilliard, GrainGrowth, Grid

        grid, kappa = Grid((self.cells, self.cells)), torch.from_numpy(self.kappa())
        if self.process == GRAIN_GROWTH:
            return GrainGrowth(grid, mobility=1.0 / kappa, kappa=kappa)
        return CahnHilliard(grid, mobility=kappa**-0.5, kappa=kappa, mobility_contrast=self.contrast)

    def initial(self) -> torch.Tensor:
        """Starts (trajectory, y, x): compositions float32, or labels int32."""
        import torch

        from solvers import Grid
        from solvers.initial import noise, voronoi

        grid, seeds = Grid((self.cells, self.cells)), [self.seed(i) for i in range(self.trajectories)]
        if self.process == GRAIN_GROWTH:
            return voronoi(grid, self.grains(), seeds)
        return noise(grid, self.composition, self.amplitude, seeds, torch.float32)

    def grains(self) -> int:
        """At the start (grain growth)."""
        return max(1, round(self.cells**2 / _CELLS_PER_GRAIN))

    def seed(self, trajectory: int) -> int:
        """Of a trajectory's start (63 bits)."""
        digest = hashlib.blake2b(f"frontier:{self.name}:{trajectory}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") >> 1


def _grains(cells: int, trajectories: int, reference: float) -> Case:
    return Case(f"grains-{cells}", GRAIN_GROWTH, cells, trajectories, 250.0, reference)


def _spinodal(cells: int, trajectories: int, reference: float, contrast: float = 0.0) -> Case:
    kind = "contrast" if contrast else "spinodal"
    return Case(f"{kind}-{cells}", CAHN_HILLIARD, cells, trajectories, 400.0, reference, contrast=contrast)


#: All cases by name. Beyond 128 cells the truth is computed less tightly.
CASES: dict[str, Case] = {
    case.name: case
    for case in (
        _grains(64, 8, 1e-4),
        _grains(128, 4, 1e-4),
        _grains(256, 2, 1e-3),
        _grains(512, 1, 1e-3),
        _spinodal(64, 16, 1e-4),
        _spinodal(256, 2, 1e-3),
        _spinodal(512, 1, 1e-3),
        _spinodal(1024, 1, 1e-3),
        _spinodal(64, 16, 1e-4, contrast=0.8),
        _spinodal(256, 2, 1e-3, contrast=0.8),
        Case("droplets-64", CAHN_HILLIARD, 64, 16, 400.0, 1e-4, composition=0.45, amplitude=1.0),
    )
}
_QUICK_CELLS, _QUICK_TRAJECTORIES = 64, 4
# Grains cost more, and an engine's choice must not wait for longer than a minute.
_QUICK_REFERENCE = {CAHN_HILLIARD: 3e-4, GRAIN_GROWTH: 1e-3}


def chosen_cases(process: str | None = None, names: Sequence[str] = (), quick: bool = False) -> list[Case]:
    """The cases of a process (of all, if None), or those named; of 64 cells and with fewer trajectories if ``quick``.

    Raises:
        InputError: for a process or a case that does not exist or does not fit the other options.
    """
    if process is not None and process not in PROCESSES:
        raise InputError(f"--process: found {process!r}, allowed {' or '.join(PROCESSES)}")
    allowed = {
        name: replace(case, trajectories=_QUICK_TRAJECTORIES, reference=_QUICK_REFERENCE[case.process])
        if quick
        else case
        for name, case in CASES.items()
        if process in (None, case.process) and (not quick or case.cells == _QUICK_CELLS)
    }
    for name in names:
        if name not in allowed:
            raise InputError(f"--case: found {name!r}, allowed here {', '.join(allowed)}")
    return [allowed[name] for name in dict.fromkeys(names)] if names else list(allowed.values())


def quick_case(process: str, contrast: float) -> Case:
    """The small case that an engine is chosen by where nothing larger was measured."""
    separation = "contrast-64" if contrast > 0 else "spinodal-64"
    return chosen_cases(process, ["grains-64" if process == GRAIN_GROWTH else separation], quick=True)[0]
