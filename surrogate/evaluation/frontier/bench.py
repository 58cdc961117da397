"""A whole run: every candidate in every case, each measured once and kept as a row."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from solvers.errors import InputError
from solvers.frames import Frames
from solvers.processes.base import Problem
from solvers.torch_threads import torch_threads
from surrogate.evaluation import statistics
from surrogate.evaluation.candidates import timed
from surrogate.evaluation.cases import ReferenceCase
from surrogate.evaluation.frontier.candidates import (
    DOUBLE_TOLERANCES,
    QUICK_TOLERANCES,
    STRIDES,
    TOLERANCES,
    Candidate,
    emulator_candidate,
    model_candidates,
    solver_candidates,
)
from surrogate.evaluation.frontier.cases import FrontierCase
from surrogate.evaluation.frontier.rows import Kind, Row, RowFile, digest, machine
from surrogate.evaluation.references import References
from surrogate.evaluation.statistics import Values
from surrogate.models.files import load_surrogate, shipped
from surrogate.models.jump import JumpSurrogate
from surrogate.models.protocol import Surrogate
from surrogate.processes import learned_process

logger = logging.getLogger("phasetwin")

#: The truth must be this many times tighter than a tolerance for its error to be resolved.
RESOLVED = 3.0
# Times of the run before the timed ones, on the first trajectory alone: enough for a model to take over.
_WARM_TIMES = 3


@dataclass(frozen=True)
class RowErrors:
    """The errors of a :class:`~surrogate.evaluation.frontier.rows.Row`."""

    qoi_error: float
    qoi_worst: str
    qoi_ensemble: float
    qois: dict[str, tuple[float, float]]
    field_error: float = math.nan
    field_worst: float = math.nan


def value_errors(values: Values, truth: Values) -> RowErrors:
    """Errors of quantities, fields left out."""
    errors = (statistics.trajectory_error, statistics.ensemble_error)
    return _largest({name: tuple(error(values[name], true) for error in errors) for name, true in truth.items()})


def frame_errors(problem: Problem, frames: Frames, truth: Frames, truth_values: Values) -> RowErrors:
    """Errors of frames; ``truth_values`` are the quantities of ``truth``."""
    found = value_errors(statistics.quantities(problem, frames), truth_values)
    pointwise = statistics.field_errors(problem, frames.field, truth.field)
    return replace(found, field_error=float(np.median(pointwise.mean(1))), field_worst=float(pointwise.max()))


def seed_floor(truth: Values) -> RowErrors | None:
    """The errors between the halves of the trajectories, which differ in their starts alone; None for one."""
    half = len(next(iter(truth.values()))) // 2
    if half == 0:
        return None
    floors = {
        name: (statistics.trajectory_error(v[half : 2 * half], v[:half]), statistics.ensemble_floor(v))
        for name, v in truth.items()
    }
    return _largest(floors)


def _largest(errors: Mapping[str, tuple[np.ndarray, ...]]) -> RowErrors:
    """From errors (time,) of single trajectories and of their mean, by quantity."""
    pairs = {name: (float(single.mean()), float(mean.mean())) for name, (single, mean) in errors.items()}
    # A figure that is not finite is the worst of all, and is not hidden by max().
    order = {name: [v if np.isfinite(v) else np.inf for v in pair] for name, pair in pairs.items()}
    worst = max(order, key=lambda name: order[name][0])
    return RowErrors(order[worst][0], worst, max(pair[1] for pair in order.values()), pairs)


def persisted(problem: Problem, truth: Frames, ages: np.ndarray) -> Frames:
    """The truth up to the first frame that a model would take over, at scaled ``ages`` (time,), and then that frame."""
    process, count = learned_process(problem.process), len(ages)
    old = process.taken_over(process.to_network(problem, truth.field), ages)
    first = torch.where(old.any(1), old.int().argmax(1), count - 1)
    kept = torch.minimum(torch.arange(count)[None], first[:, None])
    rows = torch.arange(len(kept))[:, None]
    grain_id = None if truth.grain_id is None else truth.grain_id[rows, kept]
    return Frames(truth.field[rows, kept], truth.free_energy[rows, kept], grain_id)


def references(spec: FrontierCase, folder: Path) -> References:
    """The truth of a case: the solver in float64 at a much tighter tolerance, all trajectories as one batch."""
    path = folder / f"{spec.name}-{digest(spec.as_dict())}"
    return References(spec.case(), path, spec.reference, torch.float64, spec.trajectories)


def truth_frames(spec: FrontierCase, folder: Path) -> Frames:
    """The frames of a case's truth (trajectory, time, y, x), computed where they are missing or damaged."""
    truth = references(spec, folder)
    truth.compute()
    return truth.load(range(spec.trajectories))[0]


