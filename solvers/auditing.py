"""Audits: the error of an answer, estimated by solving again with finer steps and a finer grid."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from solvers.arguments import Times
from solvers.processes.base import Problem
from solvers.simulation import solve


@dataclass(frozen=True)
class Audit:
    """Outcome of :func:`audit`.

    Attributes:
        error: (batch, time) relative L2 difference from the refined solution: an estimate of the error against the
            converged PDE, too low by at most the refined solution's own error, about a fifth of it.
        states: the refined answer, the better one to keep.
    """

    tolerance: float
    error: torch.Tensor
    states: torch.Tensor

    @property
    def met(self) -> torch.Tensor:
        """(batch,) whether a sample kept the tolerance at every time; false where the refined solution diverged."""
        return (self.error <= self.tolerance).all(dim=1)


def audit(
    problem: Problem,
    initial: torch.Tensor,
    times: Times,
    tolerance: float = 1e-4,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    answer: torch.Tensor | None = None,
) -> Audit:
    """Solves again with halved steps on a 5/4 finer internal grid and compares; arguments and errors as ``simulate``'s.

    ``answer`` is what ``simulate`` gave for them, computed where it is not given.
    """
    refined = solve(problem, initial, times, tolerance, dtype, device, refine=1).states
    if answer is None:
        answer = solve(problem, initial, times, tolerance, dtype, device).states
    difference = (answer.to(refined) - refined).flatten(2).norm(dim=2)
    return Audit(tolerance, difference / refined.flatten(2).norm(dim=2), refined)
