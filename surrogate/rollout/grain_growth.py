"""Grain growth as learned models know it; see :class:`surrogate.processes.LearnedProcess`."""

# Methods take what any process may need of them.
# ruff: noqa: ARG002

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch

from solvers import Frames, GrainGrowth
from solvers.grains.segmentation import label_basins
from solvers.grains.simulation import solve_grains
from solvers.qois import evaluate_qois, grain_areas, mean_curvature
from solvers.qois.energy import RISE
from surrogate.processes import FirstFrames, FirstStage, LearnedProcess, kappa_in_cells
from surrogate.rollout.stepping import Guard
from surrogate.uncertainty.frame_features import (
    NO_INTERFACE,
    TINY,
    high_wavenumber_share,
    low_quantile,
    power_spectrum,
    roughness,
)

#: M W t at which boundaries have formed: from there on the mean of 1 - phi falls, and the energy follows from it.
FORMED = 2.0
#: Share of their energy that boundaries lose to junctions, over the mean of 1 - phi: fitted to the training sweeps.
_JUNCTIONS = 0.143
_EXTREMES = 0.005  # quantiles in place of extremes, which grow with the number of cells


class GrainGrowthProcess(LearnedProcess[GrainGrowth]):
    """See the module's text."""

    name = "grain_growth"
    title = "grain growth"
    groups = ("kappa", "gamma")
    features = (
        "log mean of 1 - phi",
        "log boundary density times interface length",
        "low quantile of phi",
        "high quantile of phi",
        "log10 share of energy at the highest wavenumbers",
        "log10 roughness of the smoothest cells",
        "log kappa in cells",
    )
    feature_floors = (0.02, 0.02, 0.01, 0.005, 0.1, 0.1, 0.05)
    quantities = ("free_energy", "grain_count", "mean_grain_area", "interface_density")
    age_powers = (1.0, 0.0)
    start_parameter = "grains"
    random_start = "voronoi"
    start_field = "grain_id"
    horizons = (90, 190)
    image_quantities: ClassVar[dict[str, str]] = {
        "grain_count": "grain count",
        "mean_grain_area": "mean grain area",
        "interface_density": "boundary length per area",
        "curvature": "mean curvature",
    }
    growing_length_name = "root of the mean grain area"
    measurement_limits = (
        "Grains are found in phi: counts are a few per cent below what a solver that tracks them reports.",
    )

    def age_per_time(self, mobility: np.ndarray, kappa: np.ndarray, spacing: float) -> np.ndarray:
        return mobility * kappa

    def unit_mobility(self, kappa: np.ndarray) -> np.ndarray:
        return 1.0 / kappa

    def scaled_time(self, mobility: np.ndarray, height: float, spacing: float) -> np.ndarray:
        return mobility

    def problem_groups(self, problem: GrainGrowth, fields: torch.Tensor) -> dict[str, np.ndarray]:
        batch = len(fields)
        gamma = torch.as_tensor(problem.gamma, dtype=torch.float64)
        return {"kappa": kappa_in_cells(problem, batch), "gamma": gamma.expand(batch).cpu().numpy()}

    def group_inputs(self, groups: Mapping[str, np.ndarray]) -> torch.Tensor:
        columns = [np.log2(groups["kappa"]), 2.0 * (groups["gamma"] - 1.5)]
        return torch.from_numpy(np.stack(columns, axis=1).astype(np.float32))

    def to_image(self, fields: torch.Tensor) -> torch.Tensor:
        """phi clipped to [0, 1]: it overshoots 1 by less than 0.1 % inside grains."""
        return fields.clamp(0.0, 1.0)

    def from_image(self, images: torch.Tensor) -> torch.Tensor:
        return images

    def measure(
        self, problem: GrainGrowth, fields: torch.Tensor
    ) -> tuple[Mapping[str, torch.Tensor], list[list[np.ndarray]] | None]:
        """Curvature is that of the level lines of phi on both sides of every boundary.

        The free energy needs order parameters, which images lack.
        """
        labels = self.labels(problem, fields)
        assert labels is not None
        values = evaluate_qois(problem, Frames(fields, fields.new_full(fields.shape[:2], torch.nan), labels))
        gamma = torch.as_tensor(problem.gamma, dtype=fields.dtype)
        middle = 2.0 / (1.0 + 2.0 * gamma)
        curvature = mean_curvature(fields, problem.grid, 0.5 * (1.0 + middle), 0.5 * (1.0 - middle))
        areas = [[row[row > 0] for row in rows] for rows in grain_areas(labels, problem.grid).numpy()]
        return {**values, "curvature": curvature}, areas

    def growing_length(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.sqrt(values["mean_grain_area"])

    def first_frames(
        self, problem: GrainGrowth, initial: torch.Tensor, times: torch.Tensor, stage: FirstStage
    ) -> FirstFrames:
        batch, count = times.shape
        age = np.maximum(stage.age, FORMED * kappa_in_cells(problem, batch))
        moment = torch.from_numpy(age / self.age_rate(problem, batch))[:, None]
        after = times.double() > moment
        # Only what is asked for up to there: a frame costs as much as a step.
        columns = torch.from_numpy(np.flatnonzero((~after).any(0).numpy()))
        rows = torch.cat([torch.minimum(times.double()[:, columns], moment), moment], dim=1)
        frames = solve_grains(problem, initial, rows, stage.tolerance, dtype=torch.float32).frames
        assert frames.grain_id is not None
        early = torch.full((batch, count, *initial.shape[1:]), torch.nan, dtype=frames.field.dtype)
        energy = torch.full((batch, count), torch.nan, dtype=torch.float64)
        labels = torch.full((batch, count, *initial.shape[1:]), -1, dtype=frames.grain_id.dtype)
        gone = after[:, columns]
        early[:, columns] = frames.field[:, :-1].masked_fill(gone[:, :, None, None], torch.nan)
        energy[:, columns] = frames.free_energy[:, :-1].double().masked_fill(gone, torch.nan)
        labels[:, columns] = frames.grain_id[:, :-1].masked_fill(gone[:, :, None, None], -1)
        ages = np.where(after.any(1).numpy(), age, np.inf)
        return FirstFrames(frames.field[:, -1], ages, early, energy, labels)

    def first_tolerance(self, stage: FirstStage) -> float:
        return stage.tolerance

    def taken_over(self, fields: torch.Tensor, ages: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(ages >= FirstStage().age).expand(len(fields), -1)

    def trainable(self, fields: np.ndarray, ages: np.ndarray, groups: Mapping[str, np.ndarray]) -> np.ndarray:
        """All but the start: a tessellation's boundaries form in the first moments, which the solver does."""
        return np.tile(ages > 0.0, (len(fields), 1))

    def energy(self, problem: GrainGrowth, frames: torch.Tensor) -> torch.Tensor:
        """From phi alone.

        Across a straight boundary the integral of the energy density (W = 1) is a third of that of 1 - phi: exactly so
        at gamma 1.5, where eta = (1 - tanh(x / sqrt(2 kappa))) / 2, and to 0.2 % from 1 to 2. Junctions, where
        boundaries share what they would have alone, lower it by a share that grows with their density. Against the
        solver's energies of 240 training trajectories, from M W t = 2 on: 0.6 % root mean square.
        """
        excess = boundary_excess(frames)
        return problem.grid.cells * problem.grid.cell_volume / 3.0 * excess * (1.0 - _JUNCTIONS * excess)

    def guard(self, problem: GrainGrowth, batch: int) -> Guard | None:
        return BoundaryGuard(batch)

    def labels(self, problem: GrainGrowth, frames: torch.Tensor) -> torch.Tensor | None:
        """Basins of the maxima of phi."""
        return label_basins(frames, problem.grid)

    def band_floors(self, groups: Mapping[str, np.ndarray], spacing: float) -> dict[str, np.ndarray]:
        """Values of one boundary across the box.

        A box ends as one grain, without boundaries, at a time of its own: relative errors then have no bound.
        """
        side = 64.0 * 2.0 ** np.asarray(groups["box"])
        # Energy of a boundary at gamma = 3/2 for its length: sqrt(2 kappa) / 3 (Moelans 2008).
        energy = np.sqrt(2.0 * np.asarray(groups["kappa"])) / 3.0 * side * spacing**2
        return {"free_energy": energy, "interface_density": 1.0 / (side * spacing)}

    def periodic_features(self, field: torch.Tensor, kappa: torch.Tensor) -> torch.Tensor:
        power, _ = power_spectrum(field)
        slope = torch.hypot(*((field.roll(-1, axis) - field.roll(1, axis)) / 2 for axis in (1, 2)))
        cells = field.flatten(1)
        columns = [
            ((1 - cells).mean(1).clamp_min(0.0) + NO_INTERFACE).log(),
            (slope.mean((1, 2)) * kappa.sqrt() + NO_INTERFACE).log(),
            low_quantile(cells, _EXTREMES),
            -low_quantile(-cells, _EXTREMES),
            high_wavenumber_share(power, power.sum((1, 2)).clamp_min(TINY)),
            roughness(field),
            kappa.log(),
        ]
        return torch.stack(columns, 1)


PROCESS = GrainGrowthProcess()


def boundary_excess(phi: torch.Tensor) -> torch.Tensor:
    """Mean of 1 - phi over (..., y, x), float64: proportional to boundary length, hence to the energy of grains."""
    return (1.0 - phi.double()).mean((-2, -1))


class BoundaryGuard:
    """Keeps the free energy of grains from rising.

    The last frame of a step may have no more boundary than the frame before the step, and those between lie between;
    where it is otherwise, what phi lacks to 1 is multiplied by a number close to 1.
    """

    def __init__(self, batch: int) -> None:
        self.replaced = np.zeros(batch, dtype=np.int64)

    def __call__(
        self,
        samples: np.ndarray,
        before: torch.Tensor,
        owners: np.ndarray,
        lengths: np.ndarray,
        frames: torch.Tensor,
    ) -> tuple[torch.Tensor, np.ndarray]:
        known, found = boundary_excess(before).cpu().numpy(), boundary_excess(frames).cpu().numpy()
        allowed = found.copy()
        for position in range(len(samples)):
            rows = np.flatnonzero(owners == position)
            if not len(rows):
                continue
            order = rows[np.argsort(lengths[rows], kind="stable")]
            last = min(found[order[-1]], known[position])
            allowed[order] = np.clip(np.minimum.accumulate(found[order]), last, known[position])
        share = np.divide(allowed, found, out=np.ones_like(found), where=found > 0.0)
        changed = np.flatnonzero(np.abs(share - 1.0) > 0.1 * RISE)
        self.replaced[samples[np.unique(owners[changed])]] += 1
        factor = torch.from_numpy(share[changed]).to(frames)[:, None, None]
        index = torch.from_numpy(changed)
        frames[index] = 1.0 - (1.0 - frames[index]) * factor
        return frames, np.full(len(frames), np.nan)
