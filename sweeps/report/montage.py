"""Microstructures side by side over the parameters, on one colour scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from sweeps.report import style
from sweeps.report.appearance import number
from sweeps.report.choices import middle_slice, representatives, show_times
from sweeps.report.data import SweepData
from sweeps.store.group import dimension_names

MOST_COLUMNS, MOST_ROWS = 6, 5
#: Between pictures, as a share of their width.
GAP = 0.05


@dataclass(frozen=True)
class Tiles:
    """A table of pictures: ``cells`` (row, column) are (point, index of the field time)."""

    cells: list[list[tuple[int, int]]]
    row_labels: list[str]
    column_labels: list[str]
    caption: str


def field_times(data: SweepData) -> np.ndarray:
    return data.read(dimension_names(data.store.array("field"))[2]).astype(float)


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
    """All pictures in one panel, whose ticks name rows and columns: a panel for each takes far longer to draw."""
    shape = data.store.array("field").shape[-2:]
    columns, rows = len(tiles.column_labels), len(tiles.row_labels)
    tile = min(1.75, (style.WIDTH - 1.6) / max(columns, 4))
    height, width = tile * rows * shape[0] / shape[1] + 0.55, tile * columns + 1.6
    figure = style.new_figure(height, width, tight=True)
    panel = style.tidy(figure.subplots())
    step_x, step_y = shape[1] * (1 + GAP), shape[0] + GAP * shape[1]
    for r, row in enumerate(tiles.cells):
        for c, (point, time) in enumerate(row):
            left, bottom = c * step_x, (rows - 1 - r) * step_y
            picture = np.ma.masked_invalid(_picture(data, point, time))
            panel.add_patch(
                Rectangle(
                    (left, bottom), shape[1], shape[0], fc=style.EMPTY, ec=style.RULE, lw=1.4, zorder=-1, clip_on=False
                )
            )
            shown = style.draw_field(panel, picture, data.process, data.config)
            shown.set_extent((left, left + shape[1], bottom, bottom + shape[0]))
    panel.set(xlim=(0, columns * step_x - GAP * shape[1]), ylim=(0, rows * step_y - GAP * shape[1]))
    panel.set_xticks(np.arange(columns) * step_x + shape[1] / 2, tiles.column_labels)
    panel.set_yticks(np.arange(rows)[::-1] * step_y + shape[0] / 2, tiles.row_labels)
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    style.bare_colour_bar(shown, [panel], data.appearance.field_label)
    return figure


def _picture(data: SweepData, point: int, time: int) -> np.ndarray:
    """(y, x) of the first realization; NaN while it has no result."""
    picture = np.array(data.store.array("field")[data.rows[point], 0, time], dtype=float)
    if not data.usable[point, 0]:
        picture[:] = np.nan
    return picture
