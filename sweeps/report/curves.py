"""Curves of a few representative points: quantities against time, and those that have an axis of their own."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from sweeps.report import style
from sweeps.report.choices import mapped
from sweeps.report.data import BAND, SweepData, quantile

LEVELS = (0.1, 0.5, 0.9)


def time_curves(data: SweepData, points: list[int]) -> Figure:
    """Every drawn quantity against time: median and 10-90 % band over realizations, one colour per point."""
    rows, law = mapped(data), data.appearance.growth_law
    figure = style.new_figure(height=3.0 * len(rows) + 0.2)
    axes = figure.subplots(len(rows), 1, squeeze=False, sharex=False)[:, 0]
    colours = style.ordered_colours(len(points))
    for panel, name in zip(axes, rows, strict=True):
        curves = quantile_curves(data, name, points)
        guided = law is not None and name == data.appearance.headline
        logarithmic = guided and law != 1.0
        shown = data.times > 0 if logarithmic else np.ones(len(data.times), dtype=bool)
        ends = []
        for (low, middle, high), colour, point in zip(curves, colours, points, strict=True):
            panel.fill_between(data.times[shown], low[shown], high[shown], color=colour, alpha=0.16, lw=0)
            panel.plot(data.times[shown], middle[shown], color=colour, lw=1.7)
            _engine_band(data, panel, name, point, colour, shown)
            ends.append((_last(middle), data.point_label(point), colour))
        style.tidy(panel)
        panel.set_ylabel(style.folded(data.label(name), 30), **style.text_style())
        panel.margins(x=0)
        if logarithmic:
            _power_guide(data, panel, curves, law or 0.0)
            style.plain_log_ticks(panel, "x")
            style.plain_log_ticks(panel, "y")
        elif guided:
            _linear_guide(data, panel, curves)
        style.label_ends(panel, [e for e in ends if e[1] and np.isfinite(e[0])])
    axes[-1].set_xlabel("time", **style.text_style())
    return figure


def quantile_curves(data: SweepData, name: str, points: list[int]) -> list[np.ndarray]:
    """Per point (3, time[, k]): 10 %, 50 % and 90 % over realizations."""
    values = data.values(name, points)
    return [np.stack(_levels(v)) for v in values]


def _engine_band(data: SweepData, panel: Axes, name: str, point: int, colour: str, shown: np.ndarray) -> None:
    """The engine's own uncertainty band, where it gave one, as thin dotted lines."""
    for suffix in BAND if data.has_band(name) else ():
        edge = quantile(data.values(name + suffix, [point])[0], 0.5, axis=0)
        panel.plot(data.times[shown], edge[shown], color=colour, lw=0.8, ls=":")


def _last(curve: np.ndarray) -> float:
    finite = curve[np.isfinite(curve)]
    return float(finite[-1]) if len(finite) else float("nan")


def growth_exponent(data: SweepData, curve: np.ndarray) -> float:
    """d ln L / d ln t of a median curve over the last 60 % of the time, by least squares; NaN if too short."""
    late = (data.times > 0.4 * data.times[-1]) & np.isfinite(curve) & (curve > 0)
    if late.sum() < 3:
        return float("nan")
    return float(np.polyfit(np.log(data.times[late]), np.log(curve[late]), 1)[0])


def _power_guide(data: SweepData, panel: Axes, curves: list[np.ndarray], law: float) -> None:
    """Logarithmic axes and a dashed t^law above the coarsest curve."""
    panel.set_xscale("log")
    panel.set_yscale("log")
    end = np.nanmax([_last(c[2]) for c in curves])
    if not np.isfinite(end):
        return
    t = data.times[data.times >= 0.3 * data.times[-1]]
    if len(t) < 2:
        return
    guide = 1.12 * end * (t / t[-1]) ** law
    panel.plot(t, guide, **style.GUIDE)
    middle = len(t) // 3
    text = f"$t^{{{Fraction(law).limit_denominator(12)}}}$"
    panel.annotate(text, (t[middle], guide[middle]), (-2, 2), ha="right", va="bottom", **style.note_style())


def _linear_guide(data: SweepData, panel: Axes, curves: list[np.ndarray]) -> None:
    """A dashed straight line above the coarsest curve with its late slope."""
    curve = max((c[1] for c in curves), key=_last)
    late = (data.times > 0.4 * data.times[-1]) & np.isfinite(curve)
    if late.sum() < 3:
        return
    slope, start = np.polyfit(data.times[late], curve[late], 1)
    t = np.array([0.4 * data.times[-1], data.times[-1]])
    line = start + slope * t + 0.08 * np.nanmax(curve)
    panel.plot(t, line, **style.GUIDE)
    panel.annotate("linear in t", (t.mean(), line.mean()), (-4, 3), ha="right", va="bottom", **style.note_style())


