"""Where the panels of a figure stand: a grid, with room for what is written around them measured once.

Matplotlib's constrained layout measures everything twice and solves for what a grid gives at once; it takes longer than
drawing the figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import LayoutEngine
from matplotlib.spines import Spine

#: Inches: around the figure, between panels, between pictures, between panels and their colour bar, width of the bar.
EDGE, GAP, PICTURE_GAP, BAR_GAP, BAR_WIDTH = 0.07, 0.16, 0.06, 0.1, 0.13


@dataclass(frozen=True)
class _Line:
    """Rows or columns: inches written before and after each, all of one ``size``, the first at ``start``."""

    before: np.ndarray
    after: np.ndarray
    size: float
    start: float
    gap: float

    @classmethod
    def fitted(cls, before: np.ndarray, after: np.ndarray, length: float, gap: float) -> _Line:
        count = len(before)
        free = length - 2 * EDGE - before.sum() - after.sum() - gap * (count - 1)
        return cls(before, after, max(free / count, 0.1), EDGE, gap)

    def resized(self, size: float) -> _Line:
        """With panels of another size, in the middle of the figure."""
        start = self.start + 0.5 * len(self.before) * (self.size - size)
        return _Line(self.before, self.after, size, start, self.gap)

    def begin(self, index: int) -> float:
        """Inches from the figure's edge to a panel."""
        written = self.before[: index + 1].sum() + self.after[:index].sum()
        return float(self.start + written + index * (self.size + self.gap))

    def end(self, index: int) -> float:
        return self.begin(index) + self.size


class PanelGrid(LayoutEngine):
    """Places the panels that ``figure.subplots`` made above a legend of the figure, when the figure is drawn.

    Args:
        pictures: whether panels are pictures, which stand close together and keep their proportions.
    """

    _adjust_compatible = False
    _colorbar_gridspec = False

    def __init__(self, pictures: bool = False) -> None:
        super().__init__()
        self._pictures = pictures
        self._bars: list[tuple[Axes, Sequence[Axes]]] = []

    def add_bar(self, bar: Axes, beside: Sequence[Axes]) -> None:
        """Have the axes of a colour bar stand at the right of some panels."""
        self._bars.append((bar, beside))

    def execute(self, fig: Figure) -> None:
        panels = [axes for axes in fig.axes if axes.get_subplotspec() is not None]
        if not panels:
            return
        written = {axes: _written_around(fig, axes) for axes in panels if axes.get_visible()}
        columns, rows = self._lines(fig, panels, written)
        height = fig.get_figheight()
        for axes in panels:
            (top, bottom), (left, right) = _rows(axes), _columns(axes)
            _place(fig, axes, columns.begin(left), columns.end(right), height - rows.end(bottom), rows.begin(top))
        for bar, beside in self._bars:
            column, last, first = _beside(beside)
            x = columns.end(column) + _right_of(beside, written) + BAR_GAP
            _place(fig, bar, x, x + BAR_WIDTH, height - rows.end(last), rows.begin(first))

    def _lines(self, fig: Figure, panels: list[Axes], written: dict[Axes, np.ndarray]) -> tuple[_Line, _Line]:
        """Columns from the left, rows from the top."""
        spec = panels[0].get_subplotspec()
        assert spec is not None
        count_rows, count_columns = spec.get_gridspec().get_geometry()
        left, right, top, bottom = (np.zeros(n) for n in (count_columns, count_columns, count_rows, count_rows))
        for axes, around in written.items():
            for side, index, room in (
                (left, _columns(axes)[0], around[0]),
                (right, _columns(axes)[1], around[1]),
                (bottom, _rows(axes)[1], around[2]),
                (top, _rows(axes)[0], around[3]),
            ):
                side[index] = max(side[index], room)
        for bar, beside in self._bars:
            around = _written_around(fig, bar)
            column, last, first = _beside(beside)
            right[column] = max(right[column], _right_of(beside, written) + BAR_GAP + BAR_WIDTH + around[1])
            bottom[last], top[first] = max(bottom[last], around[2]), max(top[first], around[3])
        renderer = cast(FigureCanvasAgg, fig.canvas).get_renderer()
        bottom[-1] += sum(legend.get_window_extent(renderer).height / fig.dpi for legend in fig.legends)
        gap = PICTURE_GAP if self._pictures else GAP
        width, height = fig.get_size_inches()
        columns, rows = _Line.fitted(left, right, width, gap), _Line.fitted(top, bottom, height, gap)
        if self._pictures:
            shape = panels[0].get_data_ratio()
            size = min(columns.size, rows.size / shape)
            columns, rows = columns.resized(size), rows.resized(size * shape)
        return columns, rows


def _rows(axes: Axes) -> tuple[int, int]:
    """First and last row of a panel."""
    span = axes.get_subplotspec().rowspan  # type: ignore[union-attr]
    return span.start, span.stop - 1


def _columns(axes: Axes) -> tuple[int, int]:
    span = axes.get_subplotspec().colspan  # type: ignore[union-attr]
    return span.start, span.stop - 1


def _written_around(fig: Figure, axes: Axes) -> np.ndarray:
    """Inches that labels and notes take at the left, right, bottom and top of a panel."""
    renderer = cast(FigureCanvasAgg, fig.canvas).get_renderer()
    written = [artist for artist in axes.get_default_bbox_extra_artists() if not isinstance(artist, Spine)]
    whole = axes.get_tightbbox(renderer, bbox_extra_artists=written, for_layout_only=True)
    if whole is None:
        return np.zeros(4)
    own = axes.bbox
    around = (own.x0 - whole.x0, whole.x1 - own.x1, own.y0 - whole.y0, whole.y1 - own.y1)
    return np.maximum(around, 0.0) / fig.dpi


def _beside(panels: Sequence[Axes]) -> tuple[int, int, int]:
    """Last column, last row and first row of some panels."""
    rows = [_rows(axes) for axes in panels]
    return max(_columns(axes)[1] for axes in panels), max(row[1] for row in rows), min(row[0] for row in rows)


def _right_of(beside: Sequence[Axes], written: dict[Axes, np.ndarray]) -> float:
    last = _beside(beside)[0]
    return max(float(written[a][1]) for a in beside if a in written and _columns(a)[1] == last)


def _place(fig: Figure, axes: Axes, left: float, right: float, bottom: float, top: float) -> None:
    """Position in inches from the left and lower edges; ``top`` is from the upper one."""
    width, height = fig.get_size_inches()
    axes.set_position((left / width, bottom / height, (right - left) / width, (height - top - bottom) / height))
    # Axes with a position of their own leave the layout, and with it the bounding box of a saved figure.
    axes.set_in_layout(True)
