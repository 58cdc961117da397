"""Inverse design: the parameters that give a wanted microstructure, verified by the reference solver."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from solvers.errors import InputError
from studies.inverse.config import StudyConfig
from studies.inverse.problem import DesignProblem, design_problem, read_study, read_sweep
from studies.inverse.search.fidelity import SearchState
from studies.inverse.search.runner import LazyClient, StudyRunner
from studies.inverse.search.warm_start import start_runner
from studies.inverse.verification.equivalent_optima import sentence, trace
from studies.inverse.verification.results import ResultWriter, check_feasible
from sweeps.config.sweep import SweepConfig
from sweeps.execution.prepare import differences
from sweeps.files import partial_pattern, write_json
from sweeps.inputs.addresses import occupied
from sweeps.inputs.yaml_source import from_mapping
from sweeps.monitoring.progress import lines_on_stderr
from sweeps.store.lock import store_lock

if TYPE_CHECKING:
    from distributed import Client

FILE, SUMMARY = "study.json", "summary.json"
#: May change between runs of a study: with more trials it goes on where it ended.
FREE = ("trials", "verify", "output", "warm_start")
#: So may these blocks of the sweep: they do not affect the results, or the study has its own.
FREE_OF_SWEEP = ("cluster", "output", "verify")


@dataclass(frozen=True)
class StudyResult:
    """What a study found."""

    folder: Path  #: of its output
    best: list[dict[str, Any]]  #: as in ``best.json``: verified optima, best first; a front for several objectives
    trials: int  #: of this study, without those from ``warm_start``
    warm: int  #: trials from ``warm_start``
    rollouts: int  #: trajectories computed by this run at all fidelity levels, each for all realizations
    verified: int  #: points solved by the reference solver, in all
    why: str  #: it stopped
    wall_s: float  #: seconds of this run
    counts: dict[str, int]  #: points computed at each fidelity level, and reused
    missed: int  #: 1 where the best verified point misses a target, else 0
    equivalents: str  #: a sentence on equivalent optima; empty where there are none
    report: Path | None  #: its page; None without a report


class Study:
    """An inverse-design study: its resolved file, and its sweep, by default the one that the file names."""

    def __init__(self, config: StudyConfig, sweep: SweepConfig | None = None) -> None:
        self.config = config
        self.sweep = sweep if sweep is not None else read_sweep(config)

    @classmethod
    def from_yaml(cls, path: str | Path, overrides: Iterable[str] = ()) -> Study:
        """Read a study file; each of ``overrides``, ``key.path=value``, replaces one value of it.

        Raises:
            InputError: naming file, line and key, what was found and what is allowed.
        """
        return cls(*read_study(path, overrides))

    @classmethod
    def from_config(cls, config: StudyConfig | dict[str, Any]) -> Study:
        """From a configuration, or the dictionary that a file would hold."""
        if not isinstance(config, StudyConfig):
            config = from_mapping(config, StudyConfig, label="configuration")
        return cls(config)

    @property
    def folder(self) -> Path:
        """Of the output."""
        return Path(self.config.output.path)

    def prepare(self) -> DesignProblem:
        """Study and sweep, checked against each other; InputError, starting with the key at fault."""
        return design_problem(self.config, self.sweep)

    def run(self, client: Client | None = None, progress: bool = True, report: bool = True) -> StudyResult:
        """Search until a verified optimum meets the targets or the budget ends; a study run again is resumed.

        Args:
            client: Dask client to use; None starts what the sweep's ``cluster`` says.
            progress: show the messages of the logger ``phasetwin`` on stderr.
            report: write the report beside ``best.json``.

        Raises:
            InputError: for a file that cannot work, a folder of another study or one in use, and where no trial meets
                the constraints.
        """
        started = time.monotonic()
        problem = self.prepare()
        with (
            lines_on_stderr(progress),
            store_lock(str(self.folder)) as hold,
            LazyClient(problem, client, hold) as lazy,
        ):
            claim(self.folder, self.config, self.sweep)
            runner = start_runner(problem, self.folder, lazy)
            return _conclude(runner, runner.run(), started, report)


def _conclude(runner: StudyRunner, state: SearchState, started: float, report: bool) -> StudyResult:
    from studies.inverse.report.page import write_report  # loads matplotlib

    check_feasible(runner, state)
    best = ResultWriter(runner, state).write()
    equivalents = trace(runner, state)
    page = write_report(runner, state, best, equivalents) if report else None
    warm = int(runner.history.warm.sum())
    result = StudyResult(
        folder=runner.folder,
        best=best,
        trials=len(runner.history) - warm,
        warm=warm,
        rollouts=runner.counts["rollouts"],
        verified=len(runner.levels.verified.trials),
        why=runner.why,
        wall_s=time.monotonic() - started,
        counts={n: runner.counts[n] for n in ("explored", "confirmed", "verified", "reused")},
        missed=0 if not runner.problem.criteria.all_targets or (best and best[0]["met"]) else 1,
        equivalents=sentence(equivalents),
        report=page,
    )
    summary = {"stopped": result.why, "trials": result.trials, "warm": warm, "verified": result.verified}
    write_json(runner.folder / SUMMARY, {**summary, "rounds": runner.policy.rounds})
    return result


def _is_free(key: tuple[Any, ...]) -> bool:
    if key[:2] == ("study", "changes"):
        # A block that is added or taken away as a whole, or something within one.
        return len(key) > 2 and key[2] in FREE_OF_SWEEP
    return key[1] in (FREE if key[0] == "study" else FREE_OF_SWEEP)


def _without_nulls(value: Any) -> Any:
    """JSON data without keys that are null: files of older versions lack keys that are null by default."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def claim(folder: Path, study: StudyConfig, sweep: SweepConfig) -> None:
    """Write the resolved study into its folder, after a check that what is there is the same study or nothing.

    Raises InputError for other things at that place, or a study of another problem.
    """
    path = folder / FILE
    here = {"study": study.model_dump(mode="json"), "sweep": sweep.model_dump(mode="json")}
    if path.exists():
        try:
            there = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: expected the description of a study, but it cannot be read: {error}") from None
        _check_same(folder, there, here)
    elif occupied(folder, partial_pattern(FILE)):
        raise InputError(
            f"{folder}: expected a study or nothing, but other things are there; choose another output.path"
        )
    try:
        write_json(path, here)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror or error}") from None


def _check_same(folder: Path, there: dict[str, Any], here: dict[str, Any]) -> None:
    """Raises InputError where two descriptions are of different studies."""
    found = ""
    for key, old, new in differences(_without_nulls(there), _without_nulls(here)):
        if not _is_free(key):
            name = ".".join(map(str, key[1:] if key[0] == "study" else key))
            found = f"{name}: {json.dumps(old)} there, {json.dumps(new)} in the file"
            break
    # The order of the variables is that of the samplers' dimensions, so another order gives other trials.
    before, now = list(there["study"]["variables"]), list(here["study"]["variables"])
    if not found and before != now:
        found = f"variables in the order {', '.join(before)} there, {', '.join(now)} in the file"
    if found:
        raise InputError(f"{folder}: holds another study ({found}); choose another output.path, or delete the folder")
