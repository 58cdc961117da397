"""Quantities of interest over the parameters: maps of a grid, lines over one parameter, scatter of a design."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from sweeps.report import style
from sweeps.report.choices import Slice, drawn_points, mapped, middle_slice, show_times
from sweeps.report.data import SweepData, quantile


def medians(data: SweepData, name: str, points: np.ndarray, time: int) -> np.ndarray:
    """(point,) median over realizations at one time."""
    return quantile(data.values(name, points, time), 0.5, axis=1)


def _scale(values: list[np.ndarray]) -> Normalize:
    finite = np.concatenate([v[np.isfinite(v)].ravel() for v in values])
    if not finite.size:
        return Normalize(0.0, 1.0)
    low, high = float(finite.min()), float(finite.max())
    return Normalize(low, high if high > low else low + (abs(low) or 1.0) * 1e-3)


def _panels(
    data: SweepData,
    points: np.ndarray,
    names: tuple[str, str],
    draw: Callable[[Axes, np.ndarray, Normalize], ScalarMappable],
) -> Figure:
    """Medians at some points, a row per quantity and a column per time, over two parameters."""
    rows, times = mapped(data), show_times(data)
    figure = style.new_figure(height=2.45 * len(rows) + 0.35)
    axes = figure.subplots(len(rows), len(times), squeeze=False, sharex=True, sharey=True)
    for column, time in enumerate(times):
        axes[0, column].set_title(f"t = {data.times[time]:g}", **style.text_style(loc="left"))
    for row, name in enumerate(rows):
        values = [medians(data, name, points, t) for t in times]
        scale = _scale(values)
        shown = [draw(panel, value, scale) for panel, value in zip(axes[row], values, strict=True)]
        style.bare_colour_bar(shown[-1], axes[row], style.folded(data.label(name), 26))
    for panel in axes[-1]:
        panel.set_xlabel(data.parameter_label(names[0]), **style.text_style(fontsize=style.FONT - 1))
    for panel in axes[:, 0]:
        panel.set_ylabel(data.parameter_label(names[1]), **style.text_style(fontsize=style.FONT - 1))
    return figure


def grid_maps(data: SweepData) -> tuple[Figure, Slice]:
    """Maps over the first two varied parameters of a grid: a row per quantity, a column per time."""
    plane = middle_slice(data)
    edges = [style.cell_edges(v) for v in plane.values]

    def draw(panel: Axes, value: np.ndarray, scale: Normalize) -> ScalarMappable:
        _frame(panel, plane)
        table = np.ma.masked_invalid(value.reshape(plane.points.shape))
        return panel.pcolormesh(*edges, table, cmap=style.MAP_COLOURS, norm=scale)

    return _panels(data, plane.points.ravel(), (plane.axes[0], plane.axes[1]), draw), plane


def _frame(panel: Axes, plane: Slice) -> None:
    panel.set_facecolor(style.EMPTY)
    style.tidy(panel, frame=True)
    for axis, values in zip("xy", plane.values, strict=True):
        if style.is_geometric(values):
            getattr(panel, f"set_{axis}scale")("log")
        style.value_ticks(getattr(panel, f"{axis}axis"), values)


def line_maps(data: SweepData) -> tuple[Figure, Slice]:
    """Quantities over the one varied parameter, a line per time, with the spread over realizations."""
    line, rows, times = middle_slice(data), mapped(data), show_times(data)
    figure = style.new_figure(height=3.1)
    axes = figure.subplots(1, len(rows), squeeze=False)[0]
    x, points = line.values[0], line.points.ravel()
    for panel, name in zip(axes, rows, strict=True):
        for time, colour in zip(times, style.ordered_colours(len(times)), strict=True):
            values = data.values(name, points, time)
            low, middle, high = (quantile(values, q, axis=1) for q in (0.1, 0.5, 0.9))
            panel.fill_between(x, low, high, color=colour, alpha=0.18, lw=0)
            panel.plot(x, middle, "o-", ms=3.5, lw=1.4, color=colour, label=f"t = {data.times[time]:g}")
        style.tidy(panel)
        if style.is_geometric(x):
            panel.set_xscale("log")
        style.value_ticks(panel.xaxis, x)
        panel.set_xlabel(data.parameter_label(line.axes[0]), **style.text_style(fontsize=style.FONT - 1))
        panel.set_title(style.folded(data.label(name), 34), **style.text_style(loc="left"))
    axes[0].legend(frameon=False, fontsize=style.FONT - 1, labelcolor=style.INK)
    return figure, line


def scatter_maps(data: SweepData) -> Figure:
    """Points of a scattered design over their first two varied parameters, coloured by each quantity."""
    points, names = drawn_points(data), (data.varied[0], data.varied[1])
    x, y = (data.parameters[n][points] for n in names)
    size = float(np.clip(2600 / len(points), 6, 42))

    def draw(panel: Axes, value: np.ndarray, scale: Normalize) -> ScalarMappable:
        style.tidy(panel)
        known = np.isfinite(value)
        panel.scatter(x[~known], y[~known], s=size, color=style.EMPTY, edgecolor=style.RULE, lw=0.5)
        return panel.scatter(x[known], y[known], c=value[known], s=size, cmap=style.MAP_COLOURS, lw=0, norm=scale)

    return _panels(data, points, names, draw)


def dependence(data: SweepData) -> Figure:
    """Each quantity at the end against each parameter of a scattered design, with the rank correlation."""
    points, rows, last = drawn_points(data), mapped(data), len(data.times) - 1
    figure = style.new_figure(height=2.3 * len(rows) + 0.2)
    axes = figure.subplots(len(rows), len(data.varied), squeeze=False, sharex="col", sharey="row")
    size = float(np.clip(1200 / len(points), 5, 20))
    for row, name in enumerate(rows):
        value = medians(data, name, points, last)
        known = np.isfinite(value)
        for panel, parameter in zip(axes[row], data.varied, strict=True):
            x = data.parameters[parameter][points]
            panel.scatter(x[known], value[known], s=size, color=style.ordered_colours(3)[1], alpha=0.7, lw=0)
            style.tidy(panel)
            note = f"rank correlation {_rank_correlation(x[known], value[known]):+.2f}".replace("-", "−")
            panel.set_title(note, **style.text_style(fontsize=style.FONT - 2, color=style.MUTED, loc="right"))
            panel.margins(0.05, 0.1)
        axes[row, 0].set_ylabel(style.folded(data.label(name), 26), **style.text_style(fontsize=style.FONT - 1))
    for panel, parameter in zip(axes[-1], data.varied, strict=True):
        panel.set_xlabel(data.parameter_label(parameter), **style.text_style(fontsize=style.FONT - 1))
    return figure


def _rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's, 0 where it is not defined."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(np.corrcoef(_ranks(x), _ranks(y))[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    """Places in the sorted order from 1, equal values sharing the mean; scipy.stats takes a second to load."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - 0.5 * (counts - 1))[which]
