"""Engines: what turns a start into frames. A sweep names one; the registry at the end builds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch

from solvers import CahnHilliard, Frames, GrainGrowth, simulate_grains, solve
from solvers.errors import InputError

# Tolerance of the reference: a twentieth of the engine's, so that its own error does not count.
REFERENCE_FACTOR = 20.0
REFERENCE_TOLERANCE = 1e-4
FINEST_TOLERANCE = 1e-7
DTYPES = {"float64": torch.float64, "float32": torch.float32}


class Engine(Protocol):
    """Frames from starts; a sample's frames depend on that sample alone, not on its neighbours in the batch."""

    @property
    def name(self) -> str:
        """Stored with every sample."""
        ...

    def rollout(self, problem: CahnHilliard | GrainGrowth, initial: torch.Tensor, times: torch.Tensor) -> Frames:
        """Evolve a batch.

        Args:
            problem: parameters are floats or (batch,).
            initial: (batch, y, x), composition or integer grain labels.
            times: (batch, time), rows never decrease.

        Returns:
            Frames of (batch, time, y, x); samples that diverge are NaN from there on.
        """
        ...


@dataclass(frozen=True)
class SolverEngine:
    """The PDE solver, see ``solvers.simulate``.

    ``refine`` halves steps and refines the grid that many times beyond what the tolerance asks for (Cahn-Hilliard
    only; for grains the tolerance alone decides).
    """

    tolerance: float
    dtype: Literal["float64", "float32"] = "float64"
    device: str = "auto"
    refine: int = 0
    name: str = "solver"

    def rollout(self, problem: CahnHilliard | GrainGrowth, initial: torch.Tensor, times: torch.Tensor) -> Frames:
        """See :class:`Engine`."""
        settings: dict[str, Any] = {
            "tolerance": self.tolerance,
            "dtype": DTYPES[self.dtype],
            "device": resolve_device(self.device),
        }
        if isinstance(problem, GrainGrowth):
            return simulate_grains(problem, initial, times, **settings)
        solution = solve(problem, initial, times, refine=self.refine, **settings)
        return Frames(field=solution.states, free_energy=solution.free_energy)


def resolve_device(device: str) -> str:
    """``auto`` is the GPU where torch finds one."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def _solver(engine: Any) -> Engine:
    return SolverEngine(tolerance=engine.tolerance, dtype=engine.dtype, device=engine.device)


#: kind in the YAML -> how to build it from its block.
ENGINES: dict[str, Callable[[Any], Engine]] = {"solver": _solver}


def reference_engine(engine: Any) -> SolverEngine:
    """What an engine is checked against: the solver, to a twentieth of its tolerance and refined once more."""
    tolerance = getattr(engine, "tolerance", REFERENCE_TOLERANCE * REFERENCE_FACTOR) / REFERENCE_FACTOR
    device = getattr(engine, "device", "auto")
    return SolverEngine(max(tolerance, FINEST_TOLERANCE), device=device, refine=1, name="reference solver")


def build_engine(engine: Any) -> Engine:
    """The engine of a configuration's ``engine`` block.

    Raises:
        InputError: see :func:`check_engine`.
    """
    check_engine(engine)
    return ENGINES[engine.kind](engine)


def check_engine(engine: Any) -> None:
    """Refuse an engine that cannot run here, before anything is written.

    Raises:
        InputError: for an engine without a trained model, or a device that is not there.
    """
    if engine.kind not in ENGINES:
        raise InputError(
            f"engine.kind: {engine.kind} needs a model with tested bands and none ships yet; "
            "use `engine: {kind: solver, tolerance: 1.0e-3}`"
        )
    device = getattr(engine, "device", "auto")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"engine.device: found {device}, but torch finds no GPU here; use auto or cpu")
