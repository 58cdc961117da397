"""Runs a case at a tolerance: the true error at every output time beside the one that the solver reports."""

from __future__ import annotations

import hashlib
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import ROOT
from common.spectral import relative_l2

from error_bench.cases import Array, Case
from error_bench.truths import truth
from solvers import solve
from solvers.grains.simulation import solve_grains
from solvers.processes.grain_growth import GrainGrowth


@dataclass(frozen=True)
class Outcome:
    """One case at one tolerance.

    Attributes:
        errors: true relative L2 error at each output time; infinite where the solution is not finite.
        estimates: what the solver says of it; NaN where it says nothing.
        seconds, evaluations: what it cost, warm.
        code: hash of the solvers' sources.
    """

    case: str
    tolerance: float
    errors: tuple[float, ...]
    estimates: tuple[float, ...]
    seconds: float
    evaluations: int
    code: str

    @classmethod
    def of(cls, row: dict[str, Any]) -> Outcome:
        """From a row of JSON."""
        lists = {
            "errors": tuple(math.inf if e is None else e for e in row["errors"]),
            "estimates": tuple(math.nan if e is None else e for e in row["estimates"]),
        }
        return cls(**{**row, **lists})

    def row(self) -> dict[str, Any]:
        """As JSON; what is not finite is null."""
        plain = {name: getattr(self, name) for name in ("case", "tolerance", "seconds", "evaluations", "code")}
        lists = {
            name: [value if math.isfinite(value) else None for value in getattr(self, name)]
            for name in ("errors", "estimates")
        }
        return {**plain, **lists}

    @property
    def error(self) -> float:
        """The largest, over the tolerance."""
        return max(self.errors) / self.tolerance

    @property
    def estimate(self) -> float:
        """The largest, over the tolerance; NaN where one is missing."""
        return float(np.max(self.estimates)) / self.tolerance

    @property
    def flagged(self) -> bool:
        """Whether the solver says that it missed the tolerance."""
        return any(value > self.tolerance for value in self.estimates)

    @property
    def ratio(self) -> float:
        """Estimate over error, of the largest."""
        return self.estimate / self.error


def code_digest() -> str:
    """Of all sources that decide an answer."""
    paths = sorted((ROOT / "solvers").rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:12]


def measured(case: Case, tolerance: float, truths: Path, code: str) -> Outcome:
    """Solves a case and compares."""
    started = time.perf_counter()
    states, estimates, evaluations = _solved(case, tolerance)
    seconds = time.perf_counter() - started
    with np.errstate(all="ignore"):
        errors = relative_l2(states, truth(case, truths))
    errors = np.where(np.isfinite(errors), errors, np.inf)
    return Outcome(
        case.name, tolerance, tuple(errors.tolist()), tuple(estimates.tolist()), round(seconds, 4), evaluations, code
    )


def warm_up(case: Case, tolerance: float) -> None:
    """Compiles and caches what a case needs, so that its seconds are those of a second call: a run that ends early."""
    _solved(replace(case, times=(case.times[0] / 50.0,)), tolerance)


def _solved(case: Case, tolerance: float) -> tuple[Array, Array, int]:
    """Fields (time, cells, cells), estimates (time,) and evaluations, as a user gets them."""
    problem, times = case.problem(), list(case.times)
    if isinstance(problem, GrainGrowth):
        grains = solve_grains(problem, case.initial(), times, tolerance)
        return _arrays(grains.frames.field, grains.frames.error_estimate, int(grains.evaluations[0]))
    solution = solve(problem, case.initial(), times, tolerance)
    return _arrays(solution.states, solution.error_estimate, int(solution.evaluations[0]))


def _arrays(states: torch.Tensor, estimate: torch.Tensor | None, evaluations: int) -> tuple[Array, Array, int]:
    fields = states[0].double().numpy()
    estimates = np.full(len(fields), np.nan) if estimate is None else estimate[0].double().numpy()
    return fields, estimates, evaluations
