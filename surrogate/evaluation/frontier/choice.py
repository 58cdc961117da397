"""From rows to an engine: the cheapest candidate that was measured to meet a tolerance."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from solvers.errors import InputError
from solvers.user_cache import cache_folder
from surrogate.evaluation.frontier.cases import quick_case
from surrogate.evaluation.frontier.rows import Measure, Row, RowFile, machine, machine_table
from surrogate.models.files import SHIPPED, check_cells, read_about, shipped

logger = logging.getLogger("phasetwin")

_NAMES: dict[Measure, str] = {"qoi": "QoI", "field": "field"}


@dataclass(frozen=True)
class MeasuredChoice:
    """An engine, and why.

    ``engine`` is ``"solver"``, or the model's name, which is then also ``model``, with the ``stride`` of its steps over
    those of its schedule. ``solver_tolerance`` is the cheapest measured to meet what was asked, or where none was, just
    that. ``reason`` is one line with the measured figures; ``measured`` holds the case and the rows that decided, for
    JSON.
    """

    engine: str
    model: str | None
    stride: float | None
    solver_tolerance: float
    reason: str
    measured: dict[str, object] = field(default_factory=dict)


def decide(
    rows: Iterable[Row],
    process: str,
    cells: tuple[int, ...],
    tolerance: float,
    kind: Measure = "qoi",
    contrast: float = 0.0,
    models: Sequence[str] | None = None,
    strides: Sequence[float] | None = None,
) -> MeasuredChoice:
    """The cheapest candidate whose measured error is at most ``tolerance``, in the case nearest in size.

    Nothing is read between or beyond measured points. Where no candidate meets the tolerance, it is the solver at it.

    Args:
        rows: measured; those of another process, of unequal phases or of the other kind of mobility do not count.
        cells: of the box, along each axis.
        kind: which relative error: of statistics or of fields.
        contrast: mobility contrast.
        models, strides: that may be chosen; all by default.
    """
    found = [
        row
        for row in rows
        if row.process == process and row.composition == 0.0 and (row.contrast > 0) == (contrast > 0)
        if row.kind == "solver" or (row.kind == "model" and (models is None or row.model in models))
        if row.stride is None or strides is None or row.stride in strides
    ]
    if not found:
        text = f"solver: nothing was measured for {process} with a mobility contrast of {contrast:g}"
        return MeasuredChoice("solver", None, None, tolerance, text)
    side = math.prod(cells) ** (1.0 / len(cells))
    case, count = min(
        {(row.case, row.cells, row.trajectories) for row in found},
        key=lambda c: (abs(math.log(c[1] / side)), -c[2], c[0]),
    )[::2]
    return _decided([row for row in found if (row.case, row.trajectories) == (case, count)], tolerance, kind)


def _decided(rows: list[Row], tolerance: float, kind: Measure) -> MeasuredChoice:
    names = dict.fromkeys(row.model for row in rows)
    best = {name: _best([row for row in rows if row.model == name], tolerance, kind) for name in names}
    meeting = [row for row in best.values() if _meets(row, tolerance, kind)]
    chosen = min(meeting, key=lambda row: row.ms, default=None)
    solver = best.get("")
    fits = solver is not None and _meets(solver, tolerance, kind)
    solver_tolerance = solver.tolerance if solver is not None and fits else None
    size = f"{rows[0].cells} x {rows[0].cells} cells"
    measured = {
        "case": rows[0].case,
        "cells": rows[0].cells,
        "error": _NAMES[kind],
        "tolerance": tolerance,
        "machine": machine(),
        "rows": [row.as_dict() for row in best.values()],
    }
    return MeasuredChoice(
        engine=chosen.model if chosen is not None and chosen.model else "solver",
        model=chosen.model if chosen is not None and chosen.model else None,
        stride=chosen.stride if chosen is not None else None,
        solver_tolerance=tolerance if solver_tolerance is None else solver_tolerance,
        reason=f"{_reason(chosen, best, tolerance, kind)}; measured on {rows[0].case}, {size}",
        measured=measured,
    )


def _meets(row: Row, tolerance: float, kind: Measure) -> bool:
    return row.error(kind) <= tolerance and math.isfinite(row.ms)  # false for NaN


def _best(rows: list[Row], tolerance: float, kind: Measure) -> Row:
    """The cheapest that meets the tolerance, or the most accurate."""
    meeting = [row for row in rows if _meets(row, tolerance, kind)]
    if meeting:
        return min(meeting, key=lambda row: row.ms)
    return min(rows, key=lambda row: row.error(kind) if math.isfinite(row.error(kind)) else math.inf)


def _reason(chosen: Row | None, best: dict[str, Row], tolerance: float, kind: Measure) -> str:
    if chosen is None:
        parts = [f"solver: at a tolerance of {tolerance:g}, for nothing measured has a {_NAMES[kind]} error of it"]
    else:
        setting = f" (tolerance {chosen.tolerance:g})" if chosen.tolerance is not None else ""
        error = f"a {_NAMES[kind]} error of {chosen.error(kind):.2g}{setting}"
        parts = [f"{chosen.model or 'solver'}: {chosen.ms:.3g} ms a trajectory at {error}"]
    for name, row in best.items():
        if row is chosen:
            continue
        if _meets(row, tolerance, kind):
            parts.append(f"{name or 'the solver'} takes {row.ms:.3g} ms")
        else:
            parts.append(f"{name or 'the solver'} misses {tolerance:g} ({row.error(kind):.2g})")
    return "; ".join(parts)


def auto_choice(
    process: str,
    cells: tuple[int, ...],
    contrast: float,
    tolerance: float,
    of: Literal["statistics", "fields"] = "statistics",
) -> MeasuredChoice:
    """The engine of a sweep, by this machine's table; a small one is measured first where there is none.

    Only models that ship, have calibrated bands and take the grid can be chosen, with their own steps. Where there is
    none of them nothing is measured: it is the solver. Arguments as in :func:`decide`, ``of`` in place of ``kind``,
    with the largest mobility contrast of the sweep.
    """
    models, others = usable_models(process, cells)
    because = "; ".join(others)
    if not models:
        reason = because or f"no model of {process} ships with this version"
        return MeasuredChoice("solver", None, None, tolerance, f"solver: {reason}")
    kind: Measure = "qoi" if of == "statistics" else "field"
    rows = ensure_table(process, contrast).complete_rows()
    choice = decide(rows, process, cells, tolerance, kind, contrast, models, strides=(1.0,))
    return replace(choice, reason=f"{choice.reason}; {because}") if because else choice


def ensure_table(process: str, contrast: float = 0.0) -> RowFile:
    """This machine's table with at least the small case of a process in it, measured now where it is missing."""
    table, case = machine_table(), quick_case(process, contrast)
    if not any(name == case.name for name, _ in table.complete):
        from surrogate.evaluation.frontier import bench

        logger.info(f"measuring solver and models on this machine, once: {case.name}, about a minute")
        bench.run([case], bench.quick_lineup(), table, cache_folder() / "frontier-references", rounds=1)
    return table


def usable_models(process: str, cells: tuple[int, ...]) -> tuple[list[str], list[str]]:
    """Names of the models of a process that a sweep on this grid can use, and one reason for each of the others."""
    usable, reasons = [], []
    for name in shipped():
        about = read_about(SHIPPED / name)
        if about["process"] != process:
            continue
        if about["kind"] != "jump":
            reasons.append(f"{name} is no engine (kind {about['kind']})")
        elif not about.get("calibration"):
            reasons.append(f"{name} has no calibrated bands")
        else:
            # By the network's settings, for loading it takes longer than choosing.
            try:
                check_cells(name, about["settings"], cells, "periodic")
                usable.append(name)
            except InputError:
                reasons.append(f"{name} does not take {' x '.join(map(str, cells))} cells")
    return usable, reasons
