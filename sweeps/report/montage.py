"""Microstructures side by side over the parameters, on one colour scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from sweeps.report import style
from sweeps.report.appearance import number
from sweeps.report.choices import middle_slice, representatives, show_times
from sweeps.report.data import SweepData

MOST_COLUMNS, MOST_ROWS = 6, 5


@dataclass(frozen=True)
class Tiles:
    """A table of pictures: ``cells`` (row, column) are (point, index of the field time)."""

    cells: list[list[tuple[int, int]]]
    row_labels: list[str]
    column_labels: list[str]
    caption: str


def field_times(data: SweepData) -> np.ndarray:
    dim = data.dataset["field"].dims[2]
    return np.asarray(data.dataset[dim].values, dtype=float)


def choose_tiles(data: SweepData) -> Tiles:
    """Over a grid: parameter by parameter at the last time. Otherwise: representative points by times."""
    times = field_times(data)
    if data.is_grid and len(data.varied) >= 2:
        return _grid_tiles(data, times)
    wanted = data.times[show_times(data, MOST_COLUMNS - 1)]
    columns = sorted({int(np.abs(times - t).argmin()) for t in wanted})
    # Coarsest at the top, as large kappa is in the other arrangement.
    points = representatives(data)[::-1]
    return Tiles(
        [[(point, time) for time in columns] for point in points],
        [data.point_label(point) for point in points],
        [f"t = {times[time]:g}" for time in columns],
        "The first realization of representative points, coarsest at the top, against time.",
    )


def _grid_tiles(data: SweepData, times: np.ndarray) -> Tiles:
    plane, last = middle_slice(data), len(times) - 1
    columns = style.spread_indices(len(plane.values[0]), MOST_COLUMNS)
    rows = style.spread_indices(len(plane.values[1]), MOST_ROWS)[::-1]
    x_name, y_name = (data.symbol(n) for n in plane.axes)
    held = f", {plane.held_text}" if plane.held else ""
    return Tiles(
        [[(int(plane.points[r, c]), last) for c in columns] for r in rows],
        [f"{y_name} = {number(plane.values[1][r])}" for r in rows],
        [f"{x_name} = {number(plane.values[0][c])}" for c in columns],
        f"The first realization at t = {times[last]:g}{held}, the same random start everywhere.",
    )


def montage(data: SweepData, tiles: Tiles) -> Figure:
    shape = data.dataset["field"].shape[-2:]
    columns, rows = len(tiles.column_labels), len(tiles.row_labels)
    tile = min(1.75, (style.WIDTH - 1.6) / max(columns, 4))
    height, width = tile * rows * shape[0] / shape[1] + 0.55, tile * columns + 1.6
    figure = style.new_figure(height, width, tight=True)
    axes = figure.subplots(rows, columns, squeeze=False)
    for r, row in enumerate(tiles.cells):
        for c, (point, time) in enumerate(row):
            panel = style.tidy(axes[r, c], frame=True)
            panel.set(xticks=[], yticks=[], facecolor=style.EMPTY)
            picture = np.ma.masked_invalid(_picture(data, point, time))
            shown = style.draw_field(panel, picture, data.process, data.config)
        label = axes[r, 0].set_ylabel(tiles.row_labels[r], **style.text_style(fontsize=style.FONT - 1))
        label.set_rotation(0)
        label.set(ha="right", va="center")
    for c, text in enumerate(tiles.column_labels):
        axes[-1, c].set_xlabel(text, **style.text_style(fontsize=style.FONT - 1))
    style.bare_colour_bar(shown, axes.ravel(), data.appearance.field_label)
    return figure


def _picture(data: SweepData, point: int, time: int) -> np.ndarray:
    """(y, x) of the first realization; NaN while it has no result."""
    picture = np.array(data.dataset["field"][point, 0, time].values, dtype=float)
    if not data.usable[point, 0]:
        picture[:] = np.nan
    return picture
