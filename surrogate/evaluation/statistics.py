"""How far statistics are off: quantities of interest, structure factors and grain areas, against those of the truth.

An ensemble is the mean over trajectories; its floor is the difference between the halves of the truth, which differ in
their starts: an error below it is not resolved by that many trajectories.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch

from solvers.errors import InputError
from solvers.frames import Frames
from solvers.processes.base import Problem
from solvers.qois import evaluate_qois, structure_factor
from surrogate.processes import learned_process

#: Quantity -> (trajectory, time), float64.
Values = dict[str, np.ndarray]
T = TypeVar("T")


def quantities(problem: Problem, frames: Frames, at: torch.Tensor | slice = slice(None)) -> Values:
    """The quantities that models of the process are compared by, at some of the times."""
    grain_id = None if frames.grain_id is None else frames.grain_id[:, at]
    values = evaluate_qois(problem, Frames(frames.field[:, at], frames.free_energy[:, at], grain_id))
    return {name: values[name].double().cpu().numpy() for name in learned_process(problem.process).quantities}


def joined(parts: Sequence[T]) -> T:
    """The trajectories of all parts: arrays, tensors and lists joined, also within mappings, tuples and dataclasses.

    Numbers and texts are those of the first part, and so is a dataclass within one that all parts share.
    """
    every: Sequence[Any] = parts
    first: Any = every[0]
    found: Any = first
    if isinstance(first, np.ndarray):
        found = np.concatenate(every)
    elif isinstance(first, torch.Tensor):
        found = torch.cat(list(every))
    elif isinstance(first, list):
        found = [row for part in every for row in part]
    elif isinstance(first, tuple):
        found = tuple(joined(column) for column in zip(*every, strict=True))
    elif isinstance(first, Mapping):
        found = {name: joined([part[name] for part in every]) for name in first}
    elif is_dataclass(first) and not isinstance(first, type):
        own = {f.name: [getattr(part, f.name) for part in every] for f in fields(first)}
        shared = {name for name, values in own.items() if is_dataclass(values[0]) and len(set(map(id, values))) == 1}
        found = replace(first, **{name: joined(values) for name, values in own.items() if name not in shared})
    return found  # type: ignore[no-any-return]


def _over(error: np.ndarray, size: np.ndarray) -> np.ndarray:
    """error / |size|; NaN where the size is zero, for a relative error has no meaning there."""
    return np.divide(error, np.abs(size), out=np.full(np.shape(error), np.nan), where=np.asarray(size) != 0)


def relative_l2(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """|values - reference| / |reference| over the last axis: two (..., k) -> (...)."""
    return _over(np.linalg.norm(values - reference, axis=-1), np.linalg.norm(reference, axis=-1))


def trajectory_error(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Relative error of each trajectory, averaged over them: two (trajectory, ...) -> (...)."""
    return _over(np.abs(values - reference), reference).mean(0)


