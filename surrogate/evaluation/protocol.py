"""The fixed protocol: which trajectories, which frames, which horizons.

All ages are scaled ages: mobility is kappa^-1/2 (Cahn-Hilliard) or 1/kappa (grains), so that one unit of time moves
interfaces about as far at every kappa and a table can average over them. Ten frames go in; what follows is forecast.
Start ages and spacings are chosen such that the task is hard enough: with images in [0, 1] persistence has an RMSE of
at least 0.17 (spinodal decomposition) and 0.25 (grain growth) over the 90 frames after the tenth. The figures as
measured are in every report, beside the model's.

Parameters are Sobol points with their own seeds and starts are drawn from hashes of the protocol's name, so neither
occurs in any training or validation table.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from scipy.stats import qmc

from solvers.errors import InputError
from solvers.grids.grid import Grid
from solvers.processes.registry import process_named
from surrogate.evaluation.cases import ForecastCase, Indices, ReferenceCase, grains_in, random_case, start_seed
from surrogate.evaluation.references import CACHE, References
from surrogate.processes import LEARNED_PROCESSES

Range = tuple[float, float]
# Part of every key: raise it when the solver's answers or the layout of the files change.
_EDITION = 1


@dataclass(frozen=True)
class Protocol:
    """One set of test trajectories of one process at one size, spacing 1, periodic.

    Attributes:
        name: what it is called in tables and on the command line.
        shape: cells a side.
        start: scaled age of the first frame.
        spacing: scaled age between frames.
        horizons: numbers of forecast frames that are reported, increasing.
        persistence: RMSE that persistence must reach over the first horizon for the task to count as hard enough; 0
            asks for nothing.
        n_in: frames that a model is given.
        kappa: range of kappa / (W dx^2), spread evenly in its logarithm.
        composition, contrast, gamma: ranges of mean composition, mobility contrast and gamma, where the process has
            them.
        amplitude: standard deviation of the initial noise, where the start is noise.
        cells_per_grain: cells for each grain, where it is a tessellation.
        tolerance: of the reference solver, relative L2 against the converged PDE, float32.
    """

    name: str
    process: str
    shape: tuple[int, int]
    start: float
    spacing: float
    horizons: tuple[int, ...]
    persistence: float = 0.0
    n_in: int = 10
    trajectories: int = 16
    kappa: Range = (0.5, 2.0)
    composition: Range = (0.0, 0.0)
    contrast: Range = (0.0, 0.0)
    gamma: Range = (1.5, 1.5)
    amplitude: float = 0.1
    cells_per_grain: float = 40.96
    tolerance: float = 1e-2

    def __post_init__(self) -> None:
        if self.process not in LEARNED_PROCESSES:
            raise InputError(f"Protocol.process: {' or '.join(LEARNED_PROCESSES)}, but got {self.process!r}")
        if not self.horizons or list(self.horizons) != sorted(set(self.horizons)) or self.horizons[0] < 1:
            raise InputError(f"Protocol.horizons: increasing numbers of frames, but got {self.horizons}")
        if not (self.start > 0 and self.spacing > 0 and self.n_in >= 1 and self.trajectories >= 1):
            raise InputError("Protocol: start, spacing, n_in and trajectories must be positive")

    @property
    def grid(self) -> Grid:
        return Grid(self.shape)

    @cached_property
    def times(self) -> np.ndarray:
        """(frame,) scaled ages, which are times, of the frames that go in and of those forecast."""
        return self.start + self.spacing * np.arange(self.n_in + self.horizons[-1])

    @cached_property
    def key(self) -> str:
        """What the reference trajectories depend on, hashed. Not how many of them are used."""
        content = asdict(self)
        for irrelevant in ("trajectories", "persistence", "n_in"):
            del content[irrelevant]
        content["horizons"] = len(self.times)
        text = json.dumps([_EDITION, content], sort_keys=True)
        return f"{self.name}-{hashlib.blake2b(text.encode(), digest_size=6).hexdigest()}"

    def seed(self, trajectory: int) -> int:
        return start_seed("evaluation", self.name, trajectory)

    def ranges(self) -> dict[str, Range]:
        """Ranges of the parameters that the process has, beside kappa."""
        found = {"composition": self.composition, "mobility_contrast": self.contrast, "gamma": self.gamma}
        return {name: limits for name, limits in found.items() if name in process_named(self.process).parameter_names}

    def parameters(self, trajectories: Indices) -> dict[str, np.ndarray]:
        """Parameters of some trajectories, name -> (n,). Every block of 2^m trajectories covers the ranges evenly."""
        salt = int(hashlib.blake2b(f"evaluation:{self.name}".encode(), digest_size=4).hexdigest(), 16)
        count = 2 ** math.ceil(math.log2(max(trajectories) + 1))
        shares = qmc.Sobol(4, seed=salt).random(count)[list(trajectories)]
        low, high = self.kappa
        found = {"kappa": low * (high / low) ** shares[:, 0]}
        for name, limits in self.ranges().items():
            found[name] = limits[0] + (limits[1] - limits[0]) * shares[:, _SOBOL_AXIS[name]]
        # Six digits, as in the training tables: what is printed is what was computed.
        return {name: np.array([float(f"{v:.6g}") for v in values]) for name, values in found.items()}

    def case(self, trajectories: int | None = None) -> ReferenceCase:
        """Its first trajectories, of the protocol's number if None."""
        count = self.trajectories if trajectories is None else trajectories
        start = {"amplitude": self.amplitude, "grains": grains_in(self.grid, self.cells_per_grain)}
        parameters: dict[str, np.ndarray | float] = {**self.parameters(range(count)), **start}
        return random_case(self.name, self.process, self.grid, self.times, parameters, self.seed)

    def references(self, folder: Path | str = CACHE, trajectories: int | None = None) -> References:
        """The truth of its first trajectories."""
        return References(self.case(trajectories), Path(folder) / self.key, self.tolerance, torch.float32)

    def forecast_case(self, trajectories: int | None = None, folder: Path | str = CACHE) -> ForecastCase:
        """What is forecast; the truth is computed where it is missing.

        Raises:
            InputError: for a number of trajectories that is not positive.
        """
        if trajectories is not None and trajectories < 1:
            raise InputError(f"--trajectories: at least 1, but got {trajectories}")
        references = self.references(folder, trajectories)
        references.compute()
        return ForecastCase(
            **vars(references.case),
            description=self._description(references.case.count),
            n_in=self.n_in,
            horizons=self.horizons,
            fields=lambda indices: references.load(indices)[0].field,
            persistence=self.persistence,
        )

    def _description(self, count: int) -> str:
        size = " x ".join(str(n) for n in self.shape)
        parts = [f"{_NAMES[name]} {_text(limits)}" for name, limits in {"kappa": self.kappa, **self.ranges()}.items()]
        starts = {
            "noise": f"noise {self.amplitude:g}",
            "voronoi": f"{self.cells_per_grain:g} cells a grain at the start",
        }
        parts.append(starts[process_named(self.process).starts[0]])
        first, last = self.times[self.n_in], self.times[-1]
        return (
            f"{count} unseen trajectories of {size} cells, {', '.join(parts)}; {self.n_in} frames from scaled age "
            f"{self.start:g} on, {self.spacing:g} apart; forecast from {first:g} to {last:g}. Truth: the solver at "
            f"tolerance {self.tolerance:g} against the converged PDE, float32."
        )


