"""A jump network with its step lengths: runs from a start, or goes on from frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from solvers import Frames
from solvers.errors import InputError
from solvers.grids.even_extension import extend, extended, own_cells
from solvers.processes.base import Problem
from solvers.qois import structure_factor_wavenumbers
from solvers.qois.energy import energy_rises
from surrogate.models.files import check_cells
from surrogate.models.protocol import check_process, filled
from surrogate.networks.jump import JumpNet, JumpSettings
from surrogate.processes import FirstFrames, FirstStage, kappa_in_cells, learned_process
from surrogate.rollout.prediction import Prediction
from surrogate.rollout.stepping import Guard, Stepper, StepSchedule, jump_rollout
from surrogate.uncertainty.bands import Bands, Calibration, prediction_bands
from surrogate.uncertainty.domain import SIDE, read_domain

#: Relative difference of ages that are equal but for the rounding of parameters.
SAME_AGE = 2e-5


class JumpSurrogate:
    """See :class:`surrogate.models.protocol.RolloutSurrogate`; ``about`` is ``model.json``.

    Raises:
        InputError: for weights that do not fit the network's shape.
    """

    kind = "jump"

    def __init__(self, about: dict[str, Any], tensors: Mapping[str, torch.Tensor], device: str = "cpu") -> None:
        self.about = about
        self.name, self.process = str(about["name"]), str(about["process"])
        self.sha256 = str(about["weights_sha256"])
        self._known = learned_process(self.process)
        self.settings = JumpSettings(**about["settings"])
        schedule = about["schedule"]
        self.schedule = StepSchedule(tuple(schedule["ages"]), tuple(schedule["lengths"]))
        self.first_stage = FirstStage(**(about.get("handover") or {}))
        self.net: Stepper = filled(JumpNet(self.settings), tensors, self.name).to(device)
        self.device = device
        self.domain = read_domain(self.process, about.get("domain") or {})
        found = about.get("calibration")
        self.calibration: Calibration | None = Calibration.from_dict(found) if found else None

    def check(self, problem: Problem) -> None:
        check_process(self, problem)
        check_cells(self.name, asdict(self.settings), problem.grid.shape, problem.grid.boundary)

    def forecast(
        self, problem: Problem, frames: torch.Tensor, frame_times: np.ndarray, times: np.ndarray
    ) -> torch.Tensor:
        """See :class:`surrogate.models.protocol.Surrogate`; only the last frame is used."""
        self.check(problem)
        rate = self._known.age_rate(problem, len(frames))
        start = float(np.asarray(frame_times)[-1]) * rate
        ages = np.asarray(times, dtype=np.float64)[None] * rate[:, None]
        found, _ = self._advance(problem, self._known.to_network(problem, frames[:, -1]), start, ages)
        return self._known.from_network(problem, found)

    def rollout(self, problem: Problem, initial: torch.Tensor, times: torch.Tensor) -> Prediction:
        """Frames from a start, the solver doing the first ones.

        Args:
            problem: parameters are floats or (batch,).
            initial: (batch, y, x) composition, or integer grain labels.
            times: (batch, time), rows never decrease.

        Raises:
            InputError: see :meth:`check`.
        """
        self.check(problem)
        known = self._known
        start = known.first_frames(problem, initial, times, self.first_stage)
        ages = times.double().numpy() * known.age_rate(problem, len(initial))[:, None]
        later = ages > start.ages[:, None]
        field, energy = start.early.clone(), start.early_energy.clone()
        guarded = np.zeros(len(initial), dtype=np.int64)
        rows = np.flatnonzero(later.any(1))
        if len(rows):
            index = torch.from_numpy(rows)
            part = problem.take(index)
            guard = known.guard(part, len(rows))
            # Earlier frames are asked for at the start's age, and thrown away.
            asked = np.maximum(ages[rows], start.ages[rows, None])
            found, energies = self._advance(part, start.fields[index], start.ages[rows], asked, guard)
            taken = torch.from_numpy(later[rows])
            frames = known.from_network(part, found)
            field[index] = torch.where(taken[:, :, None, None], frames.to(field), field[index])
            if bool(energies[taken].isnan().any()):
                energies = known.energy(part, frames)
            energy[index] = torch.where(taken, energies, energy[index])
            guarded[rows] = guard.replaced if guard is not None else 0
        labels = known.labels(problem, field)
        if labels is not None and start.labels is not None:
            labels = torch.where(torch.from_numpy(later)[:, :, None, None], labels.to(torch.int32), start.labels)
        return self._prediction(problem, Frames(field, energy, labels), start, guarded, ages)

    def bands(self, prediction: Prediction, qois: Mapping[str, np.ndarray]) -> Bands:
        """Calibrated bands of what :meth:`rollout` returned, for the quantities (batch, time[, extra]) that are
        calibrated.

        The solver's own frames have its tolerance, that share of the value either way. Beyond the longest lead of the
        calibration bands are infinite: that is no loss of trust, nothing is known there.

        Raises:
            InputError: if the model has no calibration.
        """
        if self.calibration is None:
            raise InputError(
                f"model {self.name}: has no calibrated bands; `phasetwin evaluate {self.name} --calibrate` makes them"
            )
        calibrated = {name: values for name, values in qois.items() if name in self.calibration.qois}
        tolerance = self._known.first_tolerance(self.first_stage)
        floors = self._known.band_floors(prediction.groups, prediction.spacing)
        return prediction_bands(self.calibration, prediction, calibrated, tolerance, floors)

    def trust_in(self, problem: Problem, frames: torch.Tensor) -> tuple[np.ndarray, list[str]]:
        """Trust (batch,) float32 in going on from frames (batch, y, x), in the user's units, and the reasons against
        it.

        Those are trusted whose groups and box are in the model's domain, and that are like those of the training.
        """
        fields = self._known.to_network(problem, frames)
        return self._trust(problem, fields, self._features(problem, fields))

    def _trust(self, problem: Problem, fields: torch.Tensor, features: np.ndarray) -> tuple[np.ndarray, list[str]]:
        side = np.full(len(fields), self.domain.side_of(extended(problem.grid).shape))
        groups = {**self._known.problem_groups(problem, fields), SIDE: side}
        reasons = self.domain.reasons({name: groups[name] for name in self.domain.box}, features)
        return np.array([not reason for reason in reasons], dtype=np.float32), reasons

    def _features(self, problem: Problem, fields: torch.Tensor) -> np.ndarray:
        kappa = torch.from_numpy(kappa_in_cells(problem, len(fields)))
        return self._known.frame_features(fields, kappa, problem.grid.boundary).numpy()

    def _advance(
        self, problem: Problem, fields: torch.Tensor, start: np.ndarray, ages: np.ndarray, guard: Guard | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Network fields (batch, y, x) at scaled ages ``start`` (batch,) to (batch, time, y, x) at ``ages``.

        And their free energies (batch, time), NaN where no guard has looked at them.
        """
        whole = extend(fields.float(), problem.grid)
        groups = self._known.group_inputs(self._known.problem_groups(problem, fields)).to(self.device)
        out, energies = torch.full((*ages.shape, *fields.shape[1:]), torch.nan), np.full(ages.shape, np.nan)
        for reached in jump_rollout(self.net, whole.to(self.device), start, ages, groups, self.schedule, guard):
            out[reached.samples, reached.times] = reached.fields[own_cells(problem.grid)].cpu()
            energies[reached.samples, reached.times] = reached.energies
        return out, torch.from_numpy(energies)

    def _prediction(
        self, problem: Problem, frames: Frames, start: FirstFrames, guarded: np.ndarray, ages: np.ndarray
    ) -> Prediction:
        grid = problem.grid
        means = self._known.to_network(problem, frames.field).double().mean((2, 3)).numpy()
        features = self._features(problem, start.fields)
        trust, reasons = self._trust(problem, start.fields, features)
        # What the solver did to its end needs no trust in a model.
        solved = np.isinf(start.ages)
        # The frame that a model starts from is the solver's, whatever the last digits of its age.
        lead = ages - start.ages[:, None]
        later = ages > start.ages[:, None] * (1.0 + SAME_AGE)
        return Prediction(
            frames=frames,
            mass_drift=np.abs(means - means[:, :1]).max(1),
            energy_rises=energy_rises(frames.free_energy.cpu().numpy()),
            guarded=guarded,
            start_ages=start.ages,
            trust=np.where(solved, 1.0, trust).astype(np.float32),
            reasons=["" if alone else reason for alone, reason in zip(solved, reasons, strict=True)],
            ages=ages,
            lead=np.where(later, lead, np.minimum(lead, 0.0)),
            groups={
                **self._known.problem_groups(problem, start.fields),
                "box": np.full(len(start.fields), np.log2(np.sqrt(grid.cells) / 64.0)),
            },
            features=np.where(solved[:, None], np.nan, features),
            wavenumbers=structure_factor_wavenumbers(grid).numpy() * grid.spacing,
            spacing=grid.spacing,
            unit=problem.field_scale,
        )
