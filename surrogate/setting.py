"""From the units of a sweep to dimensionless groups and back.

With mobility M, well height W, half the distance between the wells h and cell size dx, statistics depend on scaled time
tau = M W t / dx^2 (M t for grain growth), kappa' = kappa / (W dx^2), the scaled composition, mobility contrast or
gamma, the start's amplitude or number of grains, and the box in cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from solvers.errors import InputError
from solvers.processes.free_energies import DoubleWell
from solvers.qois.registry import QOIS
from surrogate.processes import AnyProcess, learned_process


@dataclass(frozen=True)
class Setting:
    """What turns groups into a sweep's own units: ``spacing`` is dx, ``start`` the kind of the initial condition; rho,
    ca and cb are of the double well, the standard one for a process without."""

    process: str
    shape: tuple[int, ...]
    boundary: str
    spacing: float
    start: str
    rho: float = 0.25
    ca: float = -1.0
    cb: float = 1.0

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Setting:
        """Of a sweep's resolved configuration.

        Raises:
            InputError: where it lacks something, or for a process without learned models.
        """
        try:
            grid, well = config["grid"], config.get("well") or {}
            name = learned_process(config["process"]).name
            shape = tuple(int(n) for n in grid["shape"])
            return cls(name, shape, grid["boundary"], float(grid["spacing"]), config["initial"]["kind"], **well)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"a store with its resolved configuration, but it lacks {error}") from None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Setting:
        """The reverse of :meth:`as_dict`, by way of JSON."""
        return cls(**{**data, "shape": tuple(int(n) for n in data["shape"])})

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)

    @property
    def learned(self) -> AnyProcess:
        return learned_process(self.process)

    @property
    def well(self) -> DoubleWell:
        return DoubleWell(rho=self.rho, ca=self.ca, cb=self.cb)

    def scaled_time(self, mobility: np.ndarray) -> np.ndarray:
        """tau per unit of time."""
        return self.learned.scaled_time(mobility, self.well.scale, self.spacing)

    def groups(self, parameters: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The groups of parameters, float64, in the order of :attr:`LearnedProcess.parameter_groups`."""
        well = self.well
        units = {
            "kappa": (0.0, well.scale * self.spacing**2),
            "composition": (well.centre, well.half_width),
            "amplitude": (0.0, well.half_width),
        }
        found = {}
        for name, group in self.learned.parameter_groups.items():
            if name in parameters:
                offset, unit = units.get(name, (0.0, 1.0))
                found[group] = (parameters[name] - offset) / unit
        return found

    def unit(self, qoi: str) -> tuple[float, float]:
        """(offset, factor): a stored value is offset + factor * the dimensionless one."""
        well = self.well
        if qoi == "mean":
            return well.centre, well.half_width
        if qoi == "structure_factor":
            return 0.0, (well.half_width * self.spacing) ** 2
        return 0.0, self._units()[QOIS[qoi].units]

    def scales(self, qoi: str) -> bool:
        """Whether :meth:`unit` knows the units of a quantity."""
        return QOIS[qoi].units in self._units()

    def _units(self) -> dict[str, float]:
        well, dx = self.well, self.spacing
        energy = well.half_width**2 * well.scale * dx**2
        return {"1": 1.0, "length": dx, "1/length": 1.0 / dx, "length^2": dx**2, "energy": energy}

    def same_curves(self, other: Setting) -> bool:
        """Whether both give the same dimensionless curves: cell size and well do not matter."""
        own = (self.process, self.shape, self.boundary, self.start)
        return own == (other.process, other.shape, other.boundary, other.start)
