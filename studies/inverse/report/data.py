"""What the report shows, gathered from a study that has ended."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from studies.inverse.objectives.criteria import Criterion
from studies.inverse.problem import DesignProblem
from studies.inverse.search.evaluation import read_points
from studies.inverse.search.fidelity import FeatureModel, SearchState
from studies.inverse.search.runner import StudyRunner
from studies.inverse.verification.sensitivity import Indices, given_data, importances

#: Trials that sensitivities are computed from at most, spread over the study.
MOST = 2000


@dataclass(frozen=True)
class Compared:
    """Predicted and solved values of one criterion at the points that the solver has solved."""

    criterion: Criterion  #: it belongs to
    predicted: np.ndarray  #: (point,) mean over starts
    solved: np.ndarray  #: likewise
    low: np.ndarray  #: (point,) mean over starts of the band's lower end; NaN without bands
    high: np.ndarray  #: of its upper end
    candidate: np.ndarray  #: bool (point,), chosen for its merit rather than at random
    inside: float  #: share of single starts inside the band; NaN without bands

    @property
    def error(self) -> float:
        """Root mean square of the relative error."""
        return float(np.sqrt(np.mean(((self.predicted - self.solved) / np.maximum(np.abs(self.solved), 1e-300)) ** 2)))

    @property
    def rank(self) -> float:
        """Spearman's rank correlation; NaN for fewer than 4 points or constants."""
        if len(self.solved) < 4 or np.ptp(self.solved) == 0 or np.ptp(self.predicted) == 0:
            return float("nan")
        return float(spearmanr(self.predicted, self.solved).statistic)


@dataclass(frozen=True)
class StudyData:
    """A study that has ended, as the report shows it."""

    runner: StudyRunner
    state: SearchState  #: at the end
    best: list[dict[str, Any]]  #: as in best.json
    equivalents: dict[str, Any] | None  #: as in equivalents.json, or None
    summaries: list[np.ndarray]  #: for each criterion (trial,), as reported; NaN where the trial failed
    spent: np.ndarray  #: (trial,) number of the trial among those asked; 0 for warm ones
    verified: np.ndarray  #: positions of the verified trials in the history, in the order in which they were solved
    model: FeatureModel | None  #: corrected; None with too few trials
    compared: list[Compared]  #: by criterion
    indices: list[Indices]  #: by objective, where there are enough trials
    sensitive: str  #: what they were computed from
    importances: list[dict[str, float]]  #: Optuna's, by objective

    @property
    def problem(self) -> DesignProblem:
        return self.runner.problem

    @property
    def points(self) -> np.ndarray:
        """(trial, variable)."""
        return self.runner.history.points

    @property
    def process(self) -> str:
        return self.problem.exploring.process

    @cached_property
    def options(self) -> dict[str, Any]:
        """The sweep file, for options of the process such as ``well``."""
        return self.problem.exploring.model_dump(mode="json")

    @property
    def names(self) -> tuple[str, ...]:
        return self.problem.space.names

    @property
    def objectives(self) -> list[Criterion]:
        return list(self.problem.criteria.objectives)

    def solved_rows(self) -> np.ndarray:
        """Rows of the state of the verified trials."""
        return np.searchsorted(self.state.trials, self.verified)


def gather(
    runner: StudyRunner, state: SearchState, best: list[dict[str, Any]], equivalents: dict[str, Any] | None
) -> StudyData:
    """All that the report needs."""
    history, warm, usable = runner.history, runner.history.warm, runner.history.usable
    summaries = []
    for criterion, values in zip(runner.problem.criteria, history.features, strict=True):
        row = np.full(len(history), np.nan)
        row[usable] = criterion.loss.summary(values[usable])
        summaries.append(row)
    indices, sensitive = _indices(runner, summaries)
    return StudyData(
        runner=runner,
        state=state,
        best=best,
        equivalents=equivalents,
        summaries=summaries,
        spent=np.where(warm, 0, np.cumsum(~warm)),
        verified=np.array(runner.levels.verified.trials, dtype=np.int64),
        model=runner.levels.model(state),
        compared=_compared(runner),
        indices=indices,
        sensitive=sensitive,
        importances=importances(runner.journal.study),
    )


def _compared(runner: StudyRunner) -> list[Compared]:
    level, history = runner.levels.verified, runner.history
    if not level.trials:
        return []
    bands = [_band(runner, t) for t in level.trials]
    candidate = np.array([role == "candidate" for _, role in level.roles])
    found = []
    for i, criterion in enumerate(runner.problem.criteria):
        if history.features[i].shape[2] > 1:
            predicted = criterion.loss.summary(history.features[i][level.trials])
            solved = criterion.loss.summary(level.features[i])
            low = high = np.full(len(solved), np.nan)
            inside = float("nan")
        else:
            predicted = history.features[i][level.trials].mean(axis=(1, 2))
            solved = level.features[i].mean(axis=(1, 2))
            low = np.array([b[0][i].mean() if b else np.nan for b in bands])
            high = np.array([b[1][i].mean() if b else np.nan for b in bands])
            hits = [(b[0][i] <= own) & (own <= b[1][i]) for b, own in zip(bands, level.features[i], strict=True) if b]
            inside = float(np.mean(hits)) if hits else float("nan")
        found.append(Compared(criterion, predicted, solved, low, high, candidate, inside))
    return found


def _band(runner: StudyRunner, trial: int) -> tuple[list[np.ndarray], list[np.ndarray]] | None:
    rows = np.array([runner.history.batch_rows[trial][1]])
    own = read_points(runner.history.urls[trial], runner.problem.criteria, rows=rows)
    if own.low is None or own.high is None:
        return None
    return [v[0] for v in own.low], [v[0] for v in own.high]


def _indices(runner: StudyRunner, summaries: list[np.ndarray]) -> tuple[list[Indices], str]:
    """Of the finished sweep that the study began with, where it has enough points; else of its own trials."""
    history = runner.history
    warm = history.warm & history.usable
    spread = np.array([source in ("qmc", "random", "grid") for source in history.sources], dtype=bool)
    groups = {
        "the points of warm_start": warm,
        "trials spread evenly": spread & history.usable,
        "all trials": history.usable,
    }
    for text, chosen in groups.items():
        rows = np.flatnonzero(chosen)
        rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST)).astype(int)] if rows.size else rows
        found = [
            given_data(criterion.label, runner.problem.space.names, history.points[rows], values[rows])
            for criterion, values in zip(runner.problem.criteria.objectives, summaries, strict=False)
        ]
        known = [indices for indices in found if indices is not None]
        if len(known) == len(found):
            return known, f"{len(rows)} points: {text}"
    return [], ""
