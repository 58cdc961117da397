"""Predictions of the exploring engine against values of the solver, with bands."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from studies.inverse.report.data import Compared, StudyData
from studies.inverse.report.history import MODELLED, SOLVED
from sweeps.report import style

COLUMNS = 3


def parity(data: StudyData) -> Figure | None:
    """Predicted against solved for every criterion, one panel each."""
    if not data.compared:
        return None
    columns = min(COLUMNS, max(2, len(data.compared)))
    rows = -(-len(data.compared) // columns)
    figure = style.new_figure(height=3.3 * rows, width=min(style.WIDTH, 3.9 * columns))
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in axes[len(data.compared) :]:
        panel.set_visible(False)
    for panel, own in zip(axes, data.compared, strict=False):
        _panel(panel, own)
    axes[0].legend(frameon=False, fontsize=style.FONT - 1.5, loc="upper left")
    return figure


def _panel(axes: Axes, own: Compared) -> None:
    ends = np.array([min(own.solved.min(), own.predicted.min()), max(own.solved.max(), own.predicted.max())])
    margin = 0.05 * float(np.ptp(ends)) or 0.05 * abs(float(ends[0])) or 1.0
    ends = ends + np.array([-margin, margin])
    axes.plot(ends, ends, "-", color=style.RULE, lw=1.0, zorder=0)
    known = np.isfinite(own.low) & np.isfinite(own.high)
    if known.any():
        below = np.maximum(own.predicted - own.low, 0.0)[known]
        above = np.maximum(own.high - own.predicted, 0.0)[known]
        axes.errorbar(
            own.solved[known],
            own.predicted[known],
            yerr=np.stack([below, above]),
            fmt="none",
            ecolor=style.MUTED,
            elinewidth=0.8,
        )
    for chosen, colour, text in ((own.candidate, SOLVED, "candidates"), (~own.candidate, MODELLED, "picked at random")):
        if chosen.any():
            axes.plot(own.solved[chosen], own.predicted[chosen], "o", ms=5, mew=0, color=colour, label=text)
    style.tidy(axes)
    axes.set_xlim(ends)
    axes.set_xlabel("reference solver", **style.text_style())
    axes.set_ylabel("exploring engine", **style.text_style())
    axes.set_title(own.criterion.long_name, **style.text_style(loc="left"))
