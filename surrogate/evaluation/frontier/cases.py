"""The fixed cases of the frontier. Loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from solvers.errors import InputError
from solvers.grids.grid import Grid
from solvers.processes.registry import process_named
from surrogate.evaluation.cases import ReferenceCase, grains_in, random_case, start_seed

#: Frames asked for, evenly spaced from a twentieth of the last age on: the first is the solver's, whatever computes.
FRAMES = 20
# Not quite the whole range that models are trained on: its ends are outside their domain by a hair.
_KAPPA = (0.5, 1.9)
_CELLS_PER_GRAIN = 40.96
_GAMMA = 1.5


@dataclass(frozen=True)
class FrontierCase:
    """Trajectories that every candidate computes, as one batch.

    Attributes:
        cells: of a side of the square periodic box, spacing 1.
        trajectories: how many; the second half has the parameters of the first and other starts.
        end: scaled age of the last frame (mobility is such that times are scaled ages).
        reference: tolerance of the solver that gives the truth, float64.
        composition, contrast, amplitude: mean composition, mobility contrast and standard deviation of the noise of
            starts, where the process has them.
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

    def as_dict(self) -> dict[str, object]:
        """What decides its trajectories, for hashes."""
        return {**asdict(self), "kappa": self.kappa().tolist(), "frames": FRAMES, "cells_per_grain": _CELLS_PER_GRAIN}

    @property
    def grid(self) -> Grid:
        return Grid((self.cells, self.cells))

    def kappa(self) -> np.ndarray:
        """kappa of each trajectory, float64 (trajectory,): 0.5 to 1.9 evenly in its logarithm, 1 where there is one."""
        half = self.trajectories // 2
        if half < 2:
            return np.ones(self.trajectories)
        return np.resize(np.geomspace(*_KAPPA, half), self.trajectories)

    def seed(self, trajectory: int) -> int:
        return start_seed("frontier", self.name, trajectory)

    def parameters(self) -> dict[str, np.ndarray | float]:
        """Parameters of the process and its start, mobility left out: (trajectory,), or a number for all."""
        names = process_named(self.process).parameter_names
        fixed = {"composition": self.composition, "mobility_contrast": self.contrast, "gamma": _GAMMA}
        starts: dict[str, dict[str, float]] = {
            "noise": {"amplitude": self.amplitude},
            "voronoi": {"grains": grains_in(self.grid, _CELLS_PER_GRAIN)},
        }
        own = {name: value for name, value in fixed.items() if name in names}
        return {"kappa": self.kappa(), **own, **starts[process_named(self.process).starts[0]]}

    def case(self) -> ReferenceCase:
        """Its trajectories; times are scaled ages."""
        times = self.end * np.arange(1, FRAMES + 1) / FRAMES
        return random_case(self.name, self.process, self.grid, times, self.parameters(), self.seed)


def _grains(cells: int, trajectories: int, reference: float) -> FrontierCase:
    return FrontierCase(f"grains-{cells}", "grain_growth", cells, trajectories, 250.0, reference)


def _spinodal(cells: int, trajectories: int, reference: float) -> FrontierCase:
    return FrontierCase(f"spinodal-{cells}", "cahn_hilliard", cells, trajectories, 400.0, reference)


def _contrast(cells: int, trajectories: int, reference: float) -> FrontierCase:
    return replace(_spinodal(cells, trajectories, reference), name=f"contrast-{cells}", contrast=0.8)


#: All cases by name. Beyond 128 cells the truth is computed less tightly.
CASES: dict[str, FrontierCase] = {
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
        _contrast(64, 16, 1e-4),
        _contrast(256, 2, 1e-3),
        replace(_spinodal(64, 16, 1e-4), name="droplets-64", composition=0.45, amplitude=1.0),
    )
}
#: Tolerance of the truth of the small cases that an engine is chosen by. Grains cost more, and a choice must not take
#: longer than a minute.
_QUICK = {"grains-64": 1e-3, "spinodal-64": 3e-4, "contrast-64": 3e-4, "droplets-64": 3e-4}
_QUICK_TRAJECTORIES = 4


def processes() -> list[str]:
    """Names of the processes that have cases, in the order of reports."""
    return sorted({case.process for case in CASES.values()})


def chosen_cases(process: str | None = None, names: Sequence[str] = (), quick: bool = False) -> list[FrontierCase]:
    """The cases of a process (of all, if None), or those named; of 64 cells and with fewer trajectories if ``quick``.

    Raises:
        InputError: for a process or a case that does not exist or does not fit the other options.
    """
    if process is not None and process not in processes():
        raise InputError(f"--process: found {process!r}, allowed {' or '.join(processes())}")
    small = {name: replace(CASES[name], trajectories=_QUICK_TRAJECTORIES, reference=t) for name, t in _QUICK.items()}
    allowed = {name: case for name, case in (small if quick else CASES).items() if process in (None, case.process)}
    for name in names:
        if name not in allowed:
            raise InputError(f"--case: found {name!r}, allowed here {', '.join(allowed)}")
    return [allowed[name] for name in dict.fromkeys(names)] if names else list(allowed.values())


def quick_case(process: str, contrast: float) -> FrontierCase:
    """The small case of equal phases that an engine is chosen by where nothing larger was measured."""
    cases = chosen_cases(process, quick=True)
    return min(cases, key=lambda case: ((case.contrast > 0) != (contrast > 0), abs(case.composition)))
