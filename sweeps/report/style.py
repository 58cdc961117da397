"""How the report's figures look. Nothing here touches matplotlib's global state."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from PIL import Image

from sweeps.report.appearance import appearance_of, colour_limits
from sweeps.report.panel_grid import PanelGrid

INK = "#22272e"
MUTED = "#6b7480"
RULE = "#d5dae0"
EMPTY = "#e9ecef"
#: Of a median and the band around it.
BAND = "#4c78a8"
MAP_COLOURS = "viridis"
DPI = 170
#: Of PNG files: half the time of Pillow's own choice, 6, for a tenth more bytes.
COMPRESSION = 3
WIDTH = 9.6
FONT = 9.5
DASHES = (0, (5, 3))
#: Of lines that guide the eye, such as laws and targets.
GUIDE: dict[str, Any] = {"color": MUTED, "lw": 1.0, "ls": DASHES}


def new_figure(height: float, width: float = WIDTH, tight: bool = False) -> Figure:
    """An empty figure with its own Agg canvas (inches); ``tight`` is for pictures, which stand close together."""
    figure = Figure(figsize=(width, height), layout=PanelGrid(pictures=tight), facecolor="white", dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def tidy(axes: Axes, frame: bool = False) -> Axes:
    """Thin grey axes, no frame unless the data fill it."""
    for side, spine in axes.spines.items():
        spine.set_color(RULE if frame else MUTED)
        spine.set_linewidth(0.8)
        spine.set_visible(frame or side in ("left", "bottom"))
    axes.tick_params(which="both", colors=MUTED, labelcolor=INK, labelsize=FONT - 1, width=0.8, length=3)
    axes.tick_params(which="minor", length=1.8)
    return axes


def text_style(**extra: Any) -> dict[str, Any]:
    return {"fontsize": FONT, "color": INK, **extra}


def note_style(**extra: Any) -> dict[str, Any]:
    """Keyword arguments of a note beside a curve, placed in points from it."""
    return text_style(color=MUTED, fontsize=FONT - 0.5, textcoords="offset points", **extra)


def folded(label: str, width: int) -> str:
    return "\n".join(textwrap.wrap(label, width))


def draw_field(axes: Axes, picture: np.ndarray, process: str, options: Mapping[str, Any]) -> AxesImage:
    """A picture (y, x) of a process's field in its colours; options of the file may shift their limits."""
    low, high = colour_limits(process, options)
    colours = appearance_of(process).colours
    return axes.imshow(picture, cmap=colours, vmin=low, vmax=high, origin="lower", interpolation="nearest")


def bare_colour_bar(shown: ScalarMappable, axes: Iterable[Axes], label: str = "") -> None:
    """A colour bar without a frame at the right of some panels of a :func:`new_figure`."""
    beside = list(axes)
    figure = beside[0].get_figure(root=True)
    assert figure is not None
    bar = figure.colorbar(shown, cax=figure.add_axes((0.9, 0.1, 0.02, 0.8)))
    layout = figure.get_layout_engine()
    assert isinstance(layout, PanelGrid)
    layout.add_bar(bar.ax, beside)
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.ax.tick_params(labelsize=FONT - 1, colors=MUTED, labelcolor=INK, length=3)
    bar.set_label(label, **text_style(fontsize=FONT - 1))


def ordered_colours(count: int) -> list[str]:
    """``count`` colours from dark to light, even in lightness, the palest end left out."""
    return [to_hex(colormaps[MAP_COLOURS](x)) for x in np.linspace(0.0, 0.76, max(count, 1))]


def is_geometric(values: np.ndarray) -> bool:
    """Whether values are spread by ratio rather than by difference."""
    values = np.unique(values)
    if len(values) < 3 or values[0] <= 0:
        return False
    ratios, steps = np.diff(np.log(values)), np.diff(values)
    return bool(np.ptp(ratios) / ratios.mean() < np.ptp(steps) / steps.mean() - 1e-9)


