"""What an engine is asked and what it answers: all that the execution of a sweep knows of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    import torch

    from solvers import Problem


@dataclass(frozen=True)
class Request:
    """What is asked of an engine.

    Attributes:
        problem: parameters are (batch,); the parameter that scales time is 1, as it enters through the times.
        initial: (batch, y, x), composition or integer grain labels.
        times: (batch, time), rows never decrease.
        samples: parameter name -> float64 (batch,), all but the one that scales time.
        fields: whether fields are wanted beside statistics.
    """

    problem: Problem
    initial: torch.Tensor
    times: torch.Tensor
    samples: dict[str, torch.Tensor]
    fields: bool = True


@dataclass
class Answer:
    """The answer of an engine for a batch.

    Attributes:
        values: QoI -> (batch, time) or (batch, time, extra); of an engine with bands also ``<qoi>_low``,
            ``<qoi>_high``.
        fields: name of each field of the process -> (batch, time, y, x); empty where not wanted.
        finite: bool (batch, time), frames without NaN or infinity.
        modelled: bool (batch, time), frames that a model made; None for an engine without bands.
        trust: float32 (batch,), 1 inside the model's domain, 0 outside; None for an engine without bands.
        reasons: (batch,) why a sample is outside; empty inside.
        engine_of: sample -> name of the engine, where it is another one.
        error_estimate: (batch, time) measured relative L2 error against the converged equation, NaN where it was not
            measured; None of an engine that measures none.
        tolerance: what the estimate should stay below; infinite for an engine without one.
    """

    values: dict[str, np.ndarray]
    fields: dict[str, np.ndarray]
    finite: np.ndarray
    modelled: np.ndarray | None = None
    trust: np.ndarray | None = None
    reasons: list[str] = field(default_factory=list)
    engine_of: dict[int, str] = field(default_factory=dict)
    error_estimate: np.ndarray | None = None
    tolerance: float = math.inf


class Engine(Protocol):
    """Answers for starts; the answer for a sample depends on that sample alone, not on its neighbours in the batch."""

    @property
    def name(self) -> str:
        """Stored with every sample."""

    @property
    def device(self) -> str:
        """Where it computes: ``cpu`` or ``cuda...``."""

    def answer(self, request: Request) -> Answer:
        """Evolve a batch; samples that diverge are NaN from there on."""


def named_bands(bands: dict[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, np.ndarray]:
    """Bands, QoI -> (low, high), as an answer has them: ``<qoi>_low`` and ``<qoi>_high``."""
    return {f"{name}_{end}": band[i] for name, band in bands.items() for i, end in enumerate(("low", "high"))}
