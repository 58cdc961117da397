"""Error against cost, one column of panels for each case. Nothing here touches matplotlib's global state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator, NullFormatter

from surrogate.evaluation.frontier.rows import Measure, Row

_INK, _MUTED, _RULE = "#22272e", "#6b7480", "#d5dae0"
_SOLVER: dict[str, dict[str, Any]] = {
    "float32": {"color": "#1f7a8c", "marker": "o", "ls": "-"},
    "float64": {"color": "#1f7a8c", "marker": "o", "ls": ":", "mfc": "white"},
}
# Told apart by their markers too.
_MODELS = [("#d1495b", "D"), ("#30123b", "s"), ("#c98b1b", "^"), ("#5c8a3a", "v")]
_LEVELS = {"persistence": "--", "floor": (0, (1, 2))}
_LABELS: dict[Measure, str] = {"field": "field error", "qoi": "QoI error"}
_DPI = 140


def picture(rows: Sequence[Row], path: Path) -> None:
    """Draws the rows of one process: fields above, quantities of interest below, a case in each column."""
    cases = list(dict.fromkeys(row.case for row in rows))
    models = list(dict.fromkeys(row.model for row in rows if row.kind == "model"))
    figure = Figure(figsize=(2.75 * len(cases) + 1.2, 6.0), layout=ConstrainedLayoutEngine(), facecolor="white")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, len(cases), squeeze=False, sharex="col")
    measures: tuple[Measure, Measure] = ("field", "qoi")
    known: dict[str, Any] = {}
    for line, measure in zip(panels, measures, strict=True):
        for axes, case in zip(line, cases, strict=True):
            _panel(axes, [row for row in rows if row.case == case], models, measure)
            handles, labels = axes.get_legend_handles_labels()
            known |= dict(zip(labels, handles, strict=True))
        line[0].set_ylabel(_LABELS[measure], fontsize=9, color=_INK)
    for axes, case in zip(panels[0], cases, strict=True):
        axes.set_title(case, fontsize=10, color=_INK)
    for axes in panels[1]:
        axes.set_xlabel("ms a trajectory", fontsize=9, color=_INK)
    figure.legend(
        known.values(), known.keys(), loc="outside lower center", ncols=max(1, min(len(known), 2 * len(cases))),
        frameon=False, fontsize=8,
    )  # fmt: skip
    figure.savefig(path, dpi=_DPI, metadata={"Software": None})


def _panel(axes: Axes, rows: list[Row], models: list[str], measure: Measure) -> None:
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_MUTED)
    axes.set(xscale="log", yscale="log")
    axes.tick_params(colors=_MUTED, labelcolor=_INK, labelsize=8)
    axes.grid(color=_RULE, lw=0.5)
    for dtype, style in _SOLVER.items():
        points = [row for row in rows if row.kind == "solver" and row.dtype == dtype]
        _curve(axes, points, measure, f"solver, {dtype}", style)
        if dtype == "float32":
            _name_points(axes, points, measure)
    for number, name in enumerate(models):
        color, marker = _MODELS[number % len(_MODELS)]
        points = sorted((r for r in rows if r.model == name), key=lambda r: r.stride or 0.0)
        _curve(axes, points, measure, name, {"color": color, "marker": marker, "ls": "-", "zorder": 3})
    for row in rows:
        if row.kind in _LEVELS and math.isfinite(row.error(measure)):
            axes.axhline(row.error(measure), color=_MUTED, lw=1.0, ls=_LEVELS[row.kind], label=row.candidate)
    _decades(axes, [row.ms for row in rows])


def _curve(axes: Axes, rows: list[Row], measure: Measure, label: str, style: dict[str, Any]) -> None:
    points = [(row.ms, row.error(measure)) for row in rows]
    points = [p for p in points if all(math.isfinite(v) and v > 0 for v in p)]
    if points:
        cost, error = zip(*points, strict=True)
        axes.plot(cost, error, label=label, ms=4.5, lw=1.2, **style)


def _name_points(axes: Axes, rows: list[Row], measure: Measure) -> None:
    """The loosest and the tightest tolerance beside their points."""
    shown = [row for row in rows if math.isfinite(row.ms) and row.error(measure) > 0]
    for row in {id(r): r for r in (*shown[:1], *shown[-1:])}.values():
        axes.annotate(
            f"{row.tolerance:g}", (row.ms, row.error(measure)), xytext=(4, 4), textcoords="offset points",
            fontsize=7, color=_MUTED,
        )  # fmt: skip


def _decades(axes: Axes, costs: list[float]) -> None:
    """Ticks that do not crowd a narrow panel: 1, 2 and 5 where costs span less than two decades."""
    known = [cost for cost in costs if math.isfinite(cost) and cost > 0]
    narrow = bool(known) and max(known) < 60 * min(known)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if narrow else (1.0,)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
