"""Quantities against time, structure factors, grain-size distributions: curves of a few representative
points.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from sweeps.report import style
from sweeps.report.choices import headline, mapped
from sweeps.report.data import SweepData, quantile

BAND = (0.1, 0.5, 0.9)


def time_curves(data: SweepData, points: list[int]) -> Figure:
    """Every drawn quantity against time: median and 10-90 % band over realizations, one colour per point."""
    rows = mapped(data)
    figure = style.new_figure(height=3.0 * len(rows) + 0.2)
    axes = figure.subplots(len(rows), 1, squeeze=False, sharex=False)[:, 0]
    colours = style.ordered_colours(len(points))
    for panel, name in zip(axes, rows, strict=True):
        curves = quantile_curves(data, name, points)
        logarithmic = name == headline(data) and data.process == "cahn_hilliard"
        shown = data.times > 0 if logarithmic else np.ones(len(data.times), dtype=bool)
        ends = []
        for (low, middle, high), colour, point in zip(curves, colours, points, strict=True):
            panel.fill_between(data.times[shown], low[shown], high[shown], color=colour, alpha=0.16, lw=0)
            panel.plot(data.times[shown], middle[shown], color=colour, lw=1.7)
            _outer_band(data, panel, name, point, colour, shown)
            ends.append((_last(middle), data.point_label(point), colour))
        style.tidy(panel)
        panel.set_ylabel(_folded_label(data, name), **style.text_style())
        panel.margins(x=0)
        if name == headline(data):
            (_cube_root_guide if logarithmic else _linear_guide)(data, panel, curves)
        if logarithmic:
            style.plain_log_ticks(panel, "x")
            style.plain_log_ticks(panel, "y")
        style.label_ends(panel, [e for e in ends if e[1] and np.isfinite(e[0])])
    axes[-1].set_xlabel("time", **style.text_style())
    return figure


def quantile_curves(data: SweepData, name: str, points: list[int]) -> list[np.ndarray]:
    """Per point (3, time[, k]): 10 %, 50 % and 90 % over realizations."""
    values = data.values(name, points)
    return [np.stack([quantile(v, level, axis=0) for level in BAND]) for v in values]


def _outer_band(data: SweepData, panel: Axes, name: str, point: int, colour: str, shown: np.ndarray) -> None:
    """The engine's own uncertainty band, where it gave one, as thin dotted lines."""
    for suffix in ("_low", "_high"):
        if data.has(name + suffix):
            edge = quantile(data.values(name + suffix, [point])[0], 0.5, axis=0)
            panel.plot(data.times[shown], edge[shown], color=colour, lw=0.8, ls=":")


def _last(curve: np.ndarray) -> float:
    finite = curve[np.isfinite(curve)]
    return float(finite[-1]) if len(finite) else float("nan")


def _folded_label(data: SweepData, name: str) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(data.label(name), 30))


def growth_exponent(data: SweepData, curve: np.ndarray) -> float:
    """d ln L / d ln t of a median curve over the last 60 % of the time, by least squares; NaN if too short."""
    late = (data.times > 0.4 * data.times[-1]) & np.isfinite(curve) & (curve > 0)
    if late.sum() < 3:
        return float("nan")
    return float(np.polyfit(np.log(data.times[late]), np.log(curve[late]), 1)[0])


def _cube_root_guide(data: SweepData, panel: Axes, curves: list[np.ndarray]) -> None:
    """Logarithmic axes and a dashed t^(1/3) above the coarsest curve: what diffusion-limited coarsening tends
    to.
    """
    panel.set_xscale("log")
    panel.set_yscale("log")
    end = np.nanmax([_last(c[2]) for c in curves])
    if not np.isfinite(end):
        return
    t = data.times[data.times >= 0.3 * data.times[-1]]
    if len(t) < 2:
        return
    guide = 1.12 * end * (t / t[-1]) ** (1 / 3)
    panel.plot(t, guide, color=style.MUTED, lw=1.0, ls=(0, (5, 3)))
    middle = len(t) // 3
    note = style.text_style(color=style.MUTED, ha="right", va="bottom", fontsize=style.FONT - 0.5)
    panel.annotate("$t^{1/3}$", (t[middle], guide[middle]), (-2, 2), textcoords="offset points", **note)


