"""The objectives over the variables, by the corrected model, with trials and optima; the front; sensitivities."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from studies.inverse.objectives.criteria import Criterion
from studies.inverse.report.data import StudyData
from studies.inverse.report.history import MODELLED, SAMPLED, SOLVED
from sweeps.report import style
from sweeps.report.appearance import parameter_info

RESOLUTION = 61
MOST_PAIRS = 3


def landscape(data: StudyData) -> Figure | None:
    """Each objective's quantity over pairs of variables through the best point; over one variable as a slice."""
    if data.model is None:
        return None
    centre, rows = _centre(data), len(data.objectives)
    if len(data.names) == 1:
        figure = style.new_figure(height=2.9 * rows)
        for number, panel in enumerate(figure.subplots(rows, 1, squeeze=False)[:, 0]):
            _slice(data, panel, number, 0, centre)
        return figure
    pairs = list(itertools.combinations(range(len(data.names)), 2))[:MOST_PAIRS]
    wide = max(2, len(pairs))
    figure = style.new_figure(height=3.3 * rows, width=min(style.WIDTH, 4.8 * wide))
    axes = figure.subplots(rows, wide, squeeze=False)
    for number in range(rows):
        for column in range(wide):
            if column < len(pairs):
                _contours(data, axes[number, column], number, pairs[column], centre)
            else:
                _slice(data, axes[number, column], number, _along(data, number, centre), centre)
    return figure


def _centre(data: StudyData) -> np.ndarray:
    space = data.problem.space
    if data.best:
        return space.unit(space.as_row(data.best[0]["parameters"])[None])[0]
    return data.state.unit[int(np.argmin(data.state.assessment.merit))]


def _along(data: StudyData, number: int, centre: np.ndarray) -> int:
    """The variable that changes the quantity most."""
    assert data.model is not None
    spans = []
    for j in range(len(data.names)):
        line = np.repeat(centre[None], 21, axis=0)
        line[:, j] = np.linspace(0, 1, 21)
        spans.append(np.ptp(data.problem.criteria[number].loss.summary(data.model.features(line)[number])))
    return int(np.argmax(spans))


def _contours(data: StudyData, panel: Axes, number: int, pair: tuple[int, int], centre: np.ndarray) -> None:
    assert data.model is not None
    space, criterion = data.problem.space, data.problem.criteria[number]
    line = np.linspace(0, 1, RESOLUTION)
    mesh = np.repeat(centre[None], RESOLUTION**2, axis=0)
    mesh[:, pair[0]], mesh[:, pair[1]] = (m.ravel() for m in np.meshgrid(line, line))
    values = criterion.loss.summary(data.model.features(mesh)[number]).reshape(RESOLUTION, RESOLUTION)
    where = space.values(mesh)
    x, y = (where[:, j].reshape(RESOLUTION, RESOLUTION) for j in pair)
    filled = panel.contourf(x, y, values, levels=14, cmap=style.MAP_COLOURS, alpha=0.85)
    style.bare_colour_bar(filled, [panel])
    if criterion.target is not None and values.min() < criterion.target < values.max():
        panel.contour(x, y, values, levels=[criterion.target], colors="white", linewidths=1.6)
    _points(data, panel, pair)
    style.tidy(panel, frame=True)
    for axis, j, set_label in (("x", pair[0], panel.set_xlabel), ("y", pair[1], panel.set_ylabel)):
        set_label(parameter_info(data.process, data.names[j]).axis_label, **style.text_style())
        if space.log[j]:
            getattr(panel, f"set_{axis}scale")("log")
            style.plain_log_ticks(panel, axis)
    panel.set_title(criterion.long_name, **style.text_style(loc="left"))


def _points(data: StudyData, panel: Axes, pair: tuple[int, int]) -> None:
    x, y = pair
    # Marks on the edge of the box are drawn whole.
    whole: dict[str, Any] = {"clip_on": False, "zorder": 5}
    panel.plot(data.points[:, x], data.points[:, y], "o", ms=2.6, mew=0, color="white", alpha=0.8)
    if data.equivalents:
        curve = np.array([data.problem.space.as_row(p["parameters"]) for p in data.equivalents["curve"]])
        panel.plot(curve[:, x], curve[:, y], "-", color=SOLVED, lw=1.6)
        solved = [data.problem.space.as_row(p["parameters"]) for p in data.equivalents["verified"]]
        if solved:
            panel.plot(*np.array(solved)[:, [x, y]].T, "s", ms=5, mfc="white", mec=SOLVED, mew=1.2, **whole)
    if data.best:
        best = np.array([data.problem.space.as_row(p["parameters"]) for p in data.best])
        panel.plot(best[:, x], best[:, y], "o", ms=6, mfc="none", mec=SOLVED, mew=1.2, **whole)
        panel.plot(best[:1, x], best[:1, y], "*", ms=12, color=SOLVED, mec="white", mew=0.8, **whole)


