"""The record of a study: an Optuna journal, one line an event, which ``optuna-dashboard journal.log`` opens.

The trials of a batch are begun in one write and ended in one write. A killed run leaves trials that never end: when the
study goes on they are marked as interrupted and failed, and their points are proposed again.
"""

from __future__ import annotations

import json
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

from studies.inverse.samplers.optuna_samplers import quiet_optuna

INTERRUPTED = "interrupted"


class _BatchedFile(BaseJournalBackend):
    """A journal file that writes when it is flushed: one lock and one fsync for many events.

    The lock on the study's folder keeps other writers out.
    """

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
        if self._waiting:
            self._file.append_logs(self._waiting)
            self._stored += len(self._waiting)
            self._waiting = []


@dataclass(frozen=True)
class FinishedTrial:
    """A finished trial of the journal."""

    number: int  #: Optuna's
    batch: int  #: below 0 for points from ``warm_start``
    row: int  #: of the batch
    params: dict[str, float]  #: by name
    attributes: dict[str, object]  #: those that the sampler stored


class Journal:
    """The journal of one study, with a direction and a name (of ``metrics``) for each objective."""

    def __init__(self, path: Path, name: str, directions: Sequence[StudyDirection], metrics: Sequence[str]) -> None:
        _drop_partial_line(path)
        self._backend = _BatchedFile(path)
        self._storage = JournalStorage(self._backend)
        with quiet_optuna():
            self.study = optuna.create_study(
                storage=self._storage, study_name=name, directions=list(directions), load_if_exists=True
            )
            if self.study.metric_names != list(metrics):
                self.study.set_metric_names(list(metrics))
        self.flush()

    def finished(self) -> list[FinishedTrial]:
        """Finished trials, without interrupted ones."""
        found = []
        for trial in self.study.get_trials(deepcopy=False):
            if trial.state.is_finished() and INTERRUPTED not in trial.user_attrs:
                own = {k: v for k, v in trial.system_attrs.items() if not k.startswith("constraints")}
                batch, row = int(trial.user_attrs["batch"]), int(trial.user_attrs["row"])
                found.append(FinishedTrial(trial.number, batch, row, dict(trial.params), own))
        return found

    def fail_interrupted(self) -> int:
        """End trials that a killed run left; returns how many."""
        left = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING))
        for trial in left:
            self._storage.set_trial_user_attr(trial._trial_id, INTERRUPTED, True)
            self._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        self.flush()
        return len(left)

    def begin(
        self,
        batch: int,
        points: Mapping[int, Mapping[str, float]],
        distributions: Mapping[str, BaseDistribution],
        attributes: Mapping[int, Mapping[str, object]],
        source: str,
    ) -> dict[int, int]:
        """Write trials of a batch, row -> point, as running; returns row -> Optuna's id."""
        ids = {}
        for row, point in points.items():
            trial = create_trial(
                state=TrialState.RUNNING,
                params=dict(point),
                distributions=dict(distributions),
                user_attrs={"batch": batch, "row": row, "source": source},
                system_attrs=dict(attributes.get(row, {})),
            )
            ids[row] = self._storage.create_new_trial(self.study._study_id, template_trial=trial)
        self.flush()
        return ids

    def end(
        self,
        trial: int,
        values: Sequence[float] | None,
        constraints: Mapping[str, float],
        attributes: Mapping[str, object],
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
        """Put everything on disk."""
        self._backend.flush()


def _drop_partial_line(path: Path) -> None:
    """Cut off the partial last line that a killed writer left, and remove its lock."""
    path.with_name(path.name + ".lock").unlink(missing_ok=True)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole != len(content):
        with path.open("r+b") as file:
            file.truncate(whole)
