"""Runs a study: proposals into the journal, batches through the sweep engine, candidates to the higher rungs.

Everything is a function of the file and of what is on disk: a driver that was killed leaves a journal and stores, and
the next one walks the same way over them, computing only what is missing.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.errors import InputError
from studies.inverse.inputs import Prepared
from studies.inverse.search.acquisition import refined
from studies.inverse.search.evaluation import Evaluation, KnownPoints, read_points, run_points
from studies.inverse.search.fidelity import Ladder, Rung, Standing
from studies.inverse.search.journal import Journal, Told
from studies.inverse.search.policy import Action, Search
from studies.inverse.search.samplers import Proposal, Seen, make_proposer, window_of
from studies.inverse.search.shared_trajectories import beside
from studies.inverse.search.trials import History, window
from sweeps.config.sweep import SweepConfig

if TYPE_CHECKING:
    from distributed import Client

JOURNAL = "journal.log"
logger = logging.getLogger("phasetwin")
#: Tasks that a study is expected to have at once: local workers are started for so many.
TASKS = 64
#: The scheduler, a part of this process, keeps so many of its latest messages and transitions, tasks with their arrays
#: among them. Dask's thousand would be what the memory of a long study, thousands of small sweeps, grows by.
SCHEDULER_LOG = {"distributed.admin.low-level-log-length": 50}


@dataclass
class Counts:
    """What a run computed: points on the exploring and confirming engines and on the reference solver, points copied
    from other stores, and the trajectories that all this took, each for all realizations.
    """

    explored: int = 0
    confirmed: int = 0
    verified: int = 0
    reused: int = 0
    rollouts: int = 0


class LazyClient:
    """The Dask client of a study: given, or started when the first batch needs it."""

    def __init__(self, sweep: SweepConfig, client: Client | None) -> None:
        self._sweep, self._client = sweep, client
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> LazyClient:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def get(self) -> Client:
        """The client."""
        if self._client is None:
            import dask

            from sweeps.cluster.client import dashboard_link, open_client

            self._stack.enter_context(dask.config.set(SCHEDULER_LOG))
            self._client = self._stack.enter_context(open_client(self._sweep.cluster, TASKS))
            link = dashboard_link(self._client, self._sweep.cluster)
            if link:
                logger.info(f"dashboard: {link}")
        return self._client


@dataclass
class Driver:
    """One run of a study.

    Args:
        prepared: the study.
        folder: of its output, locked by the caller.
        client: of the cluster.
    """

    prepared: Prepared
    folder: Path
    client: LazyClient
    known: KnownPoints = field(default_factory=KnownPoints)
    counts: Counts = field(default_factory=Counts)
    why: str = ""

    def __post_init__(self) -> None:
        study, shapes = self.prepared.study, self._shapes()
        self.history = History(self.prepared.space.size, shapes)
        self.ladder = Ladder(
            self.prepared.space, self.prepared.judge, self.history, confirms=self.prepared.confirming is not None
        )
        self.search = Search(study, self.ladder)
        self._proposer = make_proposer(study, self.prepared.space)
        self._sampled = 0
        self.journal = self._open_journal()
        self._told: dict[int, dict[int, Told]] = {}
        for told in self.journal.told():
            self._told.setdefault(told.batch, {})[told.row] = told
        zombies = self.journal.fail_zombies()
        if zombies:
            logger.info(f"{study.name}: {zombies} trials were interrupted; their points are asked again")

    def _shapes(self) -> list[tuple[int, int]]:
        count = self.prepared.exploring.realizations.count
        return [(count, len(term.feature.names)) for term in self.prepared.terms]

    def _open_journal(self) -> Journal:
        terms = self.prepared.judge.objectives
        directions = ["maximize" if getattr(t.aim, "sign", 1.0) < 0 else "minimize" for t in terms]
        return Journal(self.folder / JOURNAL, self.prepared.study.name, directions, [t.label for t in terms])

    def run(self) -> Standing:
        """Go on until the search stops; returns how trials stand then."""
        batch = 0
        while True:
            standing = self.ladder.standing()
            action = self.search.next(standing)
            if action.kind == "stop":
                self.why = action.why
                return standing
            if action.kind in ("sample", "refine", "fan"):
                self._batch(batch, action, standing)
                batch += 1
            elif action.kind == "confirm":
                assert self.ladder.confirmed is not None and self.prepared.confirming is not None  # noqa: PT018
                self.counts.confirmed += self._climb(self.ladder.confirmed, self.prepared.confirming, action)
            else:
                self.counts.verified += self._climb(self.ladder.verified, self.prepared.reference, action)

    def _batch(self, batch: int, action: Action, standing: Standing) -> None:
        told = self._told.get(batch, {})
        proposal, source = self._proposal(batch, action, standing, told)
        if source != "model":
            self._sampled += len(proposal.values)
        missing = [row for row in range(len(proposal.values)) if row not in told]
        points = {row: self.prepared.space.as_dict(proposal.values[row]) for row in missing}
        attributes = {row: proposal.attributes[row] for row in missing if row < len(proposal.attributes)}
        distributions = self.prepared.space.distributions()
        ids = self.journal.begin(batch, points, distributions, attributes, dict.fromkeys(missing, source))
        place = self.folder / "batches" / f"{batch:05d}"
        evaluation = self.evaluate(self.prepared.exploring, place, proposal.values, bool(missing))
        evaluation, solved = self._outside(evaluation, place, proposal.values, bool(missing))
        self.counts.explored += evaluation.computed
        self._tell(ids, evaluation, solved)
        kept = proposal.attributes or [{}] * len(proposal.values)
        places = [(batch, row) for row in range(len(proposal.values))]
        self.take_in(proposal.values, evaluation, places, [source] * len(places), kept)
        self._report(batch)

    def take_warm(self, batch: int, rows: np.ndarray, values: np.ndarray, evaluation: Evaluation) -> None:
        """Points of a store of ``warm_start`` as trials, told at once."""
        told = self._told.get(batch, {})
        missing = [row for row in range(len(rows)) if row not in told]
        points = {row: self.prepared.space.as_dict(values[row]) for row in missing}
        source = dict.fromkeys(missing, "warm start")
        ids = self.journal.begin(batch, points, self.prepared.space.distributions(), {}, source)
        self._tell(ids, evaluation, np.zeros(len(rows), dtype=bool))
        places = [(batch, int(row)) for row in rows]
        self.take_in(values, evaluation, places, ["warm start"] * len(rows), [{}] * len(rows))

    def take_in(
        self,
        values: np.ndarray,
        evaluation: Evaluation,
        places: Sequence[tuple[int, int]],
        sources: Sequence[str],
        attributes: Sequence[dict[str, Any]],
    ) -> None:
        """Trials into the history."""
        self.history.add(
            values,
            evaluation.features,
            evaluation.usable,
            evaluation.trusted,
            list(places),
            list(sources),
            list(attributes),
            evaluation.url,
        )

    def _proposal(self, batch: int, action: Action, standing: Standing, told: dict[int, Told]) -> tuple[Proposal, str]:
        """The points of a batch: from the journal where all are there, else asked (again)."""
        source = "model" if action.kind in ("refine", "fan") else self.prepared.study.sampler.kind
        if len(told) == action.count:
            rows = [told[row] for row in range(action.count)]
            values = np.stack([self.prepared.space.as_row(t.params) for t in rows])
            return Proposal(values, [t.attributes for t in rows]), source
        seed = self.prepared.study.sampler.seed
        if action.kind == "refine":
            unit = refined(self.ladder, standing, seed, batch, action.count)
            assert unit is not None
            proposal = Proposal(self.prepared.space.values(unit))
        elif action.kind == "fan":
            lead = self.history.points[list(action.trials)]
            proposal = Proposal(beside(self.prepared.space, lead)[0, 1 : 1 + action.count])
        else:
            proposal = self._proposer.propose(self._seen(standing), batch, self._sampled, action.count)
        for row, trial in told.items():
            if not np.array_equal(self.prepared.space.as_row(trial.params), proposal.values[row]):
                raise InputError(
                    f"{self.folder}: trial {trial.number} of its journal is not what this version of the program asks; "
                    "choose another output.path, or delete the folder (`warm_start` takes over its stores)"
                )
        return proposal, source

    def _seen(self, standing: Standing) -> Seen:
        """What the sampler is shown of the standing."""
        study = self.prepared.study
        rows = window(standing.judged.merit, *window_of(study.sampler.kind))
        losses = standing.judged.losses[rows]
        outside = ~standing.believed[rows]
        violations = {
            t.label: standing.judged.violations[rows, i] for i, t in enumerate(self.prepared.judge.constraints)
        }
        if outside.any():
            violations["domain"] = outside.astype(np.float64)
        if study.sampler.kind == "cmaes":
            # It knows no constraints: what breaks one is told as worse than all else.
            broken = outside | (standing.judged.violations[rows] > 0).any(axis=1)
            worst = losses[~broken].max() if (~broken).any() else 0.0
            losses = np.where(broken[:, None], worst + np.abs(worst) + np.abs(losses), losses)
            violations = {}
        attributes = [self.history.attributes.get(int(t), {}) for t in standing.trials[rows]]
        return Seen(self.history.points[standing.trials[rows]], losses, violations, attributes)

    def evaluate(self, sweep: SweepConfig, place: Path, values: np.ndarray, run: bool) -> Evaluation:
        """Points (point, variable) on the engine of a sweep; without ``run`` only read."""
        url, counts = str(place.with_suffix(".zarr")), (0, 0, 0)
        if run:
            columns = self.prepared.space.columns(values)
            url, counts = run_points(sweep, place, columns, self.client.get(), self.known)
            self.counts.reused += counts[1]
            self.counts.rollouts += counts[2]
        else:
            self.known.add(url)
        return read_points(url, self.prepared.terms, counts=counts)

    def _outside(
        self, evaluation: Evaluation, place: Path, values: np.ndarray, run: bool
    ) -> tuple[Evaluation, np.ndarray]:
        """Give what an emulator is not trusted with to the solver, where the study says so."""
        rows = np.flatnonzero(~evaluation.trusted)
        solved = np.zeros(len(values), dtype=bool)
        if (
            not rows.size
            or self.prepared.study.outside != "solver"
            or self.prepared.exploring.engine.kind != "emulator"
        ):
            return evaluation, solved
        own = self.evaluate(self.prepared.fallback, place.with_name(f"{place.name}-solver"), values[rows], run)
        features = [values.copy() for values in evaluation.features]
        for mine, theirs in zip(features, own.features, strict=True):
            mine[rows] = theirs
        usable, trusted = evaluation.usable.copy(), evaluation.trusted.copy()
        usable[rows], trusted[rows], solved[rows] = own.usable, True, True
        computed, reused = evaluation.computed + own.computed, evaluation.reused + own.reused
        return replace(
            evaluation, features=features, usable=usable, trusted=trusted, computed=computed, reused=reused
        ), solved

    def _tell(self, ids: dict[int, int], evaluation: Evaluation, solved: np.ndarray) -> None:
        """End the trials of a batch, in one write."""
        if not ids:
            return
        rows = np.array(sorted(ids))
        judged = self.prepared.judge([values[rows] for values in evaluation.features])
        summaries = [t.aim.summary(f[rows]) for t, f in zip(self.prepared.terms, evaluation.features, strict=True)]
        signs = np.array([getattr(t.aim, "sign", 1.0) for t in self.prepared.judge.objectives])
        engine = self.prepared.exploring.engine.kind
        for i, row in enumerate(rows.tolist()):
            about: dict[str, Any] = {"engine": "solver" if solved[row] else engine}
            if not evaluation.usable[row]:
                self.journal.tell(ids[row], None, {}, {**about, "reason": evaluation.reasons[row] or "not finite"})
                continue
            about |= {t.label: float(s[i]) for t, s in zip(self.prepared.terms, summaries, strict=True)}
            limits = {t.label: float(judged.violations[i, j]) for j, t in enumerate(self.prepared.judge.constraints)}
            if not evaluation.trusted[row]:
                about["reason"] = evaluation.reasons[row]
                limits["domain"] = 1.0
            self.journal.tell(ids[row], (signs * judged.losses[i]).tolist(), limits, about)
        self.journal.flush()

    def _climb(self, rung: Rung, sweep: SweepConfig, action: Action) -> int:
        """Evaluate trials on a higher rung; returns how many points were computed."""
        trials = action.trials
        values = self.history.points[list(trials)]
        mark = hashlib.blake2b(values.tobytes(), digest_size=6).hexdigest()
        place = self.folder / rung.name / mark
        evaluation = self.evaluate(sweep, place, values, run=True)
        number = self.search.rounds
        roles = [(number, "candidate" if i < action.candidates else "random") for i in range(len(trials))]
        rung.add(trials, evaluation.features, evaluation.usable, evaluation.url, roles)
        self._say_rung(rung, trials)
        return evaluation.computed

    def _say_rung(self, rung: Rung, trials: Sequence[int]) -> None:
        logger.info(f"{self.prepared.study.name}: {len(trials)} trials {rung.name}, {len(rung.trials)} in all")

    def _report(self, batch: int) -> None:
        """A line on the last batch; the best is that of all trials as they were told."""
        last = self.history.usable[-1]
        done = len(self.history) - int(self.history.warm.sum())
        text = "" if last else ", some failed"
        logger.info(f"{self.prepared.study.name}: batch {batch}, {done} of {self.prepared.study.trials} trials{text}")