def along_axis(data: SweepData, name: str, points: list[int]) -> Figure:
    """A quantity against its own axis at the end: median and 10-90 % band over realizations, one colour per point."""
    figure = style.new_figure(height=3.6)
    panel = figure.subplots()
    along = _axis_values(data, name)
    _draw_along(data, name, points, panel, np.ones(len(along), dtype=bool))
    return figure


def spectrum(data: SweepData, name: str, points: list[int]) -> Figure:
    """The same of a structure factor S(k), on logarithmic axes and with Porod's k^-3."""
    figure = style.new_figure(height=3.6)
    panel = figure.subplots()
    panel.set_xscale("log")
    panel.set_yscale("log")
    k = _axis_values(data, name)
    # Beyond Nyquist the shells are the corners of the Brillouin zone, which are no measure of the structure.
    inside = k <= np.pi / float(data.config.get("grid", {}).get("spacing", 1.0))
    envelope = np.fmax.reduce(_draw_along(data, name, points, panel, inside, positive=True))
    if np.isfinite(envelope).any():
        _focus(panel, envelope)
        _porod_guide(panel, k[inside], envelope)
    style.plain_log_ticks(panel, "x")
    panel.yaxis.set_minor_locator(NullLocator())
    return figure


def _axis_values(data: SweepData, name: str) -> np.ndarray:
    return data.read(data.axis_quantities[name]).astype(float)


def _draw_along(
    data: SweepData, name: str, points: list[int], panel: Axes, inside: np.ndarray, positive: bool = False
) -> list[np.ndarray]:
    """Draw the curves of all points; returns their medians."""
    x, medians = _axis_values(data, name)[inside], []
    for point, colour in zip(points, style.ordered_colours(len(points)), strict=True):
        levels = [level[inside] for level in _levels(data.values(name, [point], len(data.times) - 1)[0])]
        low, middle, high = (np.where(v > 0, v, np.nan) for v in levels) if positive else levels
        panel.fill_between(x, low, high, color=colour, alpha=0.14, lw=0)
        panel.plot(x, middle, color=colour, lw=1.6, label=data.point_label(point) or None)
        medians.append(middle)
    style.tidy(panel).margins(x=0)
    panel.set_xlabel(data.axis_label(data.axis_quantities[name]), **style.text_style())
    panel.set_ylabel(data.label(name), **style.text_style())
    if data.varied:
        panel.legend(frameon=False, fontsize=style.FONT - 1, labelcolor="linecolor", loc="lower left")
    return medians


def _levels(values: np.ndarray) -> list[np.ndarray]:
    return [quantile(values, level, axis=0) for level in LEVELS]


def _focus(panel: Axes, envelope: np.ndarray) -> None:
    """Six decades below the highest peak: further down there is only rounding."""
    top = float(np.nanmax(envelope))
    low, high = panel.get_ylim()
    panel.set_ylim(max(low, top * 1e-6), min(high, top * 4))


def _porod_guide(panel: Axes, k: np.ndarray, envelope: np.ndarray) -> None:
    """A dashed k^-3 above the curves, the decay that sharp interfaces give in two dimensions."""
    part = (k > 4 * k[0]) & (k < 0.45 * k[-1]) & np.isfinite(envelope)
    if part.sum() < 3:
        return
    guide = 1.8 * float((envelope[part] * k[part] ** 3).max()) * k[part] ** -3.0
    panel.plot(k[part], guide, **style.GUIDE)
    middle = len(guide) // 2
    panel.annotate("$k^{-3}$", (k[part][middle], guide[middle]), (4, 4), **style.note_style())


def levels_in_time(data: SweepData, name: str, points: list[int]) -> Figure:
    """A quantity at each level of its axis against time, for up to three representative points."""
    levels = _axis_values(data, name)
    chosen = points if len(points) <= 3 else [points[0], points[len(points) // 2], points[-1]]
    figure = style.new_figure(height=3.0)
    axes = figure.subplots(1, len(chosen), squeeze=False, sharey=True)[0]
    curves = [quantile(data.values(name, [point])[0], 0.5, axis=0) for point in chosen]
    colours = style.ordered_colours(len(levels))
    for panel, values, point in zip(axes, curves, chosen, strict=True):
        for column, colour in zip(values.T, colours, strict=True):
            panel.plot(data.times, column, color=colour, lw=1.6)
        style.tidy(panel).margins(x=0)
        panel.set_title(data.point_label(point), **style.text_style(loc="left"))
        panel.set_xlabel("time", **style.text_style())
    # Only now are the limits, which the panels share, final.
    texts = [f"{100 * level:g} %" for level in levels]
    for panel, values in zip(axes, curves, strict=True):
        ends = zip([_last(column) for column in values.T], texts, colours, strict=True)
        style.label_ends(panel, [end for end in ends if np.isfinite(end[0])])
    axes[0].set_ylabel(data.label(name), **style.text_style())
    return figure
