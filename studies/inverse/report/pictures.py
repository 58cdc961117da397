"""The microstructures of verified optima, as the reference solver made them, beside a target that is a picture."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from studies.inverse.config import TIME, ImageObjective
from studies.inverse.objectives.point_view import PointView
from studies.inverse.objectives.target_image import composition_of
from studies.inverse.report.data import StudyData
from studies.inverse.search.acquisition import evenly_along
from sweeps.report import style
from sweeps.report.appearance import colour_limits, number, parameter_info

MOST, STARTS = 5, 3


def montage(data: StudyData) -> Figure | None:
    """One column an optimum, one row a start, the target image first."""
    points = evenly_along(data.best, MOST) if data.problem.criteria.is_pareto else data.best[:MOST]
    if not points:
        return None
    columns: list[tuple[str, list[np.ndarray]]] = []
    target = _target(data)
    if target is not None:
        columns.append(("target", [target]))
    for point in points:
        view = PointView(point["store"], np.array([point["row"]]))
        if "field" not in view:
            return None
        last = float(np.max(data.problem.reference.field_times()))
        columns.append((_label(data.process, point["parameters"]), list(view.field(last)[0][:STARTS])))
    return _draw(data, columns)


def _label(process: str, parameters: dict[str, float]) -> str:
    symbols = {n: "t" if n == TIME else parameter_info(process, n).symbol for n in parameters}
    return "\n".join(f"{symbols[n]} = {number(v)}" for n, v in parameters.items())


def _target(data: StudyData) -> np.ndarray | None:
    low, high = colour_limits(data.process, data.options)
    for i, objective in enumerate(data.problem.study.objectives):
        if isinstance(objective, ImageObjective):
            return composition_of(objective, low, high, f"objectives.{i}")
    return None


def _draw(data: StudyData, columns: list[tuple[str, list[np.ndarray]]]) -> Figure:
    rows = max(len(pictures) for _, pictures in columns)
    tile = min(2.0, (style.WIDTH - 0.4) / max(len(columns), 4))
    figure = style.new_figure(tile * rows + 0.7, tile * len(columns) + 0.4, tight=True)
    axes = figure.subplots(rows, len(columns), squeeze=False)
    for c, (label, pictures) in enumerate(columns):
        for r in range(rows):
            panel = style.tidy(axes[r, c], frame=True)
            panel.set(xticks=[], yticks=[])
            if r >= len(pictures):
                panel.set_visible(False)
                continue
            style.draw_field(panel, pictures[r], data.process, data.options)
        last = len(pictures) - 1
        axes[last, c].set_xlabel(label, **style.text_style(fontsize=style.FONT - 1))
    return figure