def _linear_guide(data: SweepData, panel: Axes, curves: list[np.ndarray]) -> None:
    """A dashed straight line above the coarsest curve with its late slope: mean area grows linearly in time."""
    curve = max((c[1] for c in curves), key=_last)
    late = (data.times > 0.4 * data.times[-1]) & np.isfinite(curve)
    if late.sum() < 3:
        return
    slope, start = np.polyfit(data.times[late], curve[late], 1)
    t = np.array([0.4 * data.times[-1], data.times[-1]])
    line = start + slope * t + 0.08 * np.nanmax(curve)
    panel.plot(t, line, color=style.MUTED, lw=1.0, ls=(0, (5, 3)))
    note = style.text_style(color=style.MUTED, ha="right", va="bottom", fontsize=style.FONT - 0.5)
    panel.annotate("linear in t", (t.mean(), line.mean()), (-4, 3), textcoords="offset points", **note)


def structure_factors(data: SweepData, points: list[int]) -> Figure:
    """S(k) of the representative points at the end: median and 10-90 % band over realizations, Porod's k^-3."""
    k = np.asarray(data.dataset["k"].values, dtype=float)
    last = len(data.times) - 1
    figure = style.new_figure(height=3.6)
    panel = figure.subplots()
    panel.set_xscale("log")
    panel.set_yscale("log")
    middles = []
    # Beyond Nyquist the shells are the corners of the Brillouin zone, which say nothing about the structure.
    inside = k <= _nyquist(data)
    for point, colour in zip(points, style.ordered_colours(len(points)), strict=True):
        values = data.values("structure_factor", [point], last)[0]
        low, middle, high = (np.where(q > 0, q, np.nan)[inside] for q in _levels(values))
        panel.fill_between(k[inside], low, high, color=colour, alpha=0.14, lw=0)
        panel.plot(k[inside], middle, color=colour, lw=1.6, label=data.point_label(point) or None)
        middles.append(middle)
    style.tidy(panel)
    panel.margins(x=0)
    envelope = np.fmax.reduce(middles)
    if np.isfinite(envelope).any():
        _focus(panel, envelope)
        _porod_guide(panel, k[inside], envelope)
    style.plain_log_ticks(panel, "x")
    panel.set_xlabel(f"wavenumber k{data.units('k')}", **style.text_style())
    panel.set_ylabel(data.label("structure_factor"), **style.text_style())
    panel.yaxis.set_minor_locator(NullLocator())
    if data.varied:
        panel.legend(frameon=False, fontsize=style.FONT - 1, labelcolor="linecolor", loc="lower left")
    return figure


def _levels(values: np.ndarray) -> list[np.ndarray]:
    return [quantile(values, level, axis=0) for level in BAND]


def _nyquist(data: SweepData) -> float:
    spacing = float(data.config.get("grid", {}).get("spacing", 1.0))
    return float(np.pi / spacing)


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
    panel.plot(k[part], guide, color=style.MUTED, lw=1.0, ls=(0, (5, 3)))
    middle = len(guide) // 2
    note = style.text_style(color=style.MUTED, fontsize=style.FONT - 0.5)
    panel.annotate("$k^{-3}$", (k[part][middle], guide[middle]), (4, 4), textcoords="offset points", **note)


def grain_sizes(data: SweepData, points: list[int]) -> Figure:
    """Quantiles of the grain area against time for up to three representative points."""
    levels = np.asarray(data.dataset["quantile"].values, dtype=float)
    chosen = points if len(points) <= 3 else [points[0], points[len(points) // 2], points[-1]]
    figure = style.new_figure(height=3.0)
    axes = figure.subplots(1, len(chosen), squeeze=False, sharey=True)[0]
    curves = [quantile(data.values("grain_area_quantile", [point])[0], 0.5, axis=0) for point in chosen]
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
    axes[0].set_ylabel(data.label("grain_area_quantile"), **style.text_style())
    return figure
