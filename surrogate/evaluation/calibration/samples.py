"""The finished samples of a sweep store: starts, statistics to compare with, and a model's rollouts."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from solvers.errors import InputError
from solvers.grids.grid import Grid
from solvers.processes.registry import process_named
from solvers.qois import evaluate_qois
from surrogate.evaluation.candidates import without_frames
from surrogate.evaluation.cases import ReferenceCase
from surrogate.evaluation.statistics import Values, joined
from surrogate.models.protocol import RolloutSurrogate
from surrogate.processes import learned_process
from surrogate.rollout.prediction import Prediction
from surrogate.uncertainty.bands import comparable
from sweeps.store.dataset import finished_samples

logger = logging.getLogger("phasetwin")

#: Cells of all frames of a batch: 64 trajectories of 21 frames of 64 x 64 cells, 22 MB in single precision.
CELLS_TOGETHER = 64 * 21 * 64 * 64


@dataclass(frozen=True)
class StoreSamples:
    """The finished samples of a store; ``truth`` is what it holds: name -> (sample, time) or (sample, time, extra)."""

    case: ReferenceCase
    truth: Values


def store_samples(store: str | Path, process: str) -> StoreSamples:
    """Reads the finished samples of a store that kept the fields at its first time, 0, and statistics at all times.

    Raises:
        InputError: for a store that is missing, cannot be read, is of another process, was computed by a learned
            model, kept no start, or has no finished sample.
    """
    samples, start = finished_samples(str(store)), learned_process(process).start_field
    if samples.process != process:
        raise InputError(f"{store}: a sweep of {samples.process}, but the model is for {process}")
    if samples.engine != "solver":
        found = f"found engine {samples.engine}, allowed solver, which is what models are compared with"
        raise InputError(f"{store}: {found}")
    if start not in samples.store or samples.field_times[:1].any() or samples.times[:1].any():
        raise InputError(f"{store}: holds no start; run the sweep with time 0 and `retain: {{fields_at: [0]}}`")
    initial, box = torch.from_numpy(samples.fields(start, frame=0)), samples.config["grid"]
    case = ReferenceCase(
        name=Path(store).stem,
        process=process,
        grid=Grid(tuple(box["shape"]), box["spacing"], box["boundary"]),
        count=len(samples),
        times=samples.times,
        parameters=samples.parameters(),
        starts=lambda indices: initial[list(indices)],
        options={name: samples.config.get(name) for name in process_named(process).options},
    )
    return StoreSamples(case, {name: samples.quantity(name) for name in samples.quantities})


@dataclass(frozen=True)
class StoreRollouts:
    """A model's rollouts of a store's samples: their quantities, and the prediction without its frames."""

    samples: StoreSamples
    qois: Values
    prediction: Prediction

    @property
    def name(self) -> str:
        return self.samples.case.name

    @property
    def taken(self) -> np.ndarray:
        """bool (sample,): whether the model took over before the last frame."""
        return np.asarray((self.prediction.lead > 0).any(1))

    @property
    def predicted(self) -> Values:
        """The model's quantities as calibrations see them."""
        return self._comparable(self.qois)

    @property
    def truth(self) -> Values:
        return self._comparable(self.samples.truth)

    def _comparable(self, values: Values) -> Values:
        found = self.prediction
        floors = learned_process(self.samples.case.process).band_floors(found.groups, found.spacing)
        return comparable(values, floors, found.unit)


def roll_out(model: RolloutSurrogate, samples: StoreSamples) -> StoreRollouts:
    """Rolls out every sample in batches; memory holds the fields of one batch.

    Raises:
        InputError: for a grid that the model cannot take.
    """
    case = samples.case
    parts: list[tuple[Values, Prediction]] = []
    for batch in case.batches(CELLS_TOGETHER // len(case.times)):
        inputs = case.inputs(batch)
        prediction = model.rollout(*inputs)
        found = {n: v.double().numpy() for n, v in evaluate_qois(inputs[0], prediction.frames).items()}
        parts.append((found, without_frames(prediction)))
        logger.info(f"{case.name}: {batch[-1] + 1} of {case.count} rolled out")
    qois, joint = joined(parts)
    return StoreRollouts(samples, qois, replace(joint, wavenumbers=parts[0][1].wavenumbers))
