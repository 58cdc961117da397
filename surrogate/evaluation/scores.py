"""Everything measured on a model in one case: its forecasts, and its rollouts from the start as a sweep uses it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch

from solvers.errors import InputError
from solvers.qois.energy import energy_rises
from surrogate.evaluation import statistics
from surrogate.evaluation.candidates import Forecaster, Persistence, RolloutModel, timed, without_frames
from surrogate.evaluation.cases import ForecastCase
from surrogate.evaluation.image_metrics import ImageErrors
from surrogate.evaluation.protocol import Protocol
from surrogate.evaluation.references import CACHE, References
from surrogate.evaluation.statistics import ImageStatistics, Values
from surrogate.processes import AnyProcess, learned_process
from surrogate.rollout.prediction import Prediction

logger = logging.getLogger("phasetwin")


@dataclass(frozen=True)
class ForecastSample:
    """The first clip at a few forecast frames, numbered from 1, as images (n, y, x)."""

    frames: np.ndarray
    truth: np.ndarray
    forecast: np.ndarray


@dataclass(frozen=True)
class ForecastScores:
    """Everything measured on a model's forecasts of some clips.

    Attributes:
        images, persistence: image metrics at every forecast frame, of the model and of no change at all.
        forecast, reference, unchanged: statistics of the model's frames, of the truth, and of persistence, at the
            frames that the case samples.
        mass_drift, mass_drift_reference: (clip, frame), |mean - mean of the last frame seen|, in units of the field.
        truth: (clip, sampled frame, y, x) images.
        wall_s: (batch,) seconds that the forecasts of each batch took.
        threads: torch threads.
    """

    model: str
    case: ForecastCase
    images: ImageErrors
    persistence: ImageErrors
    forecast: ImageStatistics
    reference: ImageStatistics
    unchanged: ImageStatistics
    mass_drift: np.ndarray
    mass_drift_reference: np.ndarray
    truth: torch.Tensor
    wall_s: np.ndarray
    sample: ForecastSample
    threads: int

    @property
    def process(self) -> AnyProcess:
        return learned_process(self.case.process)

    @property
    def sampled(self) -> np.ndarray:
        """(n,) indices of the forecast frames at which statistics were taken."""
        return self.case.sampled()

    @property
    def ms_per_frame(self) -> float:
        """Milliseconds for each frame of each clip."""
        return float(1e3 * self.wall_s.sum() / self.images.rmse.size)

    @cached_property
    def other_seed(self) -> ImageErrors:
        """Of each clip taken for the next one, at ``sampled`` frames: what is left when nothing of a clip is known but
        its statistics. NaN for a single clip."""
        if len(self.truth) > 1:
            return ImageErrors.of(self.truth.roll(1, 0), self.truth, self.case.edges)
        unknown = np.full(self.truth.shape[:2], np.nan)
        return ImageErrors(unknown, unknown)

    @cached_property
    def uniform(self) -> ImageErrors:
        """Of each frame's own mean value, at ``sampled`` frames: what the most blurred of forecasts scores."""
        return ImageErrors.of(
            self.truth.mean((-2, -1), keepdim=True).expand_as(self.truth), self.truth, self.case.edges
        )


def score(model: Forecaster, case: ForecastCase) -> ForecastScores:
    """Lets a model continue every clip of a case and measures the result.

    Raises:
        InputError: for a model of another process, or one that cannot take the case's grid or returns something of
            another shape.
    """
    name, process = case.name, case.process
    if model.process != process:
        raise InputError(f"{model.name}: a model of {model.process}, but {name} is {process}")
    parts: list[ForecastScores] = []
    for batch in case.batches():
        parts.append(_batch_scores(model, case, batch, warm=not parts))
        done = f"{batch[-1] + 1} of {case.count} clips, {parts[-1].ms_per_frame:.3g} ms a frame"
        logger.info(f"{name}: {done}, RMSE {parts[-1].images.rmse.mean():.3f}")
    return statistics.joined([replace(part, sample=parts[0].sample) for part in parts])


def _batch_scores(model: Forecaster, case: ForecastCase, batch: list[int], warm: bool) -> ForecastScores:
    """With ``warm``, after a short forecast: what is compiled or cached at the first call is no cost of a frame."""
    to_image, ages = learned_process(case.process).to_image, case.times[: case.n_in]
    problem, fields = case.problem(batch), case.fields(batch)
    seen, truth = fields[:, : case.n_in], fields[:, case.n_in :]
    if warm:
        model.forecast(problem, seen, ages, case.later[:1])
    forecast, seconds = timed(partial(model.forecast, problem, seen, ages, case.later))
    if forecast.shape != truth.shape:
        raise InputError(f"{model.name}: a forecast of {tuple(truth.shape)}, but got {tuple(forecast.shape)}")
    forecast = forecast.to(truth)
    unchanged = Persistence(case.process).forecast(problem, seen, ages, case.later)
    images, forecast_images = to_image(truth), to_image(forecast)
    at = torch.from_numpy(case.sampled())
    return ForecastScores(
        model=model.name,
        case=case,
        images=ImageErrors.of(forecast_images, images, case.edges),
        persistence=ImageErrors.of(to_image(unchanged), images, case.edges),
        forecast=statistics.measure(problem, forecast[:, at]),
        reference=statistics.measure(problem, truth[:, at]),
        unchanged=statistics.measure(problem, unchanged[:, :1]).repeated(len(at)),
        mass_drift=statistics.mass_drift(forecast, seen[:, -1]),
        mass_drift_reference=statistics.mass_drift(truth, seen[:, -1]),
        truth=images[:, at],
        wall_s=np.array([seconds]),
        sample=_sample(images[0], forecast_images[0], case),
        threads=torch.get_num_threads(),
    )


