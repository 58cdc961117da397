"""The variables of a study: their box, and what a point of it is to a sweep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import FloatDistribution

from studies.inverse.config import TIME, StudyConfig
from sweeps.config.sweep import SweepConfig


@dataclass(frozen=True)
class Space:
    """A box of variables.

    Attributes:
        names: of the variables, in the order of the file.
        low, high: float64 (variable,).
        log: bool (variable,), spaced logarithmically.
        end: last time of the sweep, at which a process of variable length is read off.
        mobility: of the sweep, where it is no variable.
    """

    names: tuple[str, ...]
    low: np.ndarray
    high: np.ndarray
    log: np.ndarray
    end: float = 0.0
    mobility: float = 1.0

    @classmethod
    def of(cls, study: StudyConfig, sweep: SweepConfig) -> Space:
        """The box of a study."""
        ranges = list(study.variables.values())
        known = sweep.parameters.get("mobility", 1.0)
        return cls(
            names=tuple(study.variables),
            low=np.array([r.low for r in ranges]),
            high=np.array([r.high for r in ranges]),
            log=np.array([r.log for r in ranges]),
            end=float(sweep.time_values()[-1]),
            mobility=float(known) if isinstance(known, float | int) else 1.0,
        )

    @property
    def size(self) -> int:
        """How many variables."""
        return len(self.names)

    def values(self, unit: np.ndarray) -> np.ndarray:
        """(point, variable) of the unit cube to values of the variables."""
        lows = np.where(self.log, self.low, 1.0)
        ratio = np.where(self.log, self.high, 1.0) / lows
        found = np.where(self.log, lows * ratio**unit, self.low + (self.high - self.low) * unit)
        return np.clip(found, self.low, self.high)

    def unit(self, values: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`values`."""
        lows = np.where(self.log, self.low, 1.0)
        ratio = np.where(self.log, self.high, np.e) / lows
        scaled = np.log(np.where(self.log, values, 1.0) / lows) / np.log(ratio)
        return np.where(self.log, scaled, (values - self.low) / (self.high - self.low))

    def distributions(self) -> dict[str, FloatDistribution]:
        """For Optuna."""
        rows = zip(self.names, self.low, self.high, self.log, strict=True)
        return {n: FloatDistribution(float(low), float(high), log=bool(log)) for n, low, high, log in rows}

    def columns(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """(point, variable) as parameters of a sweep, name -> (point,).

        c(x, t; M) = c(x, M t / T at time T): a process of another length is one of another mobility, exactly.
        """
        found = {n: values[:, j].copy() for j, n in enumerate(self.names) if n != TIME}
        if TIME in self.names:
            length = values[:, self.names.index(TIME)] / self.end
            found["mobility"] = found.get("mobility", np.full(len(values), self.mobility)) * length
        return found

    def as_dict(self, row: np.ndarray) -> dict[str, float]:
        """A point as name -> value."""
        return {n: float(v) for n, v in zip(self.names, row, strict=True)}

    def as_row(self, parameters: Mapping[str, Any]) -> np.ndarray:
        """(variable,) of a point."""
        return np.array([float(parameters[n]) for n in self.names])