def _slice(data: StudyData, panel: Axes, number: int, along: int, centre: np.ndarray) -> None:
    """The modelled quantity along one variable through the best point; points solved nearby."""
    assert data.model is not None
    criterion, space = data.problem.criteria[number], data.problem.space
    line = np.repeat(centre[None], 121, axis=0)
    line[:, along] = np.linspace(0, 1, 121)
    panel.plot(
        space.values(line)[:, along], criterion.loss.summary(data.model.features(line)[number]), color=MODELLED, lw=1.6
    )
    if len(data.names) == 1:
        panel.plot(data.points[:, along], data.summaries[number], "o", ms=3, mew=0, color=SAMPLED, zorder=0)
    if criterion.target is not None:
        panel.axhline(criterion.target, **style.GUIDE)
    if data.best:
        at = space.as_row(data.best[0]["parameters"])[along]
        panel.axvline(at, color=SOLVED, lw=0.9)
    style.tidy(panel)
    panel.margins(x=0)
    panel.set_xlabel(parameter_info(data.process, data.names[along]).axis_label, **style.text_style())
    if space.log[along]:
        panel.set_xscale("log")
        style.plain_log_ticks(panel, "x")
    panel.set_title(f"{criterion.long_name}: slice through the best", **style.text_style(loc="left"))


def front(data: StudyData) -> Figure | None:
    """Trials and the verified front in the plane of the first two objectives."""
    if len(data.objectives) < 2:
        return None
    figure = style.new_figure(height=4.0, width=7.0)
    panel = figure.subplots()
    panel.plot(data.summaries[0], data.summaries[1], "o", ms=3.6, mew=0, color=SAMPLED, label="trials, as predicted")
    rows = data.solved_rows()
    solved = [t.loss.summary(f[rows]) for t, f in zip(data.objectives, data.state.features[:2], strict=False)]
    panel.plot(*solved, "o", ms=6, mfc="none", mec=SOLVED, mew=1.1, label="solved")
    if data.best:
        names = data.problem.criteria.labels
        points = np.array([[p["qois"][names[0]], p["qois"][names[1]]] for p in data.best])
        if data.problem.criteria.is_pareto:
            points = points[np.argsort(points[:, 0])]
            panel.plot(*points.T, "-o", color=SOLVED, ms=5, lw=1.2, label="verified front")
        else:
            panel.plot(*points[:1].T, "*", ms=13, color=SOLVED, label="best verified")
    for which, criterion, line in (("x", data.objectives[0], panel.axvline), ("y", data.objectives[1], panel.axhline)):
        if criterion.target is not None:
            line(criterion.target, **style.GUIDE)
        getattr(panel, f"set_{which}label")(f"{criterion.long_name}{_wanted(criterion)}", **style.text_style())
    style.tidy(panel)
    panel.legend(frameon=False, fontsize=style.FONT - 1)
    return figure


def _wanted(criterion: Criterion) -> str:
    if criterion.loss.is_target:
        return ""
    return ", less is better" if criterion.loss.sign > 0 else ", more is better"


def sensitivity(data: StudyData) -> Figure | None:
    """Given-data indices of each variable, one panel an objective, with Optuna's importances beside them."""
    if not data.indices:
        return None
    figure = style.new_figure(
        height=0.9 + 0.62 * len(data.names) * 1.0 + 0.4, width=min(style.WIDTH, 2.0 + 5.2 * len(data.indices))
    )
    axes = figure.subplots(1, len(data.indices), squeeze=False, sharey=True)[0]
    colours = style.ordered_colours(4)
    rows = np.arange(len(data.names))
    for number, (panel, own) in enumerate(zip(axes, data.indices, strict=True)):
        bars = [
            ("delta", own.delta, own.delta_conf),
            ("first order S1", own.first, own.first_conf),
            ("PAWN", own.pawn, None),
        ]
        if number < len(data.importances):
            share = np.array([data.importances[number].get(n, 0.0) for n in data.names])
            bars.append(("Optuna (PED-ANOVA)", share, None))
        for i, (text, value, error) in enumerate(bars):
            panel.barh(
                rows + 0.2 * (1.5 - i),
                value,
                height=0.18,
                color=colours[i],
                label=text,
                xerr=error,
                error_kw={"ecolor": style.MUTED, "elinewidth": 0.9},
            )
        panel.set_yticks(rows, [parameter_info(data.process, n).axis_label for n in data.names])
        style.tidy(panel)
        panel.set_xlim(left=0)
        panel.set_title(data.objectives[number].long_name, **style.text_style(loc="left"))
    axes[-1].legend(frameon=False, fontsize=style.FONT - 1.5, loc="upper left", bbox_to_anchor=(1.02, 1.0))
    return figure