@dataclass(frozen=True)
class CaseBench:
    """A case ready to be measured; the truth is computed when it is first needed, and kept in ``references``."""

    spec: FrontierCase
    references: Path
    rounds: int
    threads: int

    @cached_property
    def case(self) -> ReferenceCase:
        return self.spec.case()

    @cached_property
    def problem(self) -> Problem:
        return self.case.problem()

    @cached_property
    def truth(self) -> Frames:
        return truth_frames(self.spec, self.references)

    @cached_property
    def truth_values(self) -> Values:
        return statistics.quantities(self.problem, self.truth)

    def key(self, identity: Mapping[str, object]) -> str:
        """Of a candidate's row here."""
        return digest(machine(), self.threads, self.spec.as_dict(), identity)

    def measured(self, candidate: Candidate) -> Row:
        """Runs a candidate: a short run for warmth, then ``rounds`` times."""
        with torch_threads(self.threads), torch.inference_mode():
            bind = candidate.prepare(self.spec)
            bind(self.case.first(1, _WARM_TIMES))()
            (answer, trust), seconds = timed(bind(self.case), self.rounds)
            if isinstance(answer, Frames):
                found = frame_errors(self.problem, answer, self.truth, self.truth_values)
            else:
                found = value_errors(answer, self.truth_values)
        return self._row(
            candidate.name,
            candidate.kind,
            candidate.identity,
            found,
            model=candidate.model,
            tolerance=candidate.tolerance,
            dtype=candidate.dtype,
            stride=candidate.stride,
            ms=1e3 * seconds / self.spec.trajectories,
            trust=float(trust.mean()) if candidate.kind == "model" else math.nan,
            rounds=self.rounds,
        )

    def reference_rows(self) -> list[Row]:
        """What costs nothing: persistence, and the seed-to-seed floor where there are two trajectories or more."""
        still = persisted(self.problem, self.truth, self.case.times)
        found = frame_errors(self.problem, still, self.truth, self.truth_values)
        rows = [self._row("persistence", "persistence", {"reference": "persistence"}, found)]
        floor = seed_floor(self.truth_values)
        if floor is not None:
            rows.append(self._row("seed to seed", "floor", {"reference": "floor"}, floor))
        return rows

    def _row(self, name: str, kind: Kind, identity: Mapping[str, object], found: RowErrors, **more: Any) -> Row:
        spec = self.spec
        return Row(
            key=self.key(identity),
            case=spec.name,
            process=spec.process,
            cells=spec.cells,
            trajectories=spec.trajectories,
            contrast=spec.contrast,
            composition=spec.composition,
            candidate=name,
            kind=kind,
            threads=self.threads,
            **asdict(found),
            **more,
        )


@dataclass(frozen=True)
class Lineup:
    """What takes part: tolerances of the solver in float32 and float64 (``double``), strides and names of models."""

    tolerances: Sequence[float] = TOLERANCES
    double: Sequence[float] = DOUBLE_TOLERANCES
    strides: Sequence[float] = STRIDES
    models: Sequence[str] = field(default_factory=shipped)
    emulator: bool = True


