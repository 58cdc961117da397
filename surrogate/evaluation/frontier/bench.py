"""A whole run: every candidate in every case, kept row by row."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from solvers.errors import InputError
from surrogate.evaluation.frontier.candidates import (
    DOUBLE_TOLERANCES,
    QUICK_TOLERANCES,
    RESOLVED,
    STRIDES,
    TOLERANCES,
    Candidate,
    model_candidates,
    solver_candidates,
)
from surrogate.evaluation.frontier.cases import Case, quick_case
from surrogate.evaluation.frontier.emulated import identity
from surrogate.evaluation.frontier.machine import cache_folder, machine_table
from surrogate.evaluation.frontier.measure import Bench
from surrogate.evaluation.frontier.rows import Row, RowFile
from surrogate.models.files import shipped

logger = logging.getLogger("phasetwin")


@dataclass(frozen=True)
class Lineup:
    """Who takes part.

    Attributes:
        tolerances, double: of the solver in float32 and in float64.
        strides: of the models.
        models: names or paths.
        emulator: whether one takes part.
    """

    tolerances: Sequence[float] = TOLERANCES
    double: Sequence[float] = DOUBLE_TOLERANCES
    strides: Sequence[float] = STRIDES
    models: Sequence[str] = field(default_factory=shipped)
    emulator: bool = True


def quick_lineup(models: Sequence[str] | None = None) -> Lineup:
    """Fewer tolerances, and the models' own steps alone."""
    return Lineup(QUICK_TOLERANCES, (), (1.0,), shipped() if models is None else models, emulator=False)


@dataclass(frozen=True)
class Result:
    """What a run found.

    Attributes:
        cases: in order.
        rows: of these cases.
        skipped: (case, candidate, reason).
        rounds, threads: of the timing.
    """

    cases: list[Case]
    rows: list[Row]
    skipped: list[tuple[str, str, str]]
    rounds: int
    threads: int


def load_models(lineup: Lineup) -> dict[str, Any]:
    """Name or path -> model.

    Raises:
        InputError: for a model that is not there or damaged, or two of one name.
    """
    from surrogate.models.files import load_surrogate

    found = {path: load_surrogate(path) for path in dict.fromkeys(lineup.models)}
    names = [model.name for model in found.values()]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"--model: found two models called {twice[0]!r}, allowed one of each name")
    return found


def run(
    cases: Sequence[Case],
    lineup: Lineup,
    keep: RowFile,
    references: Path,
    rounds: int = 3,
    threads: int = 1,
    fresh: bool = False,
) -> Result:
    """Measures every candidate in every case; rows that ``keep`` has already are not measured again.

    Args:
        keep: gets every row when it is there, so that an interrupted run goes on.
        references: folder of the truths.
        fresh: measure all rows again.

    Raises:
        InputError: for a model that cannot be loaded.
    """
    models = load_models(lineup)
    solvers = solver_candidates(lineup.tolerances, lineup.double)
    rows: list[Row] = []
    skipped: list[tuple[str, str, str]] = []
    for case in cases:
        bench = Bench(case, references, rounds, threads)
        candidates = list(_taking_part(bench, solvers, models, lineup.strides, skipped))
        found = [_row(bench, c.identity, partial(bench.measured, c), keep, fresh) for c in candidates]
        if lineup.emulator:
            found.append(_row(bench, identity(), bench.emulator_row, keep, fresh))
        extra = [keep.rows.get(bench.key({"reference": name})) for name in ("persistence", "floor")]
        known = [row for row in extra if row is not None]
        if fresh or len(known) < min(2, case.trajectories):
            known = bench.reference_rows()
        keep.add(known, (case.name, case.trajectories))
        rows += found + known
    return Result(list(cases), rows, skipped, rounds, threads)


def _taking_part(
    bench: Bench,
    solvers: Sequence[Candidate],
    models: dict[str, Any],
    strides: Sequence[float],
    skipped: list[tuple[str, str, str]],
) -> Iterator[Candidate]:
    """The candidates that can take a case; the reasons of the others go to ``skipped``."""
    case = bench.case
    for candidate in solvers:
        if candidate.tolerance is not None and candidate.tolerance < RESOLVED * case.reference * (1 - 1e-9):
            reason = f"too near the truth's own tolerance of {case.reference:g} for its error to be resolved"
            skipped.append((case.name, candidate.name, reason))
        else:
            yield candidate
    for path, model in models.items():
        if model.process != case.process:
            continue
        if not hasattr(model, "rollout"):
            skipped.append((case.name, model.name, f"a network of kind {model.kind} is no engine: it needs images"))
            continue
        try:
            model.check(bench.problem)
        except InputError as error:
            skipped.append((case.name, model.name, str(error)))
            continue
        yield from model_candidates(path, model, strides)


def _row(bench: Bench, identity: dict[str, Any], measure: Callable[[], Row], keep: RowFile, fresh: bool) -> Row:
    known = keep.rows.get(bench.key(identity))
    if known is not None and known.rounds >= bench.rounds and not fresh:
        return known
    row = measure()
    keep.add([row])
    figures = f"field error {row.field_error:.3g}, QoI error {row.qoi_error:.3g}, {row.ms:.3g} ms a trajectory"
    logger.info(f"{bench.case.name}: {row.candidate}: {figures}")
    return row


def ensure_table(process: str, contrast: float = 0.0) -> RowFile:
    """This machine's table with at least the small case of a process in it, measured now where it is missing.

    Args:
        process: ``"cahn_hilliard"`` or ``"grain_growth"``.
        contrast: of the mobility; above 0 it is another case.
    """
    table, case = machine_table(), quick_case(process, contrast)
    if not any(name == case.name for name, _ in table.complete):
        logger.info(f"measuring solver and models on this machine, once: {case.name}, about a minute")
        run([case], quick_lineup(), table, cache_folder() / "frontier-references", rounds=1)
    return table
