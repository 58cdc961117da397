"""A model as the engine of a sweep: run from the start, with its own energies, grains and counters."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

import numpy as np
import torch

from solvers.frames import Frames
from solvers.qois import evaluate_qois
from solvers.qois.energy import energy_rises
from surrogate.evaluation import metrics
from surrogate.evaluation.forecasters import Engine
from surrogate.evaluation.physics import process_of
from surrogate.evaluation.protocol import Protocol
from surrogate.evaluation.references import References

logger = logging.getLogger("phasetwin")

_QUANTITIES = {
    "cahn_hilliard": ("free_energy", "domain_size", "interface_density"),
    "grain_growth": ("free_energy", "grain_count", "mean_grain_area", "interface_density"),
}


@dataclass(frozen=True)
class EngineScores:
    """What a rollout from the start comes to.

    Attributes:
        process: of the model.
        errors: quantity -> (mean, worst) over the frames of the relative error of the mean over trajectories, and
            the seed-to-seed floor.
        mass_drift: (trajectory,) the largest, as the model counts it.
        energy_rises: (trajectory,) frames at which the free energy rose, as the model counts them.
        energy_rises_reference: (trajectory,) the same of the reference, counted here.
        guarded: (trajectory,) steps handed to the solver.
        trust: (trajectory,).
        frames: frames of each trajectory.
        ms_per_frame: of the whole rollout, with what the solver did of it.
        reference_ms_per_frame: of the reference solver, one trajectory at a time.
        threads: torch threads of the model's run.
    """

    process: str
    errors: dict[str, tuple[float, float, float]]
    mass_drift: np.ndarray
    energy_rises: np.ndarray
    energy_rises_reference: np.ndarray
    guarded: np.ndarray
    trust: np.ndarray
    frames: int
    ms_per_frame: float
    reference_ms_per_frame: float
    threads: int

    def counters(self) -> dict[str, float]:
        """Label -> value."""
        return {
            "mass drift, largest": float(self.mass_drift.max()),
            "share of frames at which the free energy rose": float(self.energy_rises.sum() / self._all),
            "the same, reference": float(self.energy_rises_reference.sum() / self._all),
            "steps changed by the energy guard, mean": float(self.guarded.mean()),
            "trust, smallest": float(self.trust.min()),
            f"ms a frame, solver's first frames included, threads: {self.threads}": self.ms_per_frame,
            "ms a frame, reference solver": self.reference_ms_per_frame,
        }

    @property
    def _all(self) -> int:
        return len(self.energy_rises) * (self.frames - 1)


def score_engine(model: Engine, protocol: Protocol, references: References, trajectories: int) -> EngineScores:
    """Runs every trajectory from its start and compares with the references.

    Raises:
        InputError: whatever the model raises for a problem that it cannot take.
    """
    size = max(1, 2**16 // protocol.grid.cells)
    batches = [list(range(i, min(i + size, trajectories))) for i in range(0, trajectories, size)]
    found, truth, counts, wall, reference_wall = [], [], [], 0.0, 0.0
    # Frames that go in, and every tenth of the forecast.
    at = torch.arange(protocol.n_in - 1, len(protocol.times), max(1, len(protocol.times) // 20))
    for batch in batches:
        problem, reference = protocol.problem(batch), references.load(batch)
        rows = torch.from_numpy(np.tile(protocol.times, (len(batch), 1)))
        started = time.perf_counter()
        prediction = model.rollout(problem, protocol.initial(batch), rows)
        wall += time.perf_counter() - started
        reference_wall += float(reference.wall_s.sum())
        found.append(_qois(problem, prediction.frames, at))
        truth.append(_qois(problem, reference.frames, at))
        risen = energy_rises(reference.frames.free_energy.numpy())
        counters = (prediction.mass_drift, prediction.energy_rises, prediction.guarded, prediction.trust, risen)
        counts.append([np.asarray(c) for c in counters])
        logger.info(f"{protocol.name}: {batch[-1] + 1} of {trajectories} rolled out from the start")
    mass, rises, guarded, trust, risen = (np.concatenate(c) for c in zip(*counts, strict=True))
    frames = len(protocol.times)
    return EngineScores(
        process=protocol.process,
        errors=_errors(found, truth),
        mass_drift=mass,
        energy_rises=rises,
        energy_rises_reference=risen,
        guarded=guarded,
        trust=trust,
        frames=frames,
        ms_per_frame=1e3 * wall / (frames * trajectories),
        reference_ms_per_frame=1e3 * reference_wall / (frames * trajectories),
        threads=torch.get_num_threads(),
    )


def _qois(problem: object, frames: Frames, at: torch.Tensor) -> dict[str, np.ndarray]:
    """Quantity -> (trajectory, frame) at some frames."""
    grain_id = None if frames.grain_id is None else frames.grain_id[:, at]
    some = Frames(frames.field[:, at], frames.free_energy[:, at], grain_id)
    values = evaluate_qois(problem, some)  # type: ignore[arg-type]
    return {name: values[name].double().numpy() for name in _QUANTITIES[process_of(problem)]}  # type: ignore[arg-type]


def _errors(
    found: list[dict[str, np.ndarray]], truth: list[dict[str, np.ndarray]]
) -> dict[str, tuple[float, float, float]]:
    errors = {}
    for name in truth[0]:
        values, reference = (np.concatenate([part[name] for part in parts]) for parts in (found, truth))
        error, floor = metrics.ensemble_error(values, reference), metrics.ensemble_floor(reference)
        errors[name] = (float(error.mean()), float(error.max()), float(floor.mean()))
    return errors
