"""A run written down: Markdown, CSV, JSON, and a picture of error against cost for each process."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from solvers.processes.registry import process_named
from surrogate.evaluation.frontier.bench import BenchResult
from surrogate.evaluation.frontier.candidates import LEARNED_TRAJECTORIES
from surrogate.evaluation.frontier.cases import FRAMES, FrontierCase, processes
from surrogate.evaluation.frontier.curves import TARGETS, SpeedUp, speed_ups
from surrogate.evaluation.frontier.rows import EDITION, Measure, Row, machine
from surrogate.evaluation.pictures import save_small, with_grid
from surrogate.evaluation.tables import Cell, ResultTable
from sweeps.files import write_json, write_text
from sweeps.report.style import INK, MUTED, new_figure

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
_TITLES: dict[Measure, str] = {"field": "field error", "qoi": "QoI error"}
_COLUMNS = tuple(f.name for f in fields(Row) if f.name not in ("key", "qois"))


def write_report(folder: Path, result: BenchResult, command: str) -> Path:
    """Writes ``frontier.md``, which it returns, ``frontier.csv``, ``summary.json`` and a picture for each process."""
    drawn: dict[str, str] = {}
    for process in processes():
        rows = [row for row in result.rows if row.process == process]
        if rows:
            drawn[process] = f"{process.replace('_', '-')}.png"
            save_small(picture(rows), folder / drawn[process])
    found = speed_ups(result.rows)
    write_text(folder / "frontier.csv", row_table(result.rows).csv())
    write_json(folder / "summary.json", _summary(result, found, command))
    write_text(folder / "frontier.md", markdown(result, found, command, drawn))
    return folder / "frontier.md"


def _summary(result: BenchResult, found: Iterable[SpeedUp], command: str) -> dict[str, object]:
    return {
        "edition": EDITION,
        "command": command,
        "machine": machine(),
        "threads": result.threads,
        "rows": [row.as_dict() for row in result.rows],
        "speed_ups": [{**asdict(item), "ratio": item.ratio} for item in found],
        "skipped": [{"case": case, "candidate": name, "reason": reason} for case, name, reason in result.skipped],
    }


def row_table(rows: Iterable[Row]) -> ResultTable:
    return ResultTable("frontier", "", _COLUMNS, [[_cell(getattr(row, name)) for name in _COLUMNS] for row in rows])


def _cell(value: Cell | None) -> Cell:
    return "" if value is None or (isinstance(value, float) and not math.isfinite(value)) else value


def markdown(result: BenchResult, found: Sequence[SpeedUp], command: str, drawn: dict[str, str]) -> str:
    """The report. ``drawn``: process -> file name of its picture."""
    intro = _INTRO.format(rounds=result.rounds, threads=result.threads, learning=LEARNED_TRAJECTORIES, **machine())
    parts = ["# Error against cost: the solver and the learned models\n", intro, f"Made by `{command}`.\n"]
    for process in processes():
        cases = [case for case in result.cases if case.process == process]
        if not cases:
            continue
        heading = process_named(process).appearance.title.split(":")[0]
        parts.append(f"## {heading}\n\n![error against cost]({drawn[process]})\n")
        for case in cases:
            parts.append(_case_text(case, [row for row in result.rows if row.case == case.name]))
            parts.append(_speed_text([item for item in found if item.case == case.name]))
    if result.skipped:
        parts.append("## Not measured\n")
        parts += [f"- {case}, {name}: {reason}" for case, name, reason in result.skipped]
    return "\n".join(part for part in parts if part).rstrip("\n") + "\n"


def _case_text(case: FrontierCase, rows: list[Row]) -> str:
    names = {"composition": "mean", "mobility_contrast": "contrast"}
    kind = "".join(f", {names[name]} {value:g}" for name, value in case.parameters().items() if name in names)
    kappa = case.kappa()
    what = f"{case.trajectories} trajectories together" if case.trajectories > 1 else "One trajectory"
    return (
        f"### {case.name}\n\n{what}, kappa {kappa.min():g} to {kappa.max():g}{kind}, {FRAMES} frames to a scaled age "
        f"of {case.end:g}. Truth: the solver at {case.reference:g}.\n\n{_case_table(rows).markdown()}"
    )


def _case_table(rows: list[Row]) -> ResultTable:
    columns = "candidate | field error | worst | QoI error | of | ensemble | ms a trajectory | inside domain"
    cells = [
        [
            row.candidate,
            *(_figure(value) for value in (row.field_error, row.field_worst, row.qoi_error)),
            row.qoi_worst.replace("_", " ") or "-",
            *(_figure(value) for value in (row.qoi_ensemble, row.ms)),
            f"{100 * row.trust:.0f} %" if math.isfinite(row.trust) else "-",
        ]
        for row in rows
    ]
    return ResultTable("case", "", columns.split(" | "), cells)


def _figure(value: float | None) -> str:
    return f"{value:.3g}" if value is not None and math.isfinite(value) else "-"


def _speed_text(items: list[SpeedUp]) -> str:
    if not items:
        return ""
    targets = {(measure, error) for measure, errors in TARGETS.items() for error in errors}
    rows = []
    for item in items:
        best = " (the model's best)" if item.own and (item.measure, item.error) not in targets else ""
        error = f"{_TITLES[item.measure]} {item.error:.3g}{best}"
        rows.append([item.model, error, _figure(item.solver_ms), _figure(item.model_ms), item.text()])
    table = ResultTable("speed", "", ["model", "error", "solver ms", "model ms", "times cheaper"], rows)
    return (
        "How many times cheaper than the solver at equal error. Costs are read between measured points; an error "
        f"looser than all of them costs what the cheapest setting does.\n\n{table.markdown()}"
    )


_SOLVER = "#1f7a8c"
# They differ by their markers too.
_MODELS = [("#d1495b", "D"), ("#30123b", "s"), ("#c98b1b", "^"), ("#5c8a3a", "v")]
_LEVELS: dict[str, str | tuple[int, tuple[int, int]]] = {"persistence": "--", "floor": (0, (1, 2))}


def picture(rows: Sequence[Row]) -> Figure:
    """The rows of one process: fields above, quantities of interest below, a case in each column."""
    cases = list(dict.fromkeys(row.case for row in rows))
    models = list(dict.fromkeys(row.model for row in rows if row.kind == "model"))
    figure = new_figure(6.0, 2.75 * len(cases) + 1.2)
    panels = figure.subplots(2, len(cases), squeeze=False, sharex="col")
    measures: tuple[Measure, Measure] = ("field", "qoi")
    known: dict[str, Artist] = {}
    for line, measure in zip(panels, measures, strict=True):
        for axes, case in zip(line, cases, strict=True):
            _panel(axes, [row for row in rows if row.case == case], models, measure)
            handles, labels = axes.get_legend_handles_labels()
            known |= dict(zip(labels, handles, strict=True))
        line[0].set_ylabel(_TITLES[measure], fontsize=9, color=INK)
    for axes, case in zip(panels[0], cases, strict=True):
        axes.set_title(case, fontsize=10, color=INK)
    for axes in panels[1]:
        axes.set_xlabel("ms a trajectory", fontsize=9, color=INK)
    columns = max(1, min(len(known), 2 * len(cases)))
    figure.legend(list(known.values()), list(known), loc="lower center", ncols=columns, frameon=False, fontsize=8)
    return figure


def _panel(axes: Axes, rows: list[Row], models: list[str], measure: Measure) -> None:
    with_grid(axes).set(xscale="log", yscale="log")
    for dtype, line, face in (("float32", "-", _SOLVER), ("float64", ":", "white")):
        points = [row for row in rows if row.kind == "solver" and row.dtype == dtype]
        _curve(axes, points, measure, f"solver, {dtype}", color=_SOLVER, marker="o", ls=line, mfc=face)
        if dtype == "float32":
            _name_points(axes, points, measure)
    for number, name in enumerate(models):
        color, marker = _MODELS[number % len(_MODELS)]
        points = sorted((r for r in rows if r.model == name), key=lambda r: r.stride or 0.0)
        _curve(axes, points, measure, name, color=color, marker=marker, ls="-", mfc=color)
    for row in rows:
        if row.kind in _LEVELS and math.isfinite(row.error(measure)):
            axes.axhline(row.error(measure), color=MUTED, lw=1.0, ls=_LEVELS[row.kind], label=row.candidate)
    _decades(axes, [row.ms for row in rows])


def _curve(axes: Axes, rows: list[Row], measure: Measure, label: str, **style: str) -> None:
    points = [(row.ms, row.error(measure)) for row in rows]
    points = [p for p in points if all(math.isfinite(v) and v > 0 for v in p)]
    if points:
        cost, error = zip(*points, strict=True)
        axes.plot(cost, error, label=label, ms=4.5, lw=1.2, **style)  # type: ignore[arg-type]


def _name_points(axes: Axes, rows: list[Row], measure: Measure) -> None:
    """The loosest and the tightest tolerance beside their points."""
    shown = [row for row in rows if math.isfinite(row.ms) and row.error(measure) > 0]
    for row in {id(r): r for r in (*shown[:1], *shown[-1:])}.values():
        axes.annotate(
            f"{row.tolerance:g}", (row.ms, row.error(measure)), xytext=(4, 4), textcoords="offset points",
            fontsize=7, color=MUTED,
        )  # fmt: skip


def _decades(axes: Axes, costs: list[float]) -> None:
    """Ticks that do not crowd a narrow panel: 1, 2 and 5 where costs span less than two decades."""
    known = [cost for cost in costs if math.isfinite(cost) and cost > 0]
    narrow = bool(known) and max(known) < 60 * min(known)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if narrow else (1.0,)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
