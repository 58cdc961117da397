"""What is measured on the fields of a process: the statistics that image metrics do not see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from solvers.frames import Frames
from solvers.grains.segmentation import label_basins
from solvers.processes.cahn_hilliard import CahnHilliard
from solvers.processes.grain_growth import GrainGrowth
from solvers.qois import (
    evaluate_qois,
    grain_areas,
    mean_curvature,
    structure_factor,
)
from surrogate.evaluation import metrics

Problem = CahnHilliard | GrainGrowth

#: Quantities of each process read off its images, with what tables call them.
QUANTITIES = {
    "cahn_hilliard": {
        "domain_size": "domain size",
        "interface_density": "interface length per area",
        "free_energy": "free energy",
        "curvature": "mean curvature",
    },
    "grain_growth": {
        "grain_count": "grain count",
        "mean_grain_area": "mean grain area",
        "interface_density": "boundary length per area",
        "curvature": "mean curvature",
    },
}


def process_of(problem: Problem) -> str:
    """The name of the problem's process."""
    return "cahn_hilliard" if isinstance(problem, CahnHilliard) else "grain_growth"


@dataclass(frozen=True)
class Measures:
    """Statistics of some frames of some trajectories.

    Attributes:
        values: quantity -> (trajectory, frame), float64.
        structure_factor: (trajectory, frame, k).
        areas: per trajectory and frame, the areas of its grains; empty lists for Cahn-Hilliard.
    """

    values: dict[str, np.ndarray]
    structure_factor: np.ndarray
    areas: list[list[np.ndarray]]

    def joined(self, other: Measures) -> Measures:
        """These trajectories, then the other's."""
        return Measures(
            {name: np.concatenate([value, other.values[name]]) for name, value in self.values.items()},
            np.concatenate([self.structure_factor, other.structure_factor]),
            self.areas + other.areas,
        )

    def lengths(self) -> np.ndarray:
        """The growing length of the process (trajectory, frame): domain size, or the root of the mean grain area."""
        if "domain_size" in self.values:
            return self.values["domain_size"]
        return np.sqrt(self.values["mean_grain_area"])


def measure(problem: Problem, fields: torch.Tensor) -> Measures:
    """Everything in :data:`QUANTITIES`, from the fields alone, so that truth and forecast are measured alike.

    Grains are found in phi (:func:`solvers.grains.segmentation.label_basins`, a few per cent fewer than the solver
    tracks). The free energy of Cahn-Hilliard is that of the fields on their own grid; that of grain growth
    needs order parameters, which images lack. Curvature for grains: of the level lines of phi on both sides of every
    boundary.

    Args:
        problem: with (batch,) parameters or floats.
        fields: (batch, frame, y, x).

    Returns:
        Measures of ``batch`` trajectories.
    """
    grid = problem.grid
    nothing = fields.new_full(fields.shape[:2], torch.nan)
    if isinstance(problem, CahnHilliard):
        frames = Frames(fields, problem.free_energy(fields), None)
        curvature = mean_curvature(fields, grid)
        areas: list[list[np.ndarray]] = [[] for _ in fields]
    else:
        grain_id = label_basins(fields, problem.grid)
        frames = Frames(fields, nothing, grain_id)
        gamma = torch.as_tensor(problem.gamma, dtype=fields.dtype)
        middle = 2.0 / (1.0 + 2.0 * gamma)
        curvature = mean_curvature(fields, grid, 0.5 * (1.0 + middle), 0.5 * (1.0 - middle))
        table = grain_areas(grain_id, grid).numpy()
        areas = [[row[row > 0] for row in rows] for rows in table]
    found = {**evaluate_qois(problem, frames), "curvature": curvature}
    values = {name: found[name].double().numpy() for name in QUANTITIES[process_of(problem)]}
    return Measures(values, structure_factor(fields, grid)[1].double().numpy(), areas)


@dataclass(frozen=True)
class PhysicsErrors:
    """Errors of a forecast's statistics against the reference's, frame by frame.

    Attributes:
        ensemble: quantity -> (frame,), of the mean over trajectories, relative. Also ``structure_factor`` (relative
            L2 of the mean S(k)) and for grains ``area_distribution`` (Wasserstein-1 of the pooled areas over their
            mean).
        single: quantity -> (frame,), mean of the relative errors of single trajectories, where that is defined.
    """

    ensemble: dict[str, np.ndarray]
    single: dict[str, np.ndarray]


def errors(forecast: Measures, reference: Measures) -> PhysicsErrors:
    """How far a forecast's statistics are off."""
    ensemble = {name: metrics.ensemble_error(forecast.values[name], ref) for name, ref in reference.values.items()}
    ensemble["structure_factor"] = metrics.structure_factor_error(forecast.structure_factor, reference.structure_factor)
    single = {name: metrics.trajectory_error(forecast.values[name], ref) for name, ref in reference.values.items()}
    if any(reference.areas):
        ensemble["area_distribution"] = _area_distances(forecast.areas, reference.areas)
    return PhysicsErrors(ensemble, single)


def floor(reference: Measures) -> dict[str, np.ndarray]:
    """Quantity -> (frame,): the same errors between the halves of the reference trajectories."""
    found = {name: metrics.ensemble_floor(values) for name, values in reference.values.items()}
    found["structure_factor"] = metrics.structure_factor_floor(reference.structure_factor)
    if any(reference.areas):
        half = len(reference.areas) // 2
        found["area_distribution"] = _area_distances(reference.areas[:half], reference.areas[half : 2 * half])
    return found


def _area_distances(areas: list[list[np.ndarray]], reference: list[list[np.ndarray]]) -> np.ndarray:
    """(frame,) distances of the areas of all trajectories together; NaN without any trajectory."""
    if not areas or not reference:
        return np.array([np.nan])
    frames = range(len(reference[0]))
    return np.array([metrics.area_distance(_pooled(areas, f), _pooled(reference, f)) for f in frames])


def _pooled(areas: list[list[np.ndarray]], frame: int) -> np.ndarray:
    return np.concatenate([rows[frame] for rows in areas])
