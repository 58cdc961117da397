"""Engines: what turns a start into frames and statistics. A sweep names one; the registry at the end builds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch

from solvers import CahnHilliard, Frames, GrainGrowth, simulate_grains, solve
from solvers.errors import InputError
from solvers.qois import evaluate_qois

if TYPE_CHECKING:
    from sweeps.config.sweep import SweepConfig

# Tolerance of the reference: a twentieth of the engine's, so that its own error does not count.
REFERENCE_FACTOR = 20.0
REFERENCE_TOLERANCE = 5e-4  # of learned engines, whose bands are per cents wide
FINEST_TOLERANCE = 1e-7
DTYPES = {"float64": torch.float64, "float32": torch.float32}


@dataclass(frozen=True)
class Request:
    """What is asked of an engine.

    Attributes:
        problem: with mobility 1, which enters through the times; parameters are (batch,).
        initial: (batch, y, x), composition or integer grain labels.
        times: (batch, time), rows never decrease.
        samples: parameter name -> float64 (batch,), all but mobility.
        fields: whether fields are wanted beside statistics.
    """

    problem: CahnHilliard | GrainGrowth
    initial: torch.Tensor
    times: torch.Tensor
    samples: dict[str, torch.Tensor]
    fields: bool = True


@dataclass
class Answer:
    """What an engine says of a batch.

    Attributes:
        values: QoI -> (batch, time) or (batch, time, extra); of a learned engine also ``<qoi>_low``, ``<qoi>_high``.
        fields: ``field`` and, for grains, ``grain_id``, (batch, time, y, x); empty where not wanted.
        finite: bool (batch, time), frames without NaN or infinity.
        modelled: bool (batch, time), frames that a model made; None for the solver.
        trust: float32 (batch,), 1 inside the model's domain, 0 outside; None for the solver.
        reasons: (batch,) why a sample is outside; empty inside.
        engine_of: sample -> name of the engine, where it is another one.
    """

    values: dict[str, np.ndarray]
    fields: dict[str, np.ndarray]
    finite: np.ndarray
    modelled: np.ndarray | None = None
    trust: np.ndarray | None = None
    reasons: list[str] = field(default_factory=list)
    engine_of: dict[int, str] = field(default_factory=dict)


class Engine(Protocol):
    """Answers for starts; what it says of a sample depends on that sample alone, not on its neighbours in the batch."""

    @property
    def name(self) -> str:
        """Stored with every sample."""
        ...

    def answer(self, request: Request) -> Answer:
        """Evolve a batch; samples that diverge are NaN from there on."""
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
        """Frames of (batch, time, y, x); arguments as :class:`Request`'s."""
        settings: dict[str, Any] = {
            "tolerance": self.tolerance,
            "dtype": DTYPES[self.dtype],
            "device": resolve_device(self.device),
        }
        if isinstance(problem, GrainGrowth):
            return simulate_grains(problem, initial, times, **settings)
        solution = solve(problem, initial, times, refine=self.refine, **settings)
        return Frames(field=solution.states, free_energy=solution.free_energy)

    def answer(self, request: Request) -> Answer:
        """See :class:`Engine`."""
        return answer_of(request, self.rollout(request.problem, request.initial, request.times))


def answer_of(request: Request, frames: Frames) -> Answer:
    """The statistics of frames, and the frames themselves where they are wanted."""
    values = {n: q.cpu().numpy() for n, q in evaluate_qois(request.problem, frames).items()}
    fields = {"field": frames.field.cpu().numpy()} if request.fields else {}
    if fields and frames.grain_id is not None:
        fields["grain_id"] = frames.grain_id.cpu().numpy()
    finite = torch.isfinite(frames.field).flatten(2).all(-1).cpu().numpy()
    return Answer(values, fields, finite)


def resolve_device(device: str) -> str:
    """``auto`` is the GPU where torch finds one."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def _solver(config: SweepConfig) -> Engine:
    return solver_engine(config.engine)


def solver_engine(engine: Any, name: str = "solver") -> SolverEngine:
    """The solver of an ``engine`` block."""
    return SolverEngine(tolerance=engine.tolerance, dtype=engine.dtype, device=engine.device, name=name)


def _surrogate(config: SweepConfig) -> Engine:
    from surrogate.engine import surrogate_engine

    return surrogate_engine(config)


def _emulator(config: SweepConfig) -> Engine:
    from surrogate.engine import emulator_engine

    return emulator_engine(config)


#: kind in the YAML -> how to build it. ``auto`` is not among them: it has become one of these before anything runs.
ENGINES: dict[str, Callable[[SweepConfig], Engine]] = {
    "solver": _solver,
    "surrogate": _surrogate,
    "emulator": _emulator,
}


def reference_engine(config: SweepConfig) -> SolverEngine:
    """What an engine is checked against: the solver, to a twentieth of its tolerance and refined once more."""
    engine = config.engine
    tolerance = getattr(engine, "tolerance", REFERENCE_TOLERANCE * REFERENCE_FACTOR) / REFERENCE_FACTOR
    device = getattr(engine, "device", "auto")
    return SolverEngine(max(tolerance, FINEST_TOLERANCE), device=device, refine=1, name="reference solver")


def build_engine(config: SweepConfig) -> Engine:
    """The engine of a sweep.

    Raises:
        InputError: see :func:`check_engine`.
    """
    check_device(config.engine)
    return ENGINES[config.engine.kind](config)


def check_engine(config: SweepConfig) -> None:
    """Refuse an engine that cannot run here, before anything is written.

    Raises:
        InputError: for a model that is not there, damaged, without bands, of the other process or of other grids, or a
            device that is not there.
    """
    check_device(config.engine)
    if config.engine.kind in ("surrogate", "emulator"):
        ENGINES[config.engine.kind](config)


def check_device(engine: Any) -> None:
    """Raises InputError for a device that is not there."""
    device = getattr(engine, "device", "auto")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"engine.device: found {device}, but torch finds no GPU here; use auto or cpu")
