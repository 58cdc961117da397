"""The record of a study: an Optuna journal, one line an event, which ``optuna-dashboard journal.log`` opens.

A batch is begun in one write and told in one write. A killed driver leaves trials that run and never end (zombies):
they are failed when the study goes on, and their points are asked again.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

ZOMBIE = "interrupted"
WARM = -1


class _InOneWrite(BaseJournalBackend):
    """A file of which each batch of events takes one lock and one fsync; the study's lock keeps others out."""

    def __init__(self, path: Path) -> None:
        self._file = JournalFileBackend(str(path))
        self._stored = sum(1 for _ in self._file.read_logs(0))
        self._waiting: list[dict[str, Any]] = []

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        if log_number_from < self._stored:
            yield from self._file.read_logs(log_number_from)
        yield from self._waiting[max(0, log_number_from - self._stored) :]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self._waiting += json.loads(json.dumps(logs))

    def flush(self) -> None:
        """Put all that waits on disk."""
        if self._waiting:
            self._file.append_logs(self._waiting)
            self._stored += len(self._waiting)
            self._waiting = []


@dataclass(frozen=True)
class Told:
    """A finished trial of the journal.

    Attributes:
        number: Optuna's.
        batch, row: which point of which batch it is; batch -1 came from ``warm_start``.
        params: by name.
        failed: whether it has no values.
        attributes: those that the sampler left.
    """

    number: int
    batch: int
    row: int
    params: dict[str, float]
    failed: bool
    attributes: dict[str, Any]


class Journal:
    """The journal of one study.

    Args:
        path: of the file.
        name: of the study.
        directions: one for each objective.
        metrics: names of the objectives.
    """

    def __init__(self, path: Path, name: str, directions: Sequence[str], metrics: Sequence[str]) -> None:
        _drop_half_line(path)
        self._backend = _InOneWrite(path)
        self._storage = JournalStorage(self._backend)
        level = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            self._study = optuna.create_study(
                storage=self._storage,
                study_name=name,
                directions=[StudyDirection[d.upper()] for d in directions],
                load_if_exists=True,
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                if self._study.metric_names != list(metrics):
                    self._study.set_metric_names(list(metrics))
        finally:
            optuna.logging.set_verbosity(level)
        self._backend.flush()

    @property
    def study(self) -> optuna.Study:
        """Optuna's view of it."""
        return self._study

    def told(self) -> list[Told]:
        """Finished trials, without those that an interruption failed."""
        found = []
        for trial in self._study.get_trials(deepcopy=False):
            if not trial.state.is_finished() or ZOMBIE in trial.user_attrs:
                continue
            own = {k: v for k, v in trial.system_attrs.items() if not k.startswith("constraints")}
            place = (int(trial.user_attrs["batch"]), int(trial.user_attrs["row"]))
            found.append(Told(trial.number, *place, dict(trial.params), trial.state == TrialState.FAIL, own))
        return found

    def fail_zombies(self) -> int:
        """End trials that a killed driver left running; returns how many."""
        zombies = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING))
        for trial in zombies:
            self._storage.set_trial_user_attr(trial._trial_id, ZOMBIE, True)
            self._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        self._backend.flush()
        return len(zombies)

    def begin(
        self,
        batch: int,
        points: Mapping[int, Mapping[str, float]],
        distributions: Mapping[str, BaseDistribution],
        attributes: Mapping[int, Mapping[str, Any]],
        source: Mapping[int, str],
    ) -> dict[int, int]:
        """Write trials as running; row -> Optuna's id."""
        ids = {}
        for row, point in points.items():
            trial = create_trial(
                state=TrialState.RUNNING,
                params=dict(point),
                distributions=dict(distributions),
                user_attrs={"batch": batch, "row": row, "source": source[row]},
                system_attrs=dict(attributes.get(row, {})),
            )
            ids[row] = self._storage.create_new_trial(self._study._study_id, template_trial=trial)
        self._backend.flush()
        return ids

    def tell(
        self,
        trial: int,
        values: Sequence[float] | None,
        constraints: Mapping[str, float],
        attributes: Mapping[str, Any],
    ) -> None:
        """End a trial; without values it failed. On disk after :meth:`flush`."""
        for name, value in attributes.items():
            self._storage.set_trial_user_attr(trial, name, value)
        if values is None:
            self._storage.set_trial_state_values(trial, TrialState.FAIL)
            return
        for name, value in constraints.items():
            self._storage.set_trial_system_attr(trial, f"constraints:{name}", float(value))
        self._storage.set_trial_state_values(trial, TrialState.COMPLETE, list(values))

    def flush(self) -> None:
        """Put what was told on disk."""
        self._backend.flush()

    def numbers(self) -> dict[tuple[int, int], int]:
        """(batch, row) -> number of the trial that counts."""
        return {(t.batch, t.row): t.number for t in self.told()}


def _drop_half_line(path: Path) -> None:
    """Cut off what a killed writer left of a line, and the lock that it left."""
    path.with_name(path.name + ".lock").unlink(missing_ok=True)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole != len(content):
        with path.open("r+b") as file:
            file.truncate(whole)
