"""The learned stepper as an engine of sweeps: its answers carry bands and trust. A model is loaded once a process."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch

from solvers.errors import InputError
from surrogate.engine_kinds import SurrogateBlock, check_surrogate
from surrogate.models.files import load_rollout_surrogate
from surrogate.models.jump import JumpSurrogate
from surrogate.models.protocol import RolloutSurrogate
from surrogate.rollout.stepping import Stepper
from sweeps.engines.protocol import Answer, Request, named_bands
from sweeps.engines.registry import resolve_device
from sweeps.engines.solver import SolverEngine, answer_of, solver_engine
from sweeps.engines.solver_kind import SolverBlock

if TYPE_CHECKING:
    from sweeps.config.sweep import SweepConfig


@dataclass(frozen=True)
class SurrogateEngine:
    """A learned stepper, whose ``name`` is stored with every sample.

    Quantities without calibration have no bands; :func:`surrogate.engine_kinds.surrogate_note` names them. ``fallback``
    solves what lies outside the model's domain; None leaves it to the model, flagged.
    """

    model: RolloutSurrogate
    name: str
    fallback: SolverEngine | None = None

    @property
    def device(self) -> str:
        return self.model.device

    def answer(self, request: Request) -> Answer:
        prediction = self.model.rollout(request.problem, request.initial, request.times)
        answer = answer_of(request, prediction.frames)
        answer.values |= named_bands(self.model.bands(prediction, answer.values))
        answer.modelled = prediction.lead > 0
        answer.trust = prediction.trust.astype(np.float32)
        answer.reasons = list(prediction.reasons)
        if self.fallback is not None:
            _solve_again(answer, request, self.fallback, np.flatnonzero(answer.trust < 1))
        return answer


def _solve_again(answer: Answer, request: Request, solver: SolverEngine, rows: np.ndarray) -> None:
    """Put the solver's answer in the place of a model's, for some samples; its bands are its tolerance."""
    assert answer.modelled is not None and answer.trust is not None  # noqa: PT018
    if not len(rows):
        return
    index = torch.from_numpy(rows)
    part = Request(
        problem=request.problem.take(index),
        initial=request.initial[index],
        times=request.times[index],
        samples={n: v[index] for n, v in request.samples.items()},
        fields=request.fields,
    )
    solved = solver.answer(part)
    for name, values in solved.values.items():
        answer.values[name][rows] = values
        if f"{name}_low" in answer.values:
            margin = solver.tolerance * np.abs(values)
            answer.values[f"{name}_low"][rows], answer.values[f"{name}_high"][rows] = values - margin, values + margin
    for name, values in solved.fields.items():
        answer.fields[name][rows] = values
    answer.finite[rows] = solved.finite
    answer.modelled[rows] = False
    answer.trust[rows] = 1.0
    for row in rows.tolist():
        answer.reasons[row] = ""
        answer.engine_of[row] = solver.name


def surrogate_engine(config: SweepConfig) -> SurrogateEngine:
    """The surrogate of a sweep.

    Raises:
        InputError: as :func:`surrogate.engine_kinds.check_surrogate`, and for weights that do not fit.
    """
    check_surrogate(config)
    block = config.engine
    assert isinstance(block, SurrogateBlock)
    try:
        model = _load(block.model, resolve_device(block.device))
    except InputError as error:
        raise InputError(f"engine.model: {error}") from None
    fallback = None
    if isinstance(block.outside, SolverBlock):
        fallback = solver_engine(block.outside, "solver (outside the model's domain)")
    if block.precision == "float32":
        return SurrogateEngine(model, f"surrogate {model.name}", fallback)
    if not isinstance(model, JumpSurrogate):
        raise InputError(f"engine.precision: found bfloat16, allowed float32 for a model of kind {model.kind}")
    low = copy.copy(model)  # shares the weights
    low.net = _InBfloat16(model.net, model.device)
    return SurrogateEngine(low, f"surrogate {model.name} in bfloat16", fallback)


@dataclass(frozen=True)
class _InBfloat16:
    """A jump network whose matrix products and convolutions are in bfloat16; what goes in and comes out is float32.

    Around the network alone: transforms of the solver's frames and energies are matrix products as well.
    """

    net: Stepper
    device: str

    def _casting(self) -> torch.autocast:
        return torch.autocast(torch.device(self.device).type, torch.bfloat16)

    def features(self, field: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
        with self._casting():
            return self.net.features(field, groups)

    def changes(self, features: torch.Tensor, owners: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        with self._casting():
            return self.net.changes(features, owners, lengths)


@lru_cache(maxsize=4)
def _load(name: str, device: str) -> RolloutSurrogate:
    return load_rollout_surrogate(name, device)
