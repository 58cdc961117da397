"""A run written down: Markdown, CSV and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from surrogate.evaluation.frontier.bench import Result
from surrogate.evaluation.frontier.cases import FRAMES, PROCESSES, Case
from surrogate.evaluation.frontier.curves import TARGETS, SpeedUp, speed_ups
from surrogate.evaluation.frontier.emulated import TRAJECTORIES
from surrogate.evaluation.frontier.machine import machine
from surrogate.evaluation.frontier.picture import picture
from surrogate.evaluation.frontier.rows import EDITION, Measure, Row, csv_of
from sweeps.files import write_text

_INTRO = """\
Every candidate computes the same trajectories from their starts, as a sweep does; a model's first frames are the
solver's, in its time. Errors are taken against the solver at a much tighter tolerance.

- field error: rms(field - truth) / rms(truth - its mean) of each frame, averaged over time; the median over
  trajectories. Worst: of any frame of any trajectory.
- QoI error: relative error of a trajectory's quantity, averaged over time and trajectories, of the quantity for which
  it is largest: free energy, interface density, and domain size or grain count and mean grain area. Ensemble: the
  same of the mean over trajectories.
- ms: wall time of the batch over its trajectories, median of {rounds} timed run(s) after a short one for warmth.
  Statistics are not in it: they cost the same for all.
- emulator: statistics alone, learned from {learning} trajectories from other starts; its ms leave the learning out.
- persistence keeps the first frame that a model would make its own; seed to seed is the difference between starts.

Machine: {processor}, {cores} cores, {threads} used, torch {torch}.
"""
_HEADINGS = {"cahn_hilliard": "Cahn-Hilliard", "grain_growth": "Grain growth"}
_TITLES: dict[Measure, str] = {"field": "field error", "qoi": "QoI error"}


def write_report(folder: Path, result: Result, command: str) -> Path:
    """Writes ``frontier.md``, ``frontier.csv``, ``summary.json`` and a picture for each process.

    Returns:
        The Markdown file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = speed_ups(result.rows)
    drawn: dict[str, str] = {}
    for process in PROCESSES:
        rows = [row for row in result.rows if row.process == process]
        if rows:
            drawn[process] = f"{process.replace('_', '-')}.png"
            picture(rows, folder / drawn[process])
    write_text(folder / "frontier.csv", csv_of(result.rows))
    write_text(folder / "summary.json", json.dumps(_summary(result, found, command), indent=1) + "\n")
    write_text(folder / "frontier.md", markdown(result, found, command, drawn))
    return folder / "frontier.md"


def _summary(result: Result, found: Iterable[SpeedUp], command: str) -> dict[str, object]:
    compared = [{**asdict(item), "ratio": item.ratio} for item in found]
    return {
        "edition": EDITION,
        "command": command,
        "machine": machine(),
        "threads": result.threads,
        "rows": [row.as_dict() for row in result.rows],
        "speed_ups": compared,
        "skipped": [{"case": case, "candidate": name, "reason": reason} for case, name, reason in result.skipped],
    }


def markdown(result: Result, found: Iterable[SpeedUp], command: str, drawn: dict[str, str]) -> str:
    """The report. ``drawn``: process -> file name of its picture."""
    about = machine()
    intro = _INTRO.format(rounds=result.rounds, threads=result.threads, learning=TRAJECTORIES, **about)
    parts = ["# Error against cost: the solver and the learned models\n", intro, f"Made by `{command}`.\n"]
    speed = list(found)
    for process in PROCESSES:
        cases = [case for case in result.cases if case.process == process]
        if not cases:
            continue
        parts.append(f"## {_HEADINGS[process]}\n\n![error against cost]({drawn[process]})\n")
        for case in cases:
            parts.append(_case(case, [row for row in result.rows if row.case == case.name]))
            parts.append(_speed_table([item for item in speed if item.case == case.name]))
    if result.skipped:
        parts.append("## Not measured\n")
        parts += [f"- {case}, {name}: {reason}" for case, name, reason in result.skipped]
    return "\n".join(part for part in parts if part).rstrip("\n") + "\n"


def _case(case: Case, rows: list[Row]) -> str:
    kind = f", mean {case.composition:g}, contrast {case.contrast:g}" if case.process == "cahn_hilliard" else ""
    kappa = case.kappa()
    what = f"{case.trajectories} trajectories together" if case.trajectories > 1 else "One trajectory"
    lines = [
        f"### {case.name}\n",
        f"{what}, kappa {kappa.min():g} to {kappa.max():g}{kind}, {FRAMES} frames to a scaled age of {case.end:g}. "
        f"Truth: the solver at {case.reference:g}.\n",
        "| candidate | field error | worst | QoI error | of | ensemble | ms a trajectory | inside domain |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        quantity = row.qoi_worst.replace("_", " ") or "-"
        figures = [row.field_error, row.field_worst, row.qoi_error, row.qoi_ensemble, row.ms]
        a, b, c, d, e = (_figure(value) for value in figures)
        share = f"{100 * row.trust:.0f} %" if math.isfinite(row.trust) else "-"
        lines.append(f"| {row.candidate} | {a} | {b} | {c} | {quantity} | {d} | {e} | {share} |")
    return "\n".join(lines) + "\n"


def _figure(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "-"


def _speed_table(items: list[SpeedUp]) -> str:
    """Speed-ups of the models of one case; empty without any."""
    if not items:
        return ""
    lines = [
        "How many times cheaper than the solver at equal error. Costs are read between measured points; an error "
        "looser than all of them costs what the cheapest setting does.\n",
        "| model | error | solver ms | model ms | times cheaper |",
        "| --- | --- | --- | --- | --- |",
    ]
    targets = {(measure, error) for measure, errors in TARGETS.items() for error in errors}
    for item in items:
        best = " (the model's best)" if item.own and (item.measure, item.error) not in targets else ""
        costs = [_figure(math.nan if ms is None else ms) for ms in (item.solver_ms, item.model_ms)]
        error = f"{_TITLES[item.measure]} {item.error:.3g}{best}"
        lines.append(f"| {item.model} | {error} | {costs[0]} | {costs[1]} | {item.text()} |")
    return "\n".join(lines) + "\n"
