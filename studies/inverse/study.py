"""Inverse design: the parameters that give a wanted microstructure, verified by the reference solver."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from solvers.errors import InputError
from studies.inverse.config import StudyConfig
from studies.inverse.inputs import Prepared, prepare, read_study, read_sweep, study_from
from sweeps.config.sweep import SweepConfig
from sweeps.files import partial_name, write_json
from sweeps.monitoring.progress import lines_on_stderr

if TYPE_CHECKING:
    from distributed import Client

FILE = "study.json"
#: May change between runs of a study: more trials go on where it ended.
FREE = ("trials", "verify", "output", "warm_start")
#: So may these blocks of the sweep: they decide nothing, or the study has its own.
FREE_OF_SWEEP = ("cluster", "output", "verify")


@dataclass(frozen=True)
class StudyResult:
    """What a study found.

    Attributes:
        folder: of its output.
        best: as in ``best.json``: verified optima, best first; a front for several objectives.
        trials: told, without those from ``warm_start``.
        warm: trials from ``warm_start``.
        rollouts: trajectories computed by this run on all rungs, each for all realizations.
        verified: points solved by the reference solver, in all.
        why: it stopped.
        wall_s: seconds of this run.
        counts: points computed on each rung, and reused.
        missed: targets that the best verified point misses.
        equivalents: a sentence on equivalent optima; empty where there are none.
        report: its page.
    """

    folder: Path
    best: list[dict[str, Any]]
    trials: int
    warm: int
    rollouts: int
    verified: int
    why: str
    wall_s: float
    counts: dict[str, int] = field(default_factory=dict)
    missed: int = 0
    equivalents: str = ""
    report: Path | None = None


class Study:
    """An inverse-design study.

    Args:
        config: the resolved file.
        sweep: its sweep; None reads the one that the file names.
    """

    def __init__(self, config: StudyConfig, sweep: SweepConfig | None = None) -> None:
        self.config = config
        self.sweep = sweep if sweep is not None else read_sweep(config)

    @classmethod
    def from_yaml(cls, path: str | Path, overrides: Iterable[str] = ()) -> Study:
        """Read a study file.

        Args:
            path: of the YAML file.
            overrides: ``key.path=value`` texts, each replacing one value of the file.

        Raises:
            InputError: naming file, line and key, what was found and what is allowed.
        """
        return cls(*read_study(path, overrides))

    @classmethod
    def from_config(cls, config: StudyConfig | dict[str, Any]) -> Study:
        """From a configuration, or the dictionary that a file would hold."""
        return cls(study_from(config))

    @property
    def folder(self) -> Path:
        """Of the output."""
        return Path(self.config.output.path)

    def prepare(self) -> Prepared:
        """Study and sweep, checked against each other.

        Raises:
            InputError: starting with the key at fault.
        """
        return prepare(self.config, self.sweep)

    def run(self, client: Client | None = None, progress: bool = True, report: bool = True) -> StudyResult:
        """Search until a verified optimum holds or the budget ends; run again, it goes on.

        Args:
            client: Dask client to use; None starts what the sweep's ``cluster`` says.
            progress: show the messages of the logger ``phasetwin`` on stderr.
            report: write the report beside ``best.json``.

        Raises:
            InputError: for a file that cannot work, a folder of another study or one in use, and where no trial meets
            the
                constraints.
        """
        from studies.inverse.search.driver import LazyClient
        from studies.inverse.search.warm_start import begin
        from studies.inverse.verification.outcome import conclude
        from sweeps.store.lock import store_lock

        started = time.monotonic()
        prepared = self.prepare()
        with lines_on_stderr(progress), store_lock(str(self.folder)), LazyClient(self.sweep, client) as lazy:
            claim(self.folder, self.config, self.sweep)
            driver = begin(prepared, self.folder, lazy)
            standing = driver.run()
            return conclude(driver, standing, started, report)


def _is_free(key: tuple[Any, ...]) -> bool:
    if key[:2] == ("study", "changes"):
        # A block that is added or taken away as a whole, or something within one.
        return len(key) > 2 and key[2] in FREE_OF_SWEEP
    return key[1] in (FREE if key[0] == "study" else FREE_OF_SWEEP)


def _another(folder: Path, what: str) -> InputError:
    return InputError(f"{folder}: holds another study ({what}); choose another output.path, or delete the folder")


def claim(folder: Path, study: StudyConfig, sweep: SweepConfig) -> None:
    """Write the resolved study into its folder, or see that what is there is the same study.

    Raises:
        InputError: for other things at that place, or a study of another problem.
    """
    from sweeps.execution.prepare import differences
    from sweeps.inputs.paths import occupied

    path = folder / FILE
    here = {"study": study.model_dump(mode="json"), "sweep": sweep.model_dump(mode="json")}
    if path.exists():
        try:
            there = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: expected the description of a study, but it cannot be read: {error}") from None
        for key, old, new in differences(there, here):
            if not _is_free(key):
                name = ".".join(map(str, key[1:] if key[0] == "study" else key))
                raise _another(folder, f"{name}: {json.dumps(old)} there, {json.dumps(new)} in the file")
        # Nothing differs, but the order of the keys is that of the samplers' dimensions and decides what is asked.
        before, now = list(there["study"]["variables"]), list(study.variables)
        if before != now:
            raise _another(folder, f"variables in the order {', '.join(before)} there, {', '.join(now)} in the file")
    elif occupied(folder, re.escape(partial_name(FILE))):
        raise InputError(
            f"{folder}: expected a study or nothing, but other things are there; choose another output.path"
        )
    try:
        write_json(path, here)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror or error}") from None