def ensemble_error(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Relative error of the mean over trajectories: two (trajectory, ...) -> (...), |<v> - <r>| / |<r>|."""
    return _over(np.abs(values.mean(0) - reference.mean(0)), reference.mean(0))


def half_means(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means over each half of the trajectories, (trajectory, ...) -> two (...); NaN for fewer than 2."""
    half = len(values) // 2
    if not half:
        return np.full(values.shape[1:], np.nan), np.full(values.shape[1:], np.nan)
    return values[:half].mean(0), values[half : 2 * half].mean(0)


def ensemble_floor(reference: np.ndarray) -> np.ndarray:
    """Relative difference of the means of the halves: (trajectory, ...) -> (...); NaN for fewer than 2."""
    first, second = half_means(reference)
    return _over(np.abs(first - second), reference.mean(0))


def structure_factor_error(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Relative L2 error of S(k) averaged over trajectories, shells counted once: two (trajectory, ..., k) -> (...)."""
    return relative_l2(values.mean(0), reference.mean(0))


def structure_factor_floor(reference: np.ndarray) -> np.ndarray:
    """The same between the halves of the truth: (trajectory, ..., k) -> (...); NaN for fewer than 2."""
    return relative_l2(*half_means(reference))


def area_distance(areas: np.ndarray, reference: np.ndarray) -> float:
    """Wasserstein-1 distance of two distributions of grain areas, (n,) and (m,), over the reference's mean area; NaN
    where either is empty."""
    from scipy.stats import wasserstein_distance

    if areas.size == 0 or reference.size == 0:
        return math.nan
    return float(wasserstein_distance(areas, reference) / reference.mean())


def growth_exponent(lengths: np.ndarray, times: np.ndarray) -> np.ndarray:
    """n of L = A t^n by least squares of log L against log t: positive (..., time) and (time,) -> (...).

    Raises:
        InputError: for fewer than two times, or times that are not positive.
    """
    times = np.asarray(times, dtype=float)
    if times.size < 2 or times.min() <= 0:
        raise InputError(f"times: at least two, all positive, but got {times}")
    log_time = np.log(times) - np.log(times).mean()
    return (np.log(lengths) * log_time).sum(-1) / np.square(log_time).sum()


def mass_drift(frames: torch.Tensor, first: torch.Tensor) -> np.ndarray:
    """Change of the spatial mean: (batch, time, y, x) against (batch, y, x) -> (batch, time), in float64."""
    return (frames.double().mean((-2, -1)) - first.double().mean((-2, -1))[:, None]).abs().numpy()


def field_errors(problem: Problem, frames: torch.Tensor, truth: torch.Tensor) -> np.ndarray:
    """rms(field - truth) / rms(truth - its mean) of each frame, in the network's units: 1 is what a uniform one has.

    Two (trajectory, time, y, x) -> (trajectory, time) float64.
    """
    process = learned_process(problem.process)
    found, expected = (process.to_network(problem, f).double() for f in (frames, truth))
    difference = (found - expected).square().mean((2, 3)).sqrt()
    return (difference / expected.std((2, 3), correction=0)).numpy()


@dataclass(frozen=True)
class ImageStatistics:
    """Statistics read off the frames of some trajectories, (trajectory, frame) each.

    ``structure_factor`` is (trajectory, frame, k); ``areas`` are those of the grains by trajectory and frame, empty
    lists for a process without; ``lengths`` the growing length of the process.
    """

    values: Values
    structure_factor: np.ndarray
    areas: list[list[np.ndarray]]
    lengths: np.ndarray

    def repeated(self, frames: int) -> ImageStatistics:
        """Those of one frame as those of ``frames`` equal ones."""
        return ImageStatistics(
            {name: np.repeat(value, frames, axis=1) for name, value in self.values.items()},
            np.repeat(self.structure_factor, frames, axis=1),
            [row * frames for row in self.areas],
            np.repeat(self.lengths, frames, axis=1),
        )

    def pooled_areas(self, frame: int) -> np.ndarray:
        return np.concatenate([row[frame] for row in self.areas])


def measure(problem: Problem, frames: torch.Tensor) -> ImageStatistics:
    """The statistics of fields (batch, frame, y, x), from the fields alone: truth and forecast are measured alike."""
    process = learned_process(problem.process)
    values, areas = process.measure(problem, frames)
    found = {name: values[name].double().numpy() for name in process.image_quantities}
    factor = structure_factor(frames, problem.grid)[1].double().numpy()
    return ImageStatistics(found, factor, areas or [[] for _ in frames], process.growing_length(found))


@dataclass(frozen=True)
class StatisticErrors:
    """Relative errors of a forecast's statistics, quantity -> (frame,): of the mean over trajectories and of single
    ones.

    ``ensemble`` has ``structure_factor`` too (L2 of the mean S(k)), and for grains ``area_distribution`` (Wasserstein-1
    of the pooled areas over their mean); ``single`` is a mean, where that is defined.
    """

    ensemble: Values
    single: Values


def errors(forecast: ImageStatistics, reference: ImageStatistics) -> StatisticErrors:
    ensemble = {name: ensemble_error(forecast.values[name], ref) for name, ref in reference.values.items()}
    ensemble["structure_factor"] = structure_factor_error(forecast.structure_factor, reference.structure_factor)
    single = {name: trajectory_error(forecast.values[name], ref) for name, ref in reference.values.items()}
    if any(reference.areas):
        ensemble["area_distribution"] = _area_distances(forecast.areas, reference.areas)
    return StatisticErrors(ensemble, single)


def floor(reference: ImageStatistics) -> Values:
    """Quantity -> (frame,): the same errors between the halves of the reference trajectories."""
    found = {name: ensemble_floor(values) for name, values in reference.values.items()}
    found["structure_factor"] = structure_factor_floor(reference.structure_factor)
    if any(reference.areas):
        half = len(reference.areas) // 2
        found["area_distribution"] = _area_distances(reference.areas[:half], reference.areas[half : 2 * half])
    return found


def _area_distances(areas: list[list[np.ndarray]], reference: list[list[np.ndarray]]) -> np.ndarray:
    """(frame,) distances of the areas of all trajectories together; NaN without any trajectory."""
    if not areas or not reference:
        return np.array([np.nan])
    frames = zip(zip(*areas, strict=True), zip(*reference, strict=True), strict=True)
    return np.array([area_distance(np.concatenate(found), np.concatenate(true)) for found, true in frames])
