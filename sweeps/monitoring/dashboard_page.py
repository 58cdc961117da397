"""The page in Dask's dashboard: map, curves, numbers and failures of the sweep with the latest facts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from html import escape
from typing import Protocol

import numpy as np
from bokeh.document import Document
from bokeh.layouts import column, row
from bokeh.models import BasicTicker
from bokeh.models.ranges import FactorRange
from bokeh.models.sources import ColumnDataSource
from bokeh.models.widgets.markups import Div
from bokeh.models.widgets.tables import DataTable, TableColumn
from bokeh.palettes import Viridis256
from bokeh.plotting import figure
from bokeh.transform import factor_cmap

from sweeps.monitoring.facts import Facts
from sweeps.plan.description import many

REFRESH_MS = 1000
STATES = {
    "pending": "#e4e4e7",
    "done": "#2563eb",
    "verified": "#15803d",
    "diverged": "#f59e0b",
    "failed": "#dc2626",
}
MAP_PIXELS = 460
NOTHING_YET = "<p>No sweep has reported here yet.</p>"


class FactsSource(Protocol):
    """What the page shows, see :class:`sweeps.monitoring.scheduler_plugin.WatchPlugin`."""

    def facts(self) -> Facts | None:
        """Of the sweep with the latest facts; None before the first."""


def draw(plugin: FactsSource, doc: Document) -> None:
    """Fill a Bokeh document, and bring it up to date once a second."""
    doc.title = "phasetwin"
    page = _Page(plugin)
    page.update()
    doc.add_root(page.layout)
    doc.add_periodic_callback(page.update, REFRESH_MS)


class _Page:
    """What is on the page; figures are made from the first facts."""

    def __init__(self, plugin: FactsSource) -> None:
        self._plugin = plugin
        self._head = Div(text=NOTHING_YET, width=960, name="head")
        self._map = ColumnDataSource({"x": [], "y": [], "state": []})
        self._curves: dict[str, ColumnDataSource] = {}
        self._failures = ColumnDataSource({"point": [], "parameters": [], "status": [], "error": []})
        self._fail_head = Div(text="", width=960)
        self._shown: tuple[object, ...] = ()
        self.layout = column(self._head, name="phasetwin")

    def update(self) -> None:
        facts = self._plugin.facts()
        if facts is None:
            return
        self._head.text = head(facts)
        what = (facts["store"], *facts["map"]["axes"])
        if what != self._shown:
            self._shown = what
            self._build(facts)
        placed = facts["map"]
        self._map.data = {
            "x": _axis_values(placed, 0),
            "y": _axis_values(placed, 1),
            "state": placed["state"],
        }
        for name, source in self._curves.items():
            lines = facts["curves"][name]
            colours = [Viridis256[int(i)] for i in np.linspace(0, 220, len(lines))]
            source.data = {"xs": [facts["curves"]["time"]] * len(lines), "ys": lines, "colour": colours}
        count = facts["failure_count"]
        first = f", the first {len(facts['failures'])}" if count > len(facts["failures"]) else ""
        self._fail_head.text = f"<b>Failures</b>: {many(count, 'sample')}{first}" if count else "<b>Failures</b>: none"
        self._failures.data = failure_table(facts)

    def _build(self, facts: Facts) -> None:
        names = [n for n in facts["curves"] if n not in ("time", "rows")]
        self._curves = {name: ColumnDataSource({"xs": [], "ys": [], "colour": []}) for name in names}
        curves = [_curve_figure(name, source) for name, source in self._curves.items()]
        titles = {"point": "point", "parameters": "parameters", "status": "state", "error": "why"}
        widths = {"point": 60, "parameters": 300, "status": 70, "error": 530}
        columns = [TableColumn(field=f, title=t, width=widths[f]) for f, t in titles.items()]
        table = DataTable(source=self._failures, columns=columns, width=960, height=180, index_position=None)
        self.layout.children = [
            self._head,
            row(_map_figure(facts["map"], self._map), column(*curves)),
            self._fail_head,
            table,
        ]


def head(facts: Facts) -> str:
    """The numbers, as HTML; all text that comes from a file or a store is escaped."""
    states = facts["states"]
    finished = facts["points"] - states["pending"]
    left = facts["seconds_left"]
    lines = [
        f"<b>{escape(facts['name'])}</b>: {finished} of {facts['points']} points x {facts['realizations']} "
        f"realizations, {facts['phase']}",
        f"{facts['rate_points_per_s']:.3g} points/s; {_time_left(left)}; {many(facts['workers'], 'worker')},"
        f" {many(facts['threads'], 'thread')}; workers lost: {facts['workers_lost']}",
        " &nbsp; ".join(_count(name, count) for name, count in states.items() if count),
        _trust(facts["trust"]),
        _checks(facts["verification"]),
        f"<small>{escape(facts['store'])}, as of {time.strftime('%H:%M:%S', time.localtime(facts['updated']))}</small>",
    ]
    return "<br>".join(line for line in lines if line)


def _count(state: str, count: int) -> str:
    return f'<span style="color:{STATES[state]}">&#9632;</span> {count} {state}'


def _time_left(seconds: float | None) -> str:
    if seconds is None:
        return "time left unknown"
    if seconds < 120:
        return f"{seconds:.0f} s left"
    return f"{seconds / 60:.0f} min left" if seconds < 7200 else f"{seconds / 3600:.1f} h left"


def _trust(trust: Facts | None) -> str:
    if not trust:
        return ""
    text = f"model: {trust['trusted']} of {trust['samples']} samples inside its domain"
    return text + (f" (others: {escape('; '.join(trust['reasons'][:2]))})" if trust["reasons"] else "")


def _checks(checks: Facts | None) -> str:
    if not checks:
        return "spot checks: not yet"
    where = "within the tolerance" if checks["judged_by"] == "tolerance" else "inside the bands"
    return f"spot checks: {checks['within']} of {checks['points']} {where}"


def failure_table(facts: Facts) -> Mapping[str, list[object]]:
    rows = facts["failures"]
    return {
        "point": [r["point"] for r in rows],
        "parameters": [", ".join(f"{n} {v:.4g}" for n, v in r["parameters"].items()) for r in rows],
        "status": [r["status"] for r in rows],
        "error": [r["error"] for r in rows],
    }


def _levels(placed: Facts, axis: int) -> list[str] | None:
    """Names of the values along an axis of a grid; None for scattered points."""
    values = np.unique(placed["xy"[axis]])
    return [f"{v:.4g}" for v in values] if len(values) ** 2 <= 4 * len(placed["x"]) and len(values) <= 64 else None


def _axis_values(placed: Facts, axis: int) -> list[str] | list[float]:
    values = placed["xy"[axis]]
    return [f"{v:.4g}" for v in values] if _levels(placed, axis) else values


def _map_figure(placed: Facts, source: ColumnDataSource) -> figure:
    levels = [_levels(placed, i) for i in range(2)]
    ranges: Facts = {
        f"{name}_range": FactorRange(factors=level) for name, level in zip("xy", levels, strict=True) if level
    }
    plot = figure(width=MAP_PIXELS, height=MAP_PIXELS, title="points", tools="pan,wheel_zoom,reset,hover", **ranges)
    colour = factor_cmap("state", palette=list(STATES.values()), factors=list(STATES))
    if all(levels):
        options: Facts = {"width": 0.92, "height": 0.92}
        plot.rect("x", "y", source=source, fill_color=colour, line_color=None, **options)
    else:
        size = max(3.0, min(14.0, MAP_PIXELS / max(1, len(placed["x"])) ** 0.5 * 0.7))
        plot.scatter("x", "y", source=source, size=size, fill_color=colour, line_color=None)
    names = [*placed["axes"], ""][:2]
    plot.xaxis.axis_label, plot.yaxis.axis_label = (n.replace("_", " ") for n in names)
    plot.xaxis.major_label_orientation = 0.8
    return plot


def _curve_figure(name: str, source: ColumnDataSource) -> figure:
    plot = figure(width=500, height=175, title=name.replace("_", " "), toolbar_location=None, tools="")
    plot.multi_line("xs", "ys", source=source, line_color="colour", line_width=1.5)
    plot.xaxis.axis_label = "time"
    plot.yaxis.ticker = BasicTicker(desired_num_ticks=4)
    plot.yaxis.minor_tick_line_color = None
    return plot
