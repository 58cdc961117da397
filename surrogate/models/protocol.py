"""What every learned model offers, and what each kind checks when it is loaded and before it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import nn

from solvers.errors import InputError
from solvers.processes.base import Problem
from surrogate.rollout.prediction import Prediction
from surrogate.uncertainty.bands import Bands, Calibration
from surrogate.uncertainty.domain import Domain

N = TypeVar("N", bound=nn.Module)


class Surrogate(Protocol):
    """A learned model: ``sha256`` is of its weights, ``about`` its ``model.json``; ``calibration`` may be None."""

    name: str
    process: str
    kind: str
    sha256: str
    about: dict[str, Any]
    calibration: Calibration | None
    device: str

    def check(self, problem: Problem) -> None:
        """Raises InputError for a problem of another process or a grid the model cannot take."""

    def forecast(
        self, problem: Problem, frames: torch.Tensor, frame_times: np.ndarray, times: np.ndarray
    ) -> torch.Tensor:
        """Later frames (batch, m, y, x) from earlier ones alone.

        Args:
            problem: the material; its grid is that of the frames.
            frames: (batch, n, y, x) composition or phi, at ``frame_times`` (n,).
            times: (m,) later times, increasing.
        """


class RolloutSurrogate(Surrogate, Protocol):
    """A model that runs from a start, the solver doing the first frames, with bands and a domain."""

    domain: Domain

    def rollout(self, problem: Problem, initial: torch.Tensor, times: torch.Tensor) -> Prediction:
        """Frames from a start (batch, y, x) at ``times`` (batch, time)."""

    def trust_in(self, problem: Problem, frames: torch.Tensor) -> tuple[np.ndarray, list[str]]:
        """Trust (batch,) in going on from frames (batch, y, x) in the user's units, and the reasons against it."""

    def bands(self, prediction: Prediction, qois: Mapping[str, np.ndarray]) -> Bands:
        """Name -> (low, high) of those quantities of a prediction that are calibrated."""


def check_process(model: Surrogate, problem: Problem) -> None:
    """Raises InputError where the model is for another process."""
    if problem.process != model.process:
        raise InputError(f"model {model.name}: found a problem of {problem.process}, allowed {model.process}")


def filled(net: N, tensors: Mapping[str, torch.Tensor], name: str) -> N:
    """The network with its weights, ready to run; InputError for weights that do not fit."""
    try:
        net.load_state_dict(tensors)
    except RuntimeError:
        raise InputError(f"model {name}: the weights do not fit the network that its description names") from None
    return net.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
