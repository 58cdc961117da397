"""A candidate's row: its errors, and what a trajectory costs."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from solvers import Frames
from solvers.processes.base import Problem
from surrogate.evaluation.frontier.candidates import Candidate
from surrogate.evaluation.frontier.cases import Case
from surrogate.evaluation.frontier.emulated import NAME, TRAJECTORIES, emulated, identity, learned
from surrogate.evaluation.frontier.errors import Errors, Values, errors, persisted, quantities, seed_floor, value_errors
from surrogate.evaluation.frontier.machine import digest, machine
from surrogate.evaluation.frontier.references import reference
from surrogate.evaluation.frontier.rows import Kind, Row

logger = logging.getLogger("phasetwin")

# Times of the warm-up, which runs the first trajectory alone: enough for a model to take over.
_WARM_TIMES = 3


@contextmanager
def threads_set(threads: int) -> Iterator[None]:
    """Torch's threads within a block."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class Bench:
    """A case ready to be measured; the truth is computed when it is first needed.

    Attributes:
        case: which.
        references: folder of the truth.
        rounds: timed runs of each candidate.
        threads: of torch.
    """

    case: Case
    references: Path
    rounds: int
    threads: int

    @cached_property
    def problem(self) -> Problem:
        """Of the batch."""
        return self.case.problem()

    @cached_property
    def truth(self) -> Frames:
        """See :func:`~surrogate.evaluation.frontier.references.reference`."""
        return reference(self.case, self.references)

    @cached_property
    def truth_values(self) -> Values:
        """The truth's quantities of interest."""
        return quantities(self.problem, self.truth)

    def key(self, identity: dict[str, Any]) -> str:
        """Of a candidate's row here."""
        return digest(machine(), self.threads, self.case.as_dict(), identity)

    def measured(self, candidate: Candidate) -> Row:
        """Runs a candidate: a short run for warmth, then ``rounds`` times."""
        case, seconds = self.case, []
        initial, times = case.initial(), case.times()
        with threads_set(self.threads), torch.inference_mode():
            candidate.run(self.problem.take(torch.tensor([0])), initial[:1], times[:1, :_WARM_TIMES])
            for _ in range(self.rounds):
                started = time.perf_counter()
                frames, trust = candidate.run(self.problem, initial, times)
                seconds.append(time.perf_counter() - started)
            found = errors(self.problem, frames, self.truth, self.truth_values)
        return self._row(
            candidate.name,
            candidate.kind,
            candidate.identity,
            found,
            model=candidate.model,
            tolerance=candidate.tolerance,
            dtype=candidate.dtype,
            stride=candidate.stride,
            ms=1e3 * float(np.median(seconds)) / case.trajectories,
            trust=float(trust.mean()) if candidate.kind == "model" else float("nan"),
            rounds=self.rounds,
        )

    def emulator_row(self) -> Row:
        """An emulator of other trajectories of this kind: statistics alone, no fields."""
        case, seconds = self.case, []
        with threads_set(self.threads), torch.inference_mode():
            emulator, learning = learned(case)
            for _ in range(self.rounds + 1):  # the first for warmth
                values, trust, spent = emulated(case, emulator)
                seconds.append(spent)
        logger.info(f"{case.name}: the emulator learned from {TRAJECTORIES} trajectories that took {learning:.1f} s")
        return self._row(
            NAME,
            "model",
            identity(),
            value_errors(values, self.truth_values),
            model=NAME,
            ms=1e3 * float(np.median(seconds[1:])) / case.trajectories,
            trust=float(trust.mean()),
            rounds=self.rounds,
        )

    def reference_rows(self) -> list[Row]:
        """What costs nothing: persistence, and the seed-to-seed floor where there are two trajectories or more."""
        still = persisted(self.problem, self.truth, self.case.ages())
        found = errors(self.problem, still, self.truth, self.truth_values)
        rows = [self._row("persistence", "persistence", {"reference": "persistence"}, found)]
        floor = seed_floor(self.truth_values)
        if floor is not None:
            rows.append(self._row("seed to seed", "floor", {"reference": "floor"}, floor))
        return rows

    def _row(self, name: str, kind: Kind, identity: dict[str, Any], found: Errors, **others: Any) -> Row:
        case = self.case
        return Row(
            key=self.key(identity),
            case=case.name,
            process=case.process,
            cells=case.cells,
            trajectories=case.trajectories,
            contrast=case.contrast,
            composition=case.composition,
            candidate=name,
            kind=kind,
            threads=self.threads,
            **asdict(found),
            **others,
        )
