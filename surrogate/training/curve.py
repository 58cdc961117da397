"""The loss curve of a training, as a picture."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

mpl.use("Agg", force=False)

# What validation calls its errors: at scaled ages ahead (jump networks), or frames ahead (the paper's).
_ERROR = re.compile(r"rmse([+_])(.+)")


def loss_curve(history: list[dict[str, float]], name: str, path: Path) -> None:
    """Writes :func:`loss_figure` as a PNG."""
    loss_figure(history, name).savefig(path, dpi=130)


def loss_figure(history: list[dict[str, float]], name: str) -> Figure:
    """Training loss and validation errors against minutes of training.

    Rows of the history hold ``elapsed`` (s), ``loss``, ``score``, and ``rmse+AGE`` or ``rmse_FRAME``.
    """
    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    axes = figure.subplots()
    minutes = [row["elapsed"] / 60.0 for row in history]
    leads = [found for key in (history[0] if history else {}) if (found := _ERROR.fullmatch(key))]
    for index, lead in enumerate(leads):
        colour = mpl.colormaps["viridis"](0.9 * index / max(1, len(leads) - 1))
        axes.plot(minutes, [row[lead[0]] for row in history], color=colour, label=f"lead {lead[2]}")
    axes.plot(minutes, [row["loss"] for row in history], color="0.6", linestyle=":", label="training loss (weighted)")
    axes.set(
        xlabel="training time (min)", ylabel="root mean square error of held-out rollouts", yscale="log", title=name
    )
    frames = bool(leads) and leads[0][1] == "_"
    title = "frames ahead" if frames else "scaled age ahead"
    axes.legend(title=title, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes.grid(alpha=0.3, which="both")
    return figure