def _sample(truth: torch.Tensor, forecast: torch.Tensor, case: ForecastCase) -> ForecastSample:
    """Four frames: the first, one in between, and the ends of the horizons (or as near as there are)."""
    last = len(truth)
    chosen = np.unique([1, max(1, last // 5), *case.horizons[:1], last])
    at = torch.from_numpy(chosen - 1)
    return ForecastSample(chosen, truth[at].numpy(), forecast[at].numpy())


@dataclass(frozen=True)
class RolloutScores:
    """What a model's rollouts from the start come to, with its own energies, grains and counters.

    ``errors``: quantity -> (mean, worst) over the frames of the relative error of the mean over trajectories, and the
    seed-to-seed floor; ``counters``: label -> what the model and the solver counted, and what a frame costs.
    """

    process: str
    errors: dict[str, tuple[float, float, float]]
    counters: dict[str, float]
    trajectories: int
    frames: int


#: Quantities of the model and of the truth, the model's counters, frames at which the true energy rose, and the seconds
#: of the model for the batch and of the solver for each trajectory.
_RolloutBatch = tuple[Values, Values, Prediction, np.ndarray, np.ndarray, np.ndarray]


def score_rollouts(model: RolloutModel, references: References, n_in: int, trajectories: int) -> RolloutScores:
    """Runs trajectories from their start and compares with the references, at about 20 frames from the last seen on.

    Raises:
        InputError: whatever the model raises for a problem that it cannot take.
    """
    case, parts = references.case, list[_RolloutBatch]()
    at = torch.arange(n_in - 1, len(case.times), max(1, len(case.times) // 20))
    for batch in case.batches(count=trajectories):
        inputs, (truth, reference_seconds) = case.inputs(batch), references.load(batch)
        prediction, seconds = timed(partial(model.rollout, *inputs))
        values, expected = (statistics.quantities(inputs[0], f, at) for f in (prediction.frames, truth))
        rises = energy_rises(truth.free_energy.numpy())
        parts.append((values, expected, without_frames(prediction), rises, np.array([seconds]), reference_seconds))
        logger.info(f"{case.name}: {batch[-1] + 1} of {trajectories} rolled out from the start")
    found, expected, counted, rises, wall_s, reference_s = statistics.joined(parts)
    frames = len(case.times)
    steps, per_frame = trajectories * (frames - 1), 1e3 / (frames * trajectories)
    cost = f"ms a frame, solver's first frames included, threads: {torch.get_num_threads()}"
    counters = {
        "mass drift, largest": counted.mass_drift.max(),
        "share of frames at which the free energy rose": counted.energy_rises.sum() / steps,
        "the same, reference": rises.sum() / steps,
        "steps changed by the energy guard, mean": counted.guarded.mean(),
        "trust, smallest": counted.trust.min(),
        cost: per_frame * wall_s.sum(),
        "ms a frame, reference solver": per_frame * reference_s.sum(),
    }
    errors = {}
    for name, true in expected.items():
        error, floor = statistics.ensemble_error(found[name], true), statistics.ensemble_floor(true)
        errors[name] = (float(error.mean()), float(error.max()), float(floor.mean()))
    return RolloutScores(case.process, errors, {n: float(v) for n, v in counters.items()}, trajectories, frames)


@dataclass(frozen=True)
class CaseReport:
    """A model's figures in one case; ``rollouts`` is None where the model or the case has none."""

    scores: ForecastScores
    rollouts: RolloutScores | None = None

    @property
    def name(self) -> str:
        return self.scores.case.name

    def persistence(self) -> float:
        """RMSE of persistence over the first horizon."""
        return float(self.scores.persistence.at(slice(self.scores.case.horizons[0])).rmse.mean())

    def hard_enough(self) -> bool | None:
        """Whether persistence is as bad as the protocol asks for; None where it asks for nothing."""
        required = self.scores.case.persistence
        return self.persistence() >= required if required else None


def evaluate(
    model: Forecaster,
    protocol: Protocol,
    trajectories: int | None = None,
    folder: Path | str = CACHE,
    rollouts: int | None = None,
) -> CaseReport:
    """Everything measured on a model in one protocol: its forecasts, and its rollouts where it has any.

    Args:
        model: of the protocol's process.
        trajectories: how many, the protocol's number by default, with references in ``folder``.
        rollouts: how many of the trajectories a model also runs from their start, 0 for none; by default 16 of 64 x 64
            cells and four of 256 x 256, where finding every frame's grains costs more than all the rest.

    Raises:
        InputError: for a model of the other process, a negative number of rollouts, or whatever the model raises.
    """
    if model.process != protocol.process:
        raise InputError(f"{model.name}: a model of {model.process}, but {protocol.name} is {protocol.process}")
    if rollouts is not None and rollouts < 0:
        raise InputError(f"--rollouts: 0 or more, but got {rollouts}")
    case = protocol.forecast_case(trajectories, folder)
    scores = score(model, case)
    count = case.count
    wanted = min(count, max(4, 2**16 // protocol.grid.cells) if rollouts is None else rollouts)
    if not isinstance(model, RolloutModel) or not wanted:
        return CaseReport(scores)
    references = protocol.references(folder, count)
    return CaseReport(scores, score_rollouts(model, references, protocol.n_in, wanted))