_SOBOL_AXIS = {"composition": 1, "mobility_contrast": 2, "gamma": 3}
_NAMES = {
    "kappa": "kappa",
    "composition": "mean composition",
    "mobility_contrast": "mobility contrast",
    "gamma": "gamma",
}


def _text(limits: Range) -> str:
    low, high = limits
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


# 10 -> 90 covers scaled ages 170 to 348, 10 -> 200 up to 568.
_SPINODAL = Protocol("spinodal-64", "cahn_hilliard", (64, 64), 150.0, 2.0, (90, 200), persistence=0.17)
# 100 grains at the start; 10 -> 90 covers 27.5 to 250, 10 -> 190 up to 500.
_GRAINS = Protocol("grains-64", "grain_growth", (64, 64), 2.5, 2.5, (90, 190), persistence=0.25)

#: The fixed protocols by name. The last two are ours: the rest of a Cahn-Hilliard model's domain.
PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        _SPINODAL,
        replace(_SPINODAL, name="spinodal-256", shape=(256, 256)),
        _GRAINS,
        replace(_GRAINS, name="grains-256", shape=(256, 256)),
        replace(_SPINODAL, name="droplets-64", persistence=0.0, composition=(0.35, 0.6), amplitude=1.0),
        replace(_SPINODAL, name="contrast-64", persistence=0.0, composition=(-0.3, 0.3), contrast=(0.0, 1.0)),
    )
}


def protocols_for(process: str, names: list[str] | None = None) -> list[Protocol]:
    """The protocols of a process, or those named.

    Raises:
        InputError: for a name that does not exist or belongs to the other process.
    """
    allowed = {name: p for name, p in PROTOCOLS.items() if p.process == process}
    if not names:
        return list(allowed.values())
    for name in names:
        if name not in allowed:
            raise InputError(f"--protocol {name}: not one of {', '.join(allowed)}, which are those of {process}")
    return [allowed[name] for name in dict.fromkeys(names)]
