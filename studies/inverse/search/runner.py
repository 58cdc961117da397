"""Carries out what the policy decides: proposals into the journal, batches through the sweep engine, candidates to
higher fidelity.

Every step depends on the file and on what is on disk alone: after a kill the next run repeats the steps over the
journal and the stores, and computes only what is missing.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import dask
import numpy as np
from optuna.study import StudyDirection

from solvers.errors import InputError
from solvers.registries import resolve
from studies.inverse.problem import DesignProblem
from studies.inverse.samplers.registry import SAMPLERS, Proposal, Sampler, SamplerKind, TrialWindow
from studies.inverse.search.acquisition import batch_seed, refined
from studies.inverse.search.evaluation import Evaluation, KnownPoints, read_points, run_points
from studies.inverse.search.fidelity import FidelityLevel, FidelityLevels, SearchState
from studies.inverse.search.journal import FinishedTrial, Journal
from studies.inverse.search.policy import PROPOSING, Action, SearchPolicy
from studies.inverse.search.shared_trajectories import along_trajectory
from studies.inverse.search.trials import TrialHistory, best_and_latest
from sweeps.cluster.choice import Work
from sweeps.cluster.client import dashboard_link, open_client
from sweeps.config.sweep import SweepConfig
from sweeps.engines.registry import engine_kind
from sweeps.execution.task_runner import ended_abruptly, settle
from sweeps.plan.plan import make_plan
from sweeps.plan.remaining_work import choose_cluster_of, work_of
from sweeps.store.lock import Hold

if TYPE_CHECKING:
    from distributed import Client

JOURNAL = "journal.log"
logger = logging.getLogger("phasetwin")
#: Tasks that a study is expected to have at once: local workers are started for that many.
TASKS = 64
#: Messages and transitions that the scheduler, which runs in this process, keeps. They hold tasks with their arrays:
#: with Dask's default of a thousand the memory of a study of thousands of small sweeps grows.
SCHEDULER_LOG = {"distributed.admin.low-level-log-length": 50}
#: Who proposed a trial, in the journal; trials of a sampler have its name.
MODEL, WARM_START = "model", "warm start"


class LazyClient(contextlib.ExitStack):
    """The Dask client of a study: given, or started when the first batch needs it.

    Args:
        problem: of the study.
        client: to use; None starts what the sweep's ``cluster`` says or, where that is left open, what pays for the
            study's trials.
        hold: of the study's folder.
    """

    def __init__(self, problem: DesignProblem, client: Client | None, hold: Hold) -> None:
        super().__init__()
        self._problem, self._client, self._hold = problem, client, hold
        self._interrupted = ended_abruptly(hold)

    def get(self) -> Client:
        if self._client is None:
            self.enter_context(dask.config.set(SCHEDULER_LOG))
            block = self._problem.exploring.cluster
            block = settle(block, choose_cluster_of(block, self._work()), self._hold, show=True)
            self._client = self.enter_context(open_client(block, TASKS))
            link = dashboard_link(self._client, block)
            if link:
                logger.info(f"dashboard: {link}")
        return self._client

    def _work(self) -> Work:
        """Of all trials, each as long as a trajectory of the base on average."""
        plan = make_plan(self._problem.exploring)
        trial = work_of(plan, interrupted=self._interrupted)
        trials = self._problem.study.trials
        return replace(trial, seconds=trial.seconds / plan.estimate.rollouts * trials, tasks=min(TASKS, trials))


@dataclass
class StudyRunner:
    """One run of a study."""

    problem: DesignProblem
    folder: Path  #: of the output, locked by the caller
    client: LazyClient
    known: KnownPoints = field(default_factory=KnownPoints)  #: points of stores of ``warm_start``
    #: points ``explored``, ``confirmed`` and ``verified`` by this run, points ``reused`` from other stores, and the
    #: ``rollouts`` that all this took: trajectories, each for all realizations
    counts: Counter[str] = field(default_factory=Counter)
    why: str = ""  #: it stopped

    def __post_init__(self) -> None:
        problem, study = self.problem, self.problem.study
        shapes = [(problem.exploring.realizations.count, c.feature.size) for c in problem.criteria]
        self.history = TrialHistory.empty(problem.space.size, shapes)
        confirms = problem.confirming is not None
        self.levels = FidelityLevels(problem.space, problem.criteria, self.history, confirms)
        self.policy = SearchPolicy(study, self.levels)
        self._sampled = 0
        directions = [StudyDirection.MAXIMIZE if s < 0 else StudyDirection.MINIMIZE for s in problem.criteria.signs]
        labels = [criterion.label for criterion in problem.criteria.objectives]
        self.journal = Journal(self.folder / JOURNAL, study.name, directions, labels)
        self._finished: dict[int, dict[int, FinishedTrial]] = {}
        for trial in self.journal.finished():
            self._finished.setdefault(trial.batch, {})[trial.row] = trial
        interrupted = self.journal.fail_interrupted()
        if interrupted:
            logger.info(f"{study.name}: {interrupted} trials were interrupted; their points are asked again")

    def run(self) -> SearchState:
        """Go on until the policy stops; returns the final state of the search."""
        batch = 0
        while True:
            state = self.levels.state()
            action = self.policy.next(state)
            if action.kind == "stop":
                self.why = action.why
                return state
            if action.kind in PROPOSING:
                self._run_batch(batch, action, state)
                batch += 1
            elif action.kind == "confirm":
                assert self.levels.confirmed is not None and self.problem.confirming is not None  # noqa: PT018
                self.counts["confirmed"] += self._run_level(self.levels.confirmed, self.problem.confirming, action)
            else:
                self.counts["verified"] += self._run_level(self.levels.verified, self.problem.reference, action)

    def _run_batch(self, batch: int, action: Action, state: SearchState) -> None:
        """Propose trials, run them on the exploring engine and record them."""
        source = self.problem.study.sampler.kind if action.kind == "sample" else MODEL
        proposal = self._proposal(batch, action, state)
        values, count = proposal.values, len(proposal.values)
        if action.kind == "sample":
            self._sampled += count
        ids = self._begin(batch, values, range(count), source, dict(enumerate(proposal.attributes)))
        stem = self.folder / "batches" / f"{batch:05d}"
        evaluation = self.evaluate(self.problem.exploring, stem, values, run=bool(ids))
        evaluation, solved = self._solve_outside(evaluation, stem, values, run=bool(ids))
        self.counts["explored"] += evaluation.computed
        self._record(ids, evaluation, solved)
        self.history.add(values, evaluation, [(batch, row) for row in range(count)], source, proposal.attributes)
        done, study = len(self.history) - int(self.history.warm.sum()), self.problem.study
        failed = "" if self.history.usable[-1] else ", some failed"
        logger.info(f"{study.name}: batch {batch}, {done} of {study.trials} trials{failed}")

    def add_warm(self, batch: int, rows: np.ndarray, values: np.ndarray, evaluation: Evaluation) -> None:
        """Add points of a store of ``warm_start``, which are rows of its table, as finished trials."""
        ids = self._begin(batch, values, range(len(rows)), WARM_START, {})
        self._record(ids, evaluation, np.zeros(len(rows), dtype=bool))
        self.history.add(values, evaluation, [(batch, int(row)) for row in rows], WARM_START)

    def _begin(
        self,
        batch: int,
        values: np.ndarray,
        rows: Sequence[int],
        source: str,
        attributes: Mapping[int, dict[str, object]],
    ) -> dict[int, int]:
        """Begin those trials of a batch that the journal does not hold as finished; row -> Optuna's id."""
        space, finished = self.problem.space, self._finished.get(batch, {})
        points = {row: space.as_dict(values[row]) for row in rows if row not in finished}
        return self.journal.begin(batch, points, space.distributions(), attributes, source)

    def _proposal(self, batch: int, action: Action, state: SearchState) -> Proposal:
        """The points of a batch: from the journal where all are there, else proposed (again)."""
        space, finished = self.problem.space, self._finished.get(batch, {})
        if len(finished) == action.count:
            trials = [finished[row] for row in range(action.count)]
            return Proposal(np.stack([space.as_row(t.params) for t in trials]), [t.attributes for t in trials])
        if action.kind == "refine":
            unit = refined(self.levels, state, self.problem.study.sampler.seed, batch, action.count)
            assert unit is not None
            proposal = Proposal(space.values(unit))
        elif action.kind == "trajectory":
            start = self.history.points[list(action.trials)]
            proposal = Proposal(along_trajectory(space, start)[0, 1 : 1 + action.count])
        else:
            proposal = self._sample(batch, action.count, state)
        for row, trial in finished.items():
            if not np.array_equal(space.as_row(trial.params), proposal.values[row]):
                raise InputError(
                    f"{self.folder}: trial {trial.number} of its journal is not what this version of the program asks; "
                    "choose another output.path, or delete the folder (`warm_start` takes over its stores)"
                )
        return proposal

    def _sample(self, batch: int, count: int, state: SearchState) -> Proposal:
        """Points of the study's sampler; InputError for a shape or points that only a user's sampler gives."""
        space, config = self.problem.space, self.problem.study.sampler
        kind = SAMPLERS.get(config.kind)
        sampler: Sampler = resolve(kind.sampler)
        found = sampler(space, batch_seed(config.seed, batch), self._window(kind, batch, state), count)
        proposal = found if isinstance(found, Proposal) else Proposal(np.asarray(found, dtype=np.float64))
        values = proposal.values
        if values.shape != (count, space.size):
            raise InputError(
                f"sampler.kind: {kind.name!r} proposed an array of shape {values.shape}, expected "
                f"{(count, space.size)}: (point, variable)"
            )
        if not ((values >= space.low) & (values <= space.high)).all():
            raise InputError(f"sampler.kind: {kind.name!r} proposed a point outside the variables' bounds")
        return proposal

    def _window(self, kind: SamplerKind, batch: int, state: SearchState) -> TrialWindow:
        rows = best_and_latest(state.assessment.merit, *kind.window)
        losses, outside = state.assessment.losses[rows], ~state.trusted[rows]
        limits = state.assessment.violations[rows]
        violations = {c.label: limits[:, i] for i, c in enumerate(self.problem.criteria.constraints)}
        if outside.any():
            violations["domain"] = outside.astype(np.float64)
        if not kind.constraints:
            broken = outside | (limits > 0).any(axis=1)
            worst = losses[~broken].max() if (~broken).any() else 0.0
            losses = np.where(broken[:, None], worst + np.abs(worst) + np.abs(losses), losses)
            violations = {}
        trials = state.trials[rows]
        attributes = [self.history.attributes.get(int(t), {}) for t in trials]
        values, study = self.history.points[trials], self.problem.study
        return TrialWindow(values, losses, violations, attributes, batch, self._sampled, study)

    def evaluate(self, sweep: SweepConfig, stem: Path, values: np.ndarray, run: bool) -> Evaluation:
        """Points (point, variable) on the engine of a sweep; without ``run`` only read."""
        if not run:
            url = str(stem.with_suffix(".zarr"))
            self.known.add(url)
            return read_points(url, self.problem.criteria)
        done = run_points(sweep, stem, self.problem.space.columns(values), self.client.get(), self.known)
        self.counts += Counter(reused=done.reused, rollouts=done.rollouts)
        return replace(read_points(done.url, self.problem.criteria), computed=done.computed)

    def _solve_outside(
        self, evaluation: Evaluation, stem: Path, values: np.ndarray, run: bool
    ) -> tuple[Evaluation, np.ndarray]:
        """Solve points outside an emulator's domain with the solver, where the study says so.

        Engines that make fields do this themselves, see ``problem._own_engine``.
        """
        rows = np.flatnonzero(~evaluation.trusted)
        solved = np.zeros(len(values), dtype=bool)
        if not rows.size or self.problem.study.outside != "solver" or engine_kind(self.problem.exploring).makes_fields:
            return evaluation, solved
        own = self.evaluate(self.problem.fallback, stem.with_name(f"{stem.name}-solver"), values[rows], run)
        features = [mine.copy() for mine in evaluation.features]
        for mine, theirs in zip(features, own.features, strict=True):
            mine[rows] = theirs
        usable, trusted = evaluation.usable.copy(), evaluation.trusted.copy()
        usable[rows], trusted[rows], solved[rows] = own.usable, True, True
        computed = evaluation.computed + own.computed
        return replace(evaluation, features=features, usable=usable, trusted=trusted, computed=computed), solved

    def _record(self, ids: dict[int, int], evaluation: Evaluation, solved: np.ndarray) -> None:
        """End the trials of a batch in the journal, in one write."""
        if not ids:
            return
        criteria, rows = self.problem.criteria, sorted(ids)
        features = [values[rows] for values in evaluation.features]
        assessment, summaries = criteria.assess(features), criteria.summaries(features)
        labels = [criterion.label for criterion in criteria]
        limited = labels[len(criteria.objectives) :]
        engine = self.problem.exploring.engine.kind
        for i, row in enumerate(rows):
            about: dict[str, object] = {"engine": "solver" if solved[row] else engine}
            if not evaluation.usable[row]:
                self.journal.end(ids[row], None, {}, {**about, "reason": evaluation.reasons[row] or "not finite"})
                continue
            about |= dict(zip(labels, summaries[i].tolist(), strict=True))
            limits = dict(zip(limited, assessment.violations[i].tolist(), strict=True))
            if not evaluation.trusted[row]:
                about["reason"] = evaluation.reasons[row]
                limits["domain"] = 1.0
            self.journal.end(ids[row], (criteria.signs * assessment.losses[i]).tolist(), limits, about)
        self.journal.flush()

    def _run_level(self, level: FidelityLevel, sweep: SweepConfig, action: Action) -> int:
        """Evaluate trials at a higher fidelity; returns how many points were computed."""
        trials = action.trials
        evaluation = self.evaluate_in(level.name, sweep, self.history.points[list(trials)])
        roles = [(self.policy.rounds, "candidate" if i < action.candidates else "random") for i in range(len(trials))]
        level.add(trials, evaluation, roles)
        logger.info(f"{self.problem.study.name}: {len(trials)} trials {level.name}, {len(level.trials)} in all")
        return evaluation.computed

    def evaluate_in(self, folder: str, sweep: SweepConfig, values: np.ndarray) -> Evaluation:
        """Points in a store that is named after their values, in a folder of the study."""
        name = hashlib.blake2b(values.tobytes(), digest_size=6).hexdigest()
        return self.evaluate(sweep, self.folder / folder / name, values, run=True)
