"""The fixed protocol: which trajectories, which frames, which horizons.

All ages are scaled ages: mobility is kappa^-1/2 (Cahn-Hilliard) or 1/kappa (grains), so that one unit of time moves
interfaces about as far at every kappa and a table can average over them. Ten frames go in; what follows is forecast.
Start ages and spacings are chosen such that the task is hard enough: with images in [0, 1] (see
:func:`~surrogate.evaluation.metrics.to_image`) doing nothing at all, persistence, has an RMSE of at least 0.17
(spinodal decomposition) and 0.25 (grain growth) over the 90 frames after the tenth. The figures as measured are in
every report, beside the model's.

Parameters are Sobol points with their own seeds and starts are drawn from hashes of the protocol's name, so neither
occurs in any training or validation table.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from solvers.errors import InputError
from solvers.grids.grid import Grid
from solvers.initial import noise, voronoi
from solvers.processes.cahn_hilliard import CahnHilliard
from solvers.processes.grain_growth import GrainGrowth
from surrogate.evaluation.physics import Problem

Range = tuple[float, float]
# Part of every key: raise it when the solver's answers or the layout of the files change.
_EDITION = 1


@dataclass(frozen=True)
class Protocol:
    """One set of test trajectories of one process at one size.

    Attributes:
        name: what it is called in tables and on the command line.
        process: ``"cahn_hilliard"`` or ``"grain_growth"``.
        shape: cells a side; spacing 1, periodic.
        start: scaled age of the first frame.
        spacing: scaled age between frames.
        horizons: numbers of forecast frames that are reported, increasing.
        persistence: RMSE that persistence must reach over the first horizon for the task to count as hard enough; 0
            asks for nothing.
        n_in: frames that a model is given.
        trajectories: how many.
        kappa: range of kappa / (W dx^2), spread evenly in its logarithm.
        composition, contrast, gamma: ranges of mean composition, mobility contrast (both Cahn-Hilliard) and gamma
            (grains).
        amplitude: standard deviation of the initial noise (Cahn-Hilliard).
        cells_per_grain: cells for each grain of the initial Voronoi map.
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
        if self.process not in ("cahn_hilliard", "grain_growth"):
            raise InputError(f"Protocol.process: cahn_hilliard or grain_growth, but got {self.process!r}")
        if not self.horizons or list(self.horizons) != sorted(set(self.horizons)) or self.horizons[0] < 1:
            raise InputError(f"Protocol.horizons: increasing numbers of frames, but got {self.horizons}")
        if not (self.start > 0 and self.spacing > 0 and self.n_in >= 1 and self.trajectories >= 1):
            raise InputError("Protocol: start, spacing, n_in and trajectories must be positive")

    @property
    def grid(self) -> Grid:
        """Spacing 1, periodic."""
        return Grid(self.shape)

    @cached_property
    def times(self) -> np.ndarray:
        """(frame,) scaled ages, which are times, of the frames that go in and of those forecast."""
        return self.start + self.spacing * np.arange(self.n_in + self.horizons[-1])

    @cached_property
    def key(self) -> str:
        """What the reference trajectories depend on, hashed. Not how many of them are used."""
        content: dict[str, Any] = asdict(self)
        for irrelevant in ("trajectories", "persistence", "n_in"):
            del content[irrelevant]
        content["horizons"] = len(self.times)
        text = json.dumps([_EDITION, content], sort_keys=True)
        return f"{self.name}-{hashlib.blake2b(text.encode(), digest_size=6).hexdigest()}"

    def seed(self, trajectory: int) -> int:
        """Of a trajectory's start (63 bits)."""
        digest = hashlib.blake2b(f"evaluation:{self.name}:{trajectory}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") >> 1

    def parameters(self, trajectories: list[int]) -> dict[str, np.ndarray]:
        """Parameters of some trajectories, name -> (n,). Every block of 2^m trajectories covers the ranges evenly."""
        from scipy.stats import qmc

        salt = int(hashlib.blake2b(f"evaluation:{self.name}".encode(), digest_size=4).hexdigest(), 16)
        count = 2 ** math.ceil(math.log2(max(trajectories) + 1))
        shares = qmc.Sobol(4, seed=salt).random(count)[trajectories]
        low, high = self.kappa
        found = {"kappa": low * (high / low) ** shares[:, 0]}
        if self.process == "cahn_hilliard":
            found["composition"] = _between(self.composition, shares[:, 1])
            found["mobility_contrast"] = _between(self.contrast, shares[:, 2])
        else:
            found["gamma"] = _between(self.gamma, shares[:, 3])
        # Six digits, as in the training tables: what is printed is what was computed.
        return {name: np.array([float(f"{v:.6g}") for v in values]) for name, values in found.items()}

    def problem(self, trajectories: list[int]) -> Problem:
        """The problem of some trajectories, a batch."""
        p = {name: torch.from_numpy(values) for name, values in self.parameters(trajectories).items()}
        kappa = p["kappa"]
        if self.process == "grain_growth":
            return GrainGrowth(self.grid, mobility=1.0 / kappa, kappa=kappa, gamma=p["gamma"])
        return CahnHilliard(self.grid, mobility=kappa**-0.5, kappa=kappa, mobility_contrast=p["mobility_contrast"])

    def initial(self, trajectories: list[int]) -> torch.Tensor:
        """Starts at time 0: (n, y, x) compositions float32, or labels int32."""
        seeds = [self.seed(i) for i in trajectories]
        if self.process == "grain_growth":
            return voronoi(self.grid, max(1, round(self.grid.cells / self.cells_per_grain)), seeds)
        composition = torch.from_numpy(self.parameters(trajectories)["composition"])
        return noise(self.grid, composition, self.amplitude, seeds, torch.float32)


def _between(limits: Range, share: np.ndarray) -> np.ndarray:
    return limits[0] + (limits[1] - limits[0]) * share


# Spinodal: 10 -> 90 covers ages 170 to 348, 10 -> 200 up to 568. Grains, 100 at the start in 64 x 64 cells: 10 -> 90
# covers 27.5 to 250, 10 -> 190 up to 500.
_SPINODAL: dict[str, Any] = {
    "process": "cahn_hilliard", "start": 150.0, "spacing": 2.0, "horizons": (90, 200)
}  # fmt: skip
_GRAINS: dict[str, Any] = {"process": "grain_growth", "start": 2.5, "spacing": 2.5, "horizons": (90, 190)}

#: The fixed protocols by name. The last two are ours: the rest of a Cahn-Hilliard model's domain.
PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("spinodal-64", shape=(64, 64), persistence=0.17, **_SPINODAL),
        Protocol("spinodal-256", shape=(256, 256), persistence=0.17, **_SPINODAL),
        Protocol("grains-64", shape=(64, 64), persistence=0.25, **_GRAINS),
        Protocol("grains-256", shape=(256, 256), persistence=0.25, **_GRAINS),
        Protocol("droplets-64", shape=(64, 64), composition=(0.35, 0.6), amplitude=1.0, **_SPINODAL),
        Protocol("contrast-64", shape=(64, 64), composition=(-0.3, 0.3), contrast=(0.0, 1.0), **_SPINODAL),
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
