"""How the report shows which part of a window its forecast does not determine: hatched, with a legend."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from PIL import Image, ImageDraw, ImageFont

from studies.twin.diagnostics.determined_part import DETERMINED, DeterminedPart
from sweeps.report.style import BAND, FONT, INK, MUTED, new_figure, text_style, tidy

#: Of stripes over grey frames.
_STRIPES = (255, 127, 14)
#: Distance and width of the stripes of an animated frame, and height of its legend, pixels.
_APART, _WIDTH, LEGEND = 10, 2, 22


def mark(panel: Axes, undetermined: np.ndarray, part: DeterminedPart) -> None:
    """Pale and hatch what is not determined (y, x) on a panel that shows the model's box, and outline the window."""
    if undetermined.any():
        panel.contourf(undetermined.astype(float), levels=[0.5, 1.5], colors="white", alpha=0.4)
        drawn = panel.contourf(undetermined.astype(float), levels=[0.5, 1.5], hatches=["////"], colors="none")
        drawn.set_edgecolor(INK)
        drawn.set_linewidth(0.0)
    rows, columns = part.window
    if part.margin:
        at, size = (columns.start - 0.5, rows.start - 0.5), (columns.stop - columns.start, rows.stop - rows.start)
        for colour, width in (("white", 3.0), (INK, 1.2)):
            panel.add_patch(Rectangle(at, *size, fill=False, ec=colour, lw=width))


def add_legend(figure: Figure, part: DeterminedPart) -> None:
    """What hatches and outline mean, under the panels."""
    handles = [Patch(fc="none", ec=INK, hatch="////", lw=0.0, label="not determined by what was seen")]
    if part.margin:
        handles.append(Patch(fc="none", ec=INK, lw=1.2, label="the window that the frames show"))
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=FONT, labelcolor=INK)


def share_figure(part: DeterminedPart) -> Figure:
    """Determined share of the window, and the deviation of members in its centre, against time."""
    figure = new_figure(2.6)
    shares, centre = figure.subplots(1, 2)
    shares.plot(part.times, 100.0 * part.share, color=BAND, marker="o", ms=3)
    shares.set(ylim=(-3.0, 103.0))
    shares.set_title("determined share of the window, %", **text_style())
    centre.plot(part.times, np.sqrt(part.centre), color=BAND, marker="o", ms=3)
    centre.axhline(DETERMINED, color=MUTED, lw=1.0, ls="--")
    centre.set_ylim(0.0, max(1.2 * DETERMINED, 1.1 * float(np.sqrt(part.centre).max())))
    centre.set_title("deviation of members over the field's, central half", **text_style())
    for axis in (shares, centre):
        tidy(axis)
        axis.set_xlabel("time", **text_style())
    return figure


def striped(image: Image.Image, undetermined: np.ndarray) -> Image.Image:
    """An animated frame with stripes over what is not determined (y, x)."""
    mask = Image.fromarray(undetermined.astype(np.uint8) * 255).resize(image.size, Image.Resampling.NEAREST)
    y, x = np.indices((image.height, image.width))
    lines = ((x + y) % _APART < _WIDTH) & (np.asarray(mask) > 0)
    pixels = np.asarray(image).copy()
    pixels[lines] = _STRIPES
    return Image.fromarray(pixels)


def with_legend(image: Image.Image, time: float, forecast: bool) -> Image.Image:
    """An animated frame above a line that says its time, and what stripes mean."""
    wide = Image.new("RGB", (image.width, image.height + LEGEND), "white")
    wide.paste(image, (0, 0))
    draw, top, font = ImageDraw.Draw(wide), image.height, ImageFont.load_default(12)
    draw.text((4, top + 4), f"t = {time:.4g}", fill=INK, font=font)
    if forecast:
        swatch = striped(Image.new("RGB", (24, 12), (200, 200, 200)), np.ones((1, 1), dtype=bool))
        wide.paste(swatch, (112, top + 5))
        draw.text((142, top + 4), "not determined", fill=INK, font=font)
    return wide
