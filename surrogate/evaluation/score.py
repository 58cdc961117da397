"""A model's figures in one case: images frame by frame, statistics at some frames, mass, cost."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch

from solvers.errors import InputError
from surrogate.evaluation import metrics
from surrogate.evaluation.cases import Case
from surrogate.evaluation.forecasters import Forecaster, Persistence
from surrogate.evaluation.physics import Measures, measure

logger = logging.getLogger("phasetwin")


@dataclass(frozen=True)
class Images:
    """Image metrics of one forecast: ``rmse`` and ``ssim`` (film, frame)."""

    rmse: np.ndarray
    ssim: np.ndarray

    def until(self, frames: int) -> Images:
        """The first ``frames`` frames."""
        return Images(self.rmse[:, :frames], self.ssim[:, :frames])


@dataclass(frozen=True)
class Sample:
    """The first film at a few forecast frames, as images.

    Attributes:
        frames: (n,) numbers of forecast frames, from 1.
        truth, forecast: (n, y, x).
    """

    frames: np.ndarray
    truth: np.ndarray
    forecast: np.ndarray


@dataclass(frozen=True)
class Scores:
    """Everything measured on a model's forecasts of a case.

    Attributes:
        model: its name.
        case: what was forecast.
        images, persistence: image metrics at every forecast frame, of the model and of no change at all.
        other_seed: of one reference film taken for another, at ``sampled`` frames: what is left when nothing of a
            film is known but its statistics. NaN for a single film.
        uniform: of each frame's own mean value, at ``sampled`` frames: what the most blurred of forecasts scores.
        sampled: (n,) indices of the forecast frames at which statistics were taken.
        forecast, reference, unchanged: statistics of the model's frames, of the truth, and of persistence.
        mass_drift: (film, frame), |mean - mean of the last frame seen|, in units of the field.
        mass_drift_reference: the same of the truth.
        wall_s: seconds that all forecasts took.
        threads: torch threads.
        batch: films forecast together.
        sample: for pictures.
    """

    model: str
    case: Case
    images: Images
    persistence: Images
    other_seed: Images
    uniform: Images
    sampled: np.ndarray
    forecast: Measures
    reference: Measures
    unchanged: Measures
    mass_drift: np.ndarray
    mass_drift_reference: np.ndarray
    wall_s: float
    threads: int
    batch: int
    sample: Sample

    @property
    def ms_per_frame(self) -> float:
        """Milliseconds for each frame of each film, in batches of ``batch``."""
        return 1e3 * self.wall_s / self.images.rmse.size


@dataclass(frozen=True)
class _Part:
    """The measurements of one batch."""

    images: Images
    persistence: Images
    forecast: Measures
    reference: Measures
    unchanged: Measures
    drift: tuple[np.ndarray, np.ndarray]
    truth_sampled: torch.Tensor
    sample: Sample
    wall_s: float


def score(model: Forecaster, case: Case) -> Scores:
    """Lets a model continue every film of a case and measures the result.

    Args:
        model: of the case's process.
        case: the films.

    Raises:
        InputError: for a model of the other process, or one that cannot take the case's grid or returns something
            of another shape.
    """
    if model.process != case.process:
        raise InputError(f"{model.name}: a model of {model.process}, but {case.name} is {case.process}")
    batches = case.batches()
    parts = []
    for batch, part in zip(batches, _parts(model, case, batches), strict=True):
        parts.append(part)
        done = f"{batch[-1] + 1} of {case.count} films, {1e3 * part.wall_s / part.images.rmse.size:.3g} ms a frame"
        logger.info(f"{case.name}: {done}, RMSE {part.images.rmse.mean():.3f}")
    truth = torch.cat([part.truth_sampled for part in parts])
    return Scores(
        model=model.name,
        case=case,
        images=_stacked([part.images for part in parts]),
        persistence=_stacked([part.persistence for part in parts]),
        other_seed=_other_seed(truth, case),
        uniform=_uniform(truth, case),
        sampled=case.sampled(),
        forecast=reduce(Measures.joined, (part.forecast for part in parts)),
        reference=reduce(Measures.joined, (part.reference for part in parts)),
        unchanged=reduce(Measures.joined, (part.unchanged for part in parts)),
        mass_drift=np.concatenate([part.drift[0] for part in parts]),
        mass_drift_reference=np.concatenate([part.drift[1] for part in parts]),
        wall_s=sum(part.wall_s for part in parts),
        threads=torch.get_num_threads(),
        batch=len(batches[0]),
        sample=parts[0].sample,
    )


def _parts(model: Forecaster, case: Case, batches: list[list[int]]) -> Iterator[_Part]:
    nothing = Persistence(case.process)
    for number, batch in enumerate(batches):
        problem, fields = case.problem(batch), case.fields(batch)
        seen, truth = fields[:, : case.n_in], fields[:, case.n_in :]
        ages = case.times[: case.n_in]
        if number == 0:  # what is compiled or cached at the first call is no cost of a frame
            model.forecast(problem, seen, ages, case.later[:1])
        started = time.perf_counter()
        forecast = model.forecast(problem, seen, ages, case.later)
        wall = time.perf_counter() - started
        if forecast.shape != truth.shape:
            raise InputError(f"{model.name}: a forecast of {tuple(truth.shape)}, but got {tuple(forecast.shape)}")
        forecast = forecast.to(truth)
        unchanged = nothing.forecast(problem, seen, ages, case.later)
        at = torch.from_numpy(case.sampled())
        still = measure(problem, unchanged[:, :1])
        yield _Part(
            images=_compare(forecast, truth, case),
            persistence=_compare(unchanged, truth, case),
            forecast=measure(problem, forecast[:, at]),
            reference=measure(problem, truth[:, at]),
            unchanged=_repeated(still, len(at)),
            drift=(
                metrics.mass_drift(forecast, seen[:, -1]).numpy(),
                metrics.mass_drift(truth, seen[:, -1]).numpy(),
            ),
            truth_sampled=metrics.to_image(truth[:, at], case.process),
            sample=_sample(forecast[0], truth[0], case),
            wall_s=wall,
        )


def _compare(fields: torch.Tensor, truth: torch.Tensor, case: Case) -> Images:
    image, reference = (metrics.to_image(f, case.process) for f in (fields, truth))
    return Images(metrics.rmse(image, reference).numpy(), metrics.ssim(image, reference, case.edges).numpy())


def _stacked(parts: list[Images]) -> Images:
    return Images(np.concatenate([part.rmse for part in parts]), np.concatenate([part.ssim for part in parts]))


def _other_seed(truth: torch.Tensor, case: Case) -> Images:
    """Each film taken for the next one."""
    if len(truth) < 2:
        nothing = np.full(truth.shape[:2], np.nan)
        return Images(nothing, nothing)
    other = truth.roll(1, 0)
    return Images(metrics.rmse(other, truth).numpy(), metrics.ssim(other, truth, case.edges).numpy())


def _uniform(truth: torch.Tensor, case: Case) -> Images:
    """Each frame taken for its mean value."""
    flat = truth.mean((-2, -1), keepdim=True).expand_as(truth)
    return Images(metrics.rmse(flat, truth).numpy(), metrics.ssim(flat, truth, case.edges).numpy())


def _repeated(still: Measures, frames: int) -> Measures:
    """The statistics of one frame as those of ``frames`` equal ones."""
    return Measures(
        {name: np.repeat(value, frames, axis=1) for name, value in still.values.items()},
        np.repeat(still.structure_factor, frames, axis=1),
        [row * frames for row in still.areas],
    )


def _sample(forecast: torch.Tensor, truth: torch.Tensor, case: Case) -> Sample:
    """Four frames: the first, one in between, and the ends of the horizons (or as near as there are)."""
    last = len(truth)
    chosen = np.unique([1, max(1, last // 5), *case.horizons[:1], last])
    at = torch.from_numpy(chosen - 1)
    images = [metrics.to_image(f[at], case.process).numpy() for f in (truth, forecast)]
    return Sample(chosen, images[0], images[1])
