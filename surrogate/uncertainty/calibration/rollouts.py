"""A model's rollouts of the samples of a store, of which only statistics are kept."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch

from solvers import Frames
from solvers.processes.base import Problem
from solvers.qois import evaluate_qois
from surrogate.processes import learned_process
from surrogate.rollout.prediction import Prediction
from surrogate.uncertainty.bands import Calibration, comparable
from surrogate.uncertainty.calibration.cases import Case
from surrogate.uncertainty.domain import Domain

logger = logging.getLogger("phasetwin")

#: Cells of all frames of a batch: 64 trajectories of 21 frames of 64 x 64 cells, 22 MB in single precision.
CELLS_TOGETHER = 64 * 21 * 64 * 64


class Engine(Protocol):
    """A model with rollouts, see :class:`surrogate.models.jump.JumpSurrogate`."""

    name: str
    process: str
    domain: Domain
    calibration: Calibration | None

    def rollout(self, problem: Problem, initial: torch.Tensor, times: torch.Tensor) -> Prediction:
        """Frames from a start (batch, y, x) at ``times`` (batch, time)."""


@dataclass(frozen=True)
class Outcome:
    """What a model made of a case.

    Attributes:
        case: the samples, with the truth.
        qois: name -> (sample, time) or (sample, time, extra).
        lead, ages: (sample, time), see :class:`surrogate.rollout.prediction.Prediction`.
        groups: name -> (sample,).
        features: (sample, feature) of the frames at the hand-over.
        wavenumbers: (K,) rad/cell.
        spacing, unit: cell size, and half the distance between the wells.
    """

    case: Case
    qois: dict[str, np.ndarray]
    lead: np.ndarray
    ages: np.ndarray
    groups: dict[str, np.ndarray]
    features: np.ndarray
    wavenumbers: np.ndarray
    spacing: float
    unit: float

    @property
    def taken(self) -> np.ndarray:
        """bool (sample,): whether the model took over before the last frame."""
        return np.asarray((self.lead > 0).any(1))

    @property
    def _floors(self) -> dict[str, np.ndarray]:
        return learned_process(self.case.process).band_floors(self.groups, self.spacing)

    @property
    def predicted(self) -> dict[str, np.ndarray]:
        """The model's quantities as calibrations see them."""
        return comparable(self.qois, self._floors, self.unit)

    @property
    def truth(self) -> dict[str, np.ndarray]:
        """The same of the truth."""
        return comparable(self.case.truth, self._floors, self.unit)


def predict(model: Engine, case: Case) -> Outcome:
    """Rolls out every sample in batches; memory holds the fields of one batch.

    Raises:
        InputError: for a grid that the model cannot take.
    """
    count, cells = case.initial.shape[0], case.problem.grid.cells
    size = max(1, CELLS_TOGETHER // (cells * len(case.times)))
    parts: list[tuple[dict[str, np.ndarray], Prediction]] = []
    for low in range(0, count, size):
        index = torch.arange(low, min(low + size, count))
        times = torch.tensor(case.times).expand(len(index), -1)
        problem = case.problem.take(index)
        prediction = model.rollout(problem, case.initial[index], times)
        found = {n: v.double().numpy() for n, v in evaluate_qois(problem, prediction.frames).items()}
        parts.append((found, _without_frames(prediction)))
        logger.info(f"{case.name}: {int(index[-1]) + 1} of {count} rolled out")
    last = parts[-1][1]
    return Outcome(
        case=case,
        qois={name: np.concatenate([found[name] for found, _ in parts]) for name in parts[0][0]},
        lead=np.concatenate([p.lead for _, p in parts]),
        ages=np.concatenate([p.ages for _, p in parts]),
        groups={name: np.concatenate([p.groups[name] for _, p in parts]) for name in last.groups},
        features=np.concatenate([p.features for _, p in parts]),
        wavenumbers=last.wavenumbers,
        spacing=last.spacing,
        unit=last.unit,
    )


def _without_frames(prediction: Prediction) -> Prediction:
    empty = torch.empty(0)
    return replace(prediction, frames=Frames(empty, empty))
