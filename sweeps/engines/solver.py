"""The PDE solver as an engine, and how frames become an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from solvers import Frames, Problem, simulate_frames
from solvers.qois import evaluate_qois
from sweeps.engines.protocol import Answer, Request
from sweeps.engines.registry import resolve_device
from sweeps.engines.solver_kind import SolverBlock

if TYPE_CHECKING:
    from sweeps.config.sweep import SweepConfig

DTYPES = {"float64": torch.float64, "float32": torch.float32}


@dataclass(frozen=True)
class SolverEngine:
    """The PDE solver, see ``solvers.simulate``.

    ``refine`` halves steps and refines the grid that many times beyond what the tolerance asks for, where the process's
    solver can (for grains the tolerance alone decides).
    """

    tolerance: float
    dtype: Literal["float64", "float32"] = "float64"
    device: str = "auto"
    refine: int = 0
    name: str = "solver"

    def rollout(self, problem: Problem, initial: torch.Tensor, times: torch.Tensor) -> Frames:
        """Frames of (batch, time, y, x); arguments as :class:`Request`'s."""
        return simulate_frames(
            problem,
            initial,
            times,
            tolerance=self.tolerance,
            dtype=DTYPES[self.dtype],
            device=resolve_device(self.device),
            refine=self.refine,
        )

    def answer(self, request: Request) -> Answer:
        answer = answer_of(request, self.rollout(request.problem, request.initial, request.times))
        answer.tolerance = self.tolerance
        return answer


def answer_of(request: Request, frames: Frames) -> Answer:
    """The statistics of frames, and the frames themselves where they are wanted."""
    values = {n: q.cpu().numpy() for n, q in evaluate_qois(request.problem, frames).items()}
    fields = {n: f.cpu().numpy() for n, f in frames.named().items()} if request.fields else {}
    estimate = None if frames.error_estimate is None else frames.error_estimate.cpu().numpy()
    return Answer(values, fields, frames.finite.cpu().numpy(), error_estimate=estimate)


def solver_engine(block: SolverBlock, name: str = "solver") -> SolverEngine:
    return SolverEngine(tolerance=block.tolerance, dtype=block.dtype, device=block.device, name=name)


def solver_of_sweep(config: SweepConfig) -> SolverEngine:
    """The solver of a sweep whose engine it is."""
    assert isinstance(config.engine, SolverBlock)
    return solver_engine(config.engine)
