"""The loss curve of a training, as a picture."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

mpl.use("Agg", force=False)


def loss_curve(history: list[dict[str, float]], name: str, path: Path) -> None:
    """Training loss and validation errors against minutes of training.

    Args:
        history: rows with ``elapsed`` (s), ``loss``, ``score`` and ``rmse+LEAD``.
        name: of the model.
        path: PNG to write.
    """
    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    axes = figure.subplots()
    minutes = [row["elapsed"] / 60.0 for row in history]
    leads = [key for key in (history[0] if history else {}) if key.startswith("rmse+")]
    for index, key in enumerate(leads):
        colour = mpl.colormaps["viridis"](0.9 * index / max(1, len(leads) - 1))
        axes.plot(minutes, [row[key] for row in history], color=colour, label=f"lead {key.removeprefix('rmse+')}")
    axes.plot(minutes, [row["loss"] for row in history], color="0.6", linestyle=":", label="training loss (weighted)")
    axes.set(
        xlabel="training time (min)", ylabel="root mean square error of held-out rollouts", yscale="log", title=name
    )
    axes.legend(title="scaled age ahead", fontsize=8)
    axes.grid(alpha=0.3, which="both")
    figure.savefig(path, dpi=130)