def quick_lineup(models: Sequence[str] | None = None) -> Lineup:
    """Fewer tolerances, and the models' own steps alone."""
    return Lineup(QUICK_TOLERANCES, (), (1.0,), shipped() if models is None else models, emulator=False)


@dataclass(frozen=True)
class BenchResult:
    """The rows of some cases; ``skipped`` holds (case, candidate, reason)."""

    cases: list[FrontierCase]
    rows: list[Row]
    skipped: list[tuple[str, str, str]]
    rounds: int
    threads: int


def load_models(lineup: Lineup) -> dict[str, Surrogate]:
    """Name or path -> model.

    Raises:
        InputError: for a model that is not there or damaged, or two of one name.
    """
    found = {path: load_surrogate(path) for path in dict.fromkeys(lineup.models)}
    names = Counter(model.name for model in found.values())
    twice = min((name for name, count in names.items() if count > 1), default=None)
    if twice is not None:
        raise InputError(f"--model: found two models called {twice!r}, allowed one of each name")
    return found


def run(
    cases: Sequence[FrontierCase],
    lineup: Lineup,
    keep: RowFile,
    references: Path,
    rounds: int = 3,
    threads: int = 1,
    fresh: bool = False,
) -> BenchResult:
    """Measures every candidate in every case with torch on some ``threads``, each in so many timed ``rounds``.

    Args:
        cases, lineup: what is computed, and what takes part.
        keep: gets every row when it is there, so that an interrupted run goes on; its rows are not measured again.
        references: folder of the truths.
        fresh: measure all rows again.

    Raises:
        InputError: for a model that cannot be loaded.
    """
    models = load_models(lineup)
    rows: list[Row] = []
    skipped: list[tuple[str, str, str]] = []
    for case in cases:
        bench = CaseBench(case, references, rounds, threads)
        candidates = list(_taking_part(bench, lineup, models, skipped))
        found = [_kept_or_measured(bench, candidate, keep, fresh) for candidate in candidates]
        extra = [keep.rows.get(bench.key({"reference": name})) for name in ("persistence", "floor")]
        known = [row for row in extra if row is not None]
        if fresh or len(known) < min(2, case.trajectories):
            known = bench.reference_rows()
        keep.add(known, (case.name, case.trajectories))
        rows += found + known
    return BenchResult(list(cases), rows, skipped, rounds, threads)


def _taking_part(
    bench: CaseBench, lineup: Lineup, models: Mapping[str, Surrogate], skipped: list[tuple[str, str, str]]
) -> Iterator[Candidate]:
    """The candidates that can take a case; the reasons of the others go to ``skipped``."""
    case = bench.spec
    for candidate in solver_candidates(lineup.tolerances, lineup.double):
        if candidate.tolerance is not None and candidate.tolerance < RESOLVED * case.reference * (1 - 1e-9):
            reason = f"too near the truth's own tolerance of {case.reference:g} for its error to be resolved"
            skipped.append((case.name, candidate.name, reason))
        else:
            yield candidate
    for path, model in models.items():
        if model.process != case.process:
            continue
        if not isinstance(model, JumpSurrogate):
            skipped.append((case.name, model.name, f"a network of kind {model.kind} is no engine: it needs images"))
            continue
        try:
            model.check(bench.problem)
        except InputError as error:
            skipped.append((case.name, model.name, str(error)))
            continue
        yield from model_candidates(path, model, lineup.strides)
    if lineup.emulator:
        yield emulator_candidate()


def _kept_or_measured(bench: CaseBench, candidate: Candidate, keep: RowFile, fresh: bool) -> Row:
    known = keep.rows.get(bench.key(candidate.identity))
    if known is not None and known.rounds >= bench.rounds and not fresh:
        return known
    row = bench.measured(candidate)
    keep.add([row])
    figures = f"field error {row.field_error:.3g}, QoI error {row.qoi_error:.3g}, {row.ms:.3g} ms a trajectory"
    logger.info(f"{bench.spec.name}: {row.candidate}: {figures}")
    return row
