"""Learned models: load one by name or path, and let it run as an engine or forecast from images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from solvers import CahnHilliard, Frames, GrainGrowth
from solvers.errors import InputError
from solvers.grains.segmentation import label_basins
from solvers.grids.even_extension import extend, extended, own_cells
from solvers.qois import structure_factor_wavenumbers
from surrogate.models.common import check_process, filled
from surrogate.models.files import folder_of, read_about, read_tensors
from surrogate.models.gsta import GstaSurrogate
from surrogate.networks.jump import JumpNet, JumpSettings
from surrogate.rollout.dimensionless import (
    GRAIN_GROWTH,
    GROUPS,
    Problem,
    age_rate,
    group_inputs,
    groups_of,
    kappa_in_cells,
    scaled,
    unscaled,
)
from surrogate.rollout.energies import EnergyGuard, GrainGuard, composition_energy, grain_energy, rises
from surrogate.rollout.prediction import Prediction
from surrogate.rollout.solver_stage import TOLERANCE, GrainHandOver, Start, composition_start, grain_start
from surrogate.rollout.stepping import StepSchedule, jump_rollout
from surrogate.uncertainty.bands import Calibration, prediction_bands
from surrogate.uncertainty.domain import SIDE, frame_features, read_domain

#: Relative difference of ages that are equal but for the rounding of parameters.
SAME_AGE = 2e-5


class Surrogate(Protocol):
    """A learned model.

    Attributes:
        name, process, kind: of the model.
        sha256: of its weights.
        about: its ``model.json``.
        calibration: of its bands; None where it has none.
    """

    name: str
    process: str
    kind: str
    sha256: str
    about: dict[str, Any]
    calibration: Calibration | None

    def check(self, problem: Problem) -> None:
        """Raises InputError for a problem of the other process or a grid the model cannot take."""

    def forecast(
        self, problem: Problem, frames: torch.Tensor, frame_times: np.ndarray, times: np.ndarray
    ) -> torch.Tensor:
        """Later frames from earlier ones alone.

        Args:
            problem: the material; its grid is that of the frames.
            frames: (batch, n, y, x) composition or phi.
            frame_times: (n,) their times.
            times: (m,) later times, increasing.

        Returns:
            (batch, m, y, x).
        """


class JumpSurrogate:
    """A jump network with its schedule; see :class:`Surrogate`.

    Args:
        about: ``model.json``.
        tensors: weights by name.
        device: where it runs.

    Raises:
        InputError: for weights that do not fit the network's shape.
    """

    kind = "jump"

    def __init__(self, about: dict[str, Any], tensors: dict[str, torch.Tensor], device: str = "cpu") -> None:
        self.about = about
        self.name, self.process = str(about["name"]), str(about["process"])
        self.sha256 = str(about["weights_sha256"])
        self.settings = JumpSettings(**about["settings"])
        plan = about["schedule"]
        self.schedule = StepSchedule(tuple(plan["ages"]), tuple(plan["lengths"]))
        self.handover = GrainHandOver.from_dict(about.get("handover"))
        self.net = filled(JumpNet(self.settings), tensors, self.name).to(device)
        self.device = device
        self.domain = read_domain(self.process, about.get("domain") or {})
        found = about.get("calibration")
        self.calibration: Calibration | None = Calibration.from_dict(found) if found else None

    def check(self, problem: Problem) -> None:
        """See :class:`Surrogate`."""
        check_process(self, problem)
        sides = extended(problem.grid).shape
        patch = self.settings.patch
        least = patch * max(1, self.settings.kernel // 2)
        if len(sides) != 2 or any(n % patch or n < least for n in sides):
            raise InputError(
                f"model {self.name}: found a grid of {' x '.join(map(str, problem.grid.shape))} cells, "
                f"allowed two axes with multiples of {patch}, {least} or more"
            )

    def forecast(
        self, problem: Problem, frames: torch.Tensor, frame_times: np.ndarray, times: np.ndarray
    ) -> torch.Tensor:
        """See :class:`Surrogate`; only the last frame is used."""
        self.check(problem)
        batch = len(frames)
        rate = age_rate(problem, batch)
        start = float(np.asarray(frame_times)[-1]) * rate
        ages = np.asarray(times, dtype=np.float64)[None] * rate[:, None]
        return unscaled(problem, self.advance(problem, scaled(problem, frames[:, -1]), start, ages))

    def advance(
        self,
        problem: Problem,
        fields: torch.Tensor,
        start: np.ndarray,
        ages: np.ndarray,
        guard: EnergyGuard | GrainGuard | None = None,
    ) -> torch.Tensor:
        """Scaled fields (batch, y, x) at scaled ages ``start`` (batch,) to (batch, time, y, x) at ``ages``."""
        whole = extend(fields.float(), problem.grid)
        groups = group_inputs(self.process, groups_of(problem, fields)).to(self.device)
        out = torch.full((*ages.shape, *fields.shape[1:]), torch.nan)
        steps = jump_rollout(self.net, whole.to(self.device), start, ages, groups, self.schedule, guard)
        for reached in steps:
            out[reached.samples, reached.times] = reached.fields[own_cells(problem.grid)].cpu()
        return out

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
        if isinstance(problem, GrainGrowth):
            start = grain_start(problem, initial, times, self.handover)
        else:
            start = composition_start(problem, initial, times)
        ages = times.double().numpy() * age_rate(problem, len(initial))[:, None]
        later = ages > start.ages[:, None]
        field, energy = start.early.clone(), start.early_energy.clone()
        guarded = np.zeros(len(initial), dtype=np.int64)
        rows = np.flatnonzero(later.any(1))
        if len(rows):
            index = torch.from_numpy(rows)
            part = problem.take(index)
            guard = self._guard(part, len(rows))
            # Frames before the hand-over are asked for at the hand-over, and thrown away.
            asked = np.maximum(ages[rows], start.ages[rows, None])
            found = self.advance(part, start.fields[index], start.ages[rows], asked, guard)
            taken = torch.from_numpy(later[rows])
            frames = unscaled(part, found)
            energies = self._energy(part, frames)
            field[index] = torch.where(taken[:, :, None, None], frames.to(field), field[index])
            energy[index] = torch.where(taken, energies, energy[index])
            guarded[rows] = guard.replaced if guard is not None else 0
        grain_id = self._labels(problem, start, field, later)
        return self._prediction(problem, Frames(field, energy, grain_id), start, guarded, ages)

    def bands(self, prediction: Prediction, qois: Mapping[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Calibrated bands of a prediction of this model's.

        The solver's own frames, up to the hand-over, have its tolerance, that share of the value either way. Beyond the
        longest lead of the calibration bands are infinite: that is no loss of trust, nothing is known there.

        Args:
            prediction: what :meth:`rollout` returned.
            qois: name -> (batch, time) or (batch, time, extra), ``evaluate_qois`` of its frames.

        Returns:
            name -> (low, high), shaped as the quantity.

        Raises:
            InputError: if the model has no calibration, or has none of a quantity.
        """
        if self.calibration is None:
            raise InputError(
                f"model {self.name}: has no calibrated bands; `phasetwin evaluate {self.name} --calibrate` makes them"
            )
        tolerance = self.handover.tolerance if self.process == GRAIN_GROWTH else TOLERANCE
        return prediction_bands(self.calibration, prediction, qois, tolerance)

    def _guard(self, problem: Problem, batch: int) -> EnergyGuard | GrainGuard | None:
        if isinstance(problem, GrainGrowth):
            return GrainGuard(batch)
        return EnergyGuard(problem, batch) if problem.grid.boundary == "periodic" else None

    @staticmethod
    def _energy(problem: Problem, frames: torch.Tensor) -> torch.Tensor:
        return (
            grain_energy(problem, frames) if isinstance(problem, GrainGrowth) else composition_energy(problem, frames)
        )

    @staticmethod
    def _labels(problem: Problem, start: Start, field: torch.Tensor, later: np.ndarray) -> torch.Tensor | None:
        if not isinstance(problem, GrainGrowth):
            return None
        assert start.labels is not None
        found = label_basins(field, problem.grid)
        return torch.where(torch.from_numpy(later)[:, :, None, None], found.to(torch.int32), start.labels)

    def _prediction(
        self, problem: Problem, frames: Frames, start: Start, guarded: np.ndarray, ages: np.ndarray
    ) -> Prediction:
        means = scaled(problem, frames.field).double().mean((2, 3)).numpy()
        grid = problem.grid
        features = self._features(problem, start)
        trust, reasons = self.trusted(problem, start, features)
        # A frame at the hand-over is the solver's, whatever the last digits of its age.
        before = np.minimum(ages - start.ages[:, None], 0.0)
        box = np.full(len(start.fields), np.log2(np.sqrt(grid.cells) / 64.0))
        return Prediction(
            frames=frames,
            mass_drift=np.abs(means - means[:, :1]).max(1),
            energy_rises=rises(frames.free_energy),
            guarded=guarded,
            handover=start.ages,
            trust=trust,
            reasons=reasons,
            ages=ages,
            lead=np.where(ages > start.ages[:, None] * (1.0 + SAME_AGE), ages - start.ages[:, None], before),
            groups={**groups_of(problem, start.fields), "box": box},
            features=features,
            wavenumbers=structure_factor_wavenumbers(grid).numpy() * grid.spacing,
            spacing=grid.spacing,
            unit=problem.well.half_width if isinstance(problem, CahnHilliard) else 1.0,
        )

    def _features(self, problem: Problem, start: Start) -> np.ndarray:
        """(batch, feature) of the frames that the model takes over, NaN where it takes over none."""
        kappa = torch.from_numpy(kappa_in_cells(problem, len(start.fields)))
        found = frame_features(self.process, start.fields, kappa, problem.grid.boundary).numpy()
        return np.where(np.isfinite(start.ages)[:, None], found, np.nan)

    def trusted(
        self, problem: Problem, start: Start, features: np.ndarray | None = None
    ) -> tuple[np.ndarray, list[str]]:
        """Trust (batch,) float32 and the reasons against it.

        A sample is trusted whose groups and box are in the model's domain, and whose frame at the hand-over is like
        those of the training. One that the solver runs to its end needs no trust in a model.

        Args:
            problem, start: of the batch.
            features: (batch, feature) of the frames at the hand-over; None looks at the groups alone.
        """
        side = np.full(len(start.fields), self.domain.side_of(extended(problem.grid).shape))
        groups = {**groups_of(problem, start.fields), SIDE: side}
        reasons = self.domain.reasons({name: groups[name] for name in self.domain.box}, features)
        solved = ~np.isfinite(start.ages)
        reasons = ["" if alone else reason for alone, reason in zip(solved, reasons, strict=True)]
        return np.array([not reason for reason in reasons], dtype=np.float32), reasons


KINDS: dict[str, Callable[..., Any]] = {"jump": JumpSurrogate, "gsta": GstaSurrogate}


def load_surrogate(name_or_path: str | Path, device: str = "cpu") -> Any:
    """A model by registered name or path of its folder; its checksum is compared, and nothing is unpickled.

    Raises:
        InputError: for an unknown name, or files that are damaged, foreign or do not fit together.
    """
    folder = folder_of(name_or_path)
    about = read_about(folder)
    if about["kind"] not in KINDS or about["process"] not in GROUPS:
        raise InputError(f"{folder}: kind {about['kind']!r} of {about['process']!r} is not known to this version")
    return KINDS[about["kind"]](about, read_tensors(folder, about), device)
