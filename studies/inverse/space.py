"""The search space of a study: a box of variables, and the sweep parameters of its points."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from optuna.distributions import FloatDistribution

from solvers.processes.registry import process_named
from studies.inverse.config import TIME, StudyConfig
from sweeps.config.sweep import SweepConfig


@dataclass(frozen=True)
class SearchSpace:
    """A box of variables, which samplers see as it is and models as the unit cube."""

    names: tuple[str, ...]  #: of the variables, in the order of the file
    low: np.ndarray  #: float64 (variable,)
    high: np.ndarray
    log: np.ndarray  #: bool (variable,), spaced logarithmically
    end: float = 0.0  #: last time of the sweep, at which quantities are taken where ``time`` is a variable
    #: the parameter that multiplies time exactly (a mobility), see :class:`solvers.processes.registry.Process`; None
    #: where the process has none
    time_scale: str | None = None
    scale: float = 1.0  #: its value in the sweep, where it is no variable

    @classmethod
    def of(cls, study: StudyConfig, sweep: SweepConfig) -> SearchSpace:
        """The space of a study."""
        ranges = list(study.variables.values())
        time_scale = process_named(sweep.process).time_scale
        known = sweep.parameters.get(time_scale, 1.0) if time_scale else 1.0
        return cls(
            names=tuple(study.variables),
            low=np.array([r.low for r in ranges]),
            high=np.array([r.high for r in ranges]),
            log=np.array([r.log for r in ranges]),
            end=float(sweep.time_values()[-1]),
            time_scale=time_scale,
            scale=float(known) if isinstance(known, float | int) else 1.0,
        )

    @property
    def size(self) -> int:
        return len(self.names)

    @property
    def scaling(self) -> list[int]:
        """The variables that only scale time: the process's ``time_scale``, and ``time`` itself."""
        return [j for j, name in enumerate(self.names) if name in (self.time_scale, TIME)]

    def values(self, unit: np.ndarray) -> np.ndarray:
        """(point, variable) in the unit cube to values of the variables."""
        lows = np.where(self.log, self.low, 1.0)
        ratio = np.where(self.log, self.high, 1.0) / lows
        found = np.where(self.log, lows * ratio**unit, self.low + (self.high - self.low) * unit)
        return np.clip(found, self.low, self.high)

    def unit(self, values: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`values`."""
        lows = np.where(self.log, self.low, 1.0)
        ratio = np.where(self.log, self.high, math.e) / lows
        scaled = np.log(np.where(self.log, values, 1.0) / lows) / np.log(ratio)
        return np.where(self.log, scaled, (values - self.low) / (self.high - self.low))

    def distributions(self) -> dict[str, FloatDistribution]:
        """For Optuna."""
        rows = zip(self.names, self.low, self.high, self.log, strict=True)
        return {n: FloatDistribution(float(low), float(high), log=bool(log)) for n, low, high, log in rows}

    def columns(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """(point, variable) as parameters of a sweep, name -> (point,).

        c(x, t; M) = c(x, M t / T at time T): a process of another length is one of another mobility M, exactly.
        """
        found = {n: values[:, j].copy() for j, n in enumerate(self.names) if n != TIME}
        if TIME in self.names:
            assert self.time_scale is not None
            length = values[:, self.names.index(TIME)] / self.end
            found[self.time_scale] = found.get(self.time_scale, np.full(len(values), self.scale)) * length
        return found

    def as_dict(self, row: np.ndarray) -> dict[str, float]:
        """A point as name -> value."""
        return {n: float(v) for n, v in zip(self.names, row, strict=True)}

    def as_row(self, parameters: Mapping[str, float]) -> np.ndarray:
        """(variable,) of a point."""
        return np.array([float(parameters[n]) for n in self.names])