def cell_edges(values: np.ndarray) -> np.ndarray:
    """(n + 1,) edges of the cells around sorted values, midway by ratio or by difference."""
    if len(values) == 1:
        half = 0.5 * abs(values[0]) or 0.5
        return np.array([values[0] - half, values[0] + half])
    scaled = np.log(values) if is_geometric(values) else values
    middle = 0.5 * (scaled[1:] + scaled[:-1])
    edges = np.concatenate([[2 * scaled[0] - middle[0]], middle, [2 * scaled[-1] - middle[-1]]])
    return np.exp(edges) if is_geometric(values) else edges


def spread_indices(count: int, most: int) -> np.ndarray:
    """At most ``most`` indices out of ``count``, both ends included, as evenly spaced as can be."""
    if count <= most:
        return np.arange(count)

    def chosen(number: int) -> np.ndarray:
        half = np.floor(np.linspace(0, count - 1, number)[: (number + 1) // 2] + 0.5).astype(int)
        return np.unique(np.concatenate([half, count - 1 - half]))

    # An odd number of indices is symmetric only around a middle one: leave out those that cannot be.
    options = [chosen(number) for number in range(2, most + 1)]
    symmetric = [indices for number, indices in enumerate(options, start=2) if len(indices) == number]
    wide = [indices for indices in symmetric if len(indices) >= most - 2] or symmetric[-1:]
    return min(wide, key=lambda indices: (int(np.ptp(np.diff(indices))), -len(indices)))


def value_ticks(axis: Any, values: np.ndarray, most: int = 5) -> None:
    """Ticks at the parameter values themselves, a few of them if they are many."""
    chosen = values[spread_indices(len(values), most)]
    axis.set_major_locator(FixedLocator(list(chosen)))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.3g}"))
    axis.set_minor_locator(NullLocator())


def plain_log_ticks(axes: Axes, which: str) -> None:
    """Logarithmic axis labelled 5, 10, 20 ... in plain numbers, whether it spans a decade or a factor of two."""
    axis = getattr(axes, f"{which}axis")
    low, high = sorted(axis.get_view_interval())
    steps = [1, 2, 5] if high / low > 12 else [1, 1.5, 2, 3, 4, 5, 6, 8]
    if high / low > 300:
        steps = [1]
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    ticks = [s * 10.0**d for d in decades for s in steps if low <= s * 10.0**d <= high]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axis.set_minor_locator(NullLocator())


def label_ends(axes: Axes, ends: Iterable[tuple[float, str, str]]) -> None:
    """Labels at the right edge of axes with their final limits, pushed apart where they would overlap.

    ``ends`` are (y at the end, text, colour) of each curve.
    """
    to_axes = axes.transData + axes.transAxes.inverted()
    x_edge = axes.get_xlim()[1]
    placed = sorted((float(to_axes.transform((x_edge, y))[1]), text, colour) for y, text, colour in ends)
    gap = 0.064
    heights = np.array([p[0] for p in placed])
    for _ in range(200):
        for i in range(1, len(heights)):
            overlap = gap - (heights[i] - heights[i - 1])
            if overlap > 0:
                heights[i] += overlap / 2
                heights[i - 1] -= overlap / 2
    for height, (start, text, colour) in zip(heights, placed, strict=True):
        axes.annotate(
            text,
            xy=(1.0, start),
            xytext=(1.035, height),
            xycoords="axes fraction",
            textcoords="axes fraction",
            va="center",
            color=colour,
            fontsize=FONT - 1,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.6, "shrinkA": 1, "shrinkB": 0, "relpos": (0, 0.5)},
        )


def png(figure: Figure) -> bytes:
    """The figure as PNG, without a date or version in it: the same store gives the same bytes."""
    canvas = FigureCanvasAgg(figure)
    # savefig would lay the figure out twice, which costs more than all the drawing.
    canvas.draw()
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").save(
        buffer, "png", dpi=(DPI, DPI), compress_level=COMPRESSION
    )
    return buffer.getvalue()
