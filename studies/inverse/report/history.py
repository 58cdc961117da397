"""How the search went: losses against trials, verified ones marked, and the regret of what was verified."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from studies.inverse.objectives.pareto import hypervolume_share
from studies.inverse.report.data import StudyData
from sweeps.plan.description import bracketed
from sweeps.report import style

SAMPLED, MODELLED, WARM, SOLVED = "#9fb4c7", "#2c5f8a", "#c9b458", "#a8321f"
KINDS = (("warm start", WARM, "from warm_start"), ("model", MODELLED, "proposed by the model"))


def history(data: StudyData) -> Figure:
    """Each objective against the number of the trial, one panel each, and the best verified so far."""
    figure = style.new_figure(height=2.7 * len(data.objectives) + 0.3)
    axes = figure.subplots(len(data.objectives), 1, squeeze=False, sharex=True)[:, 0]
    for number, (panel, criterion) in enumerate(zip(axes, data.objectives, strict=True)):
        _trials(data, panel, number)
        style.tidy(panel)
        panel.set_ylabel(f"{criterion.long_name}\n{bracketed(criterion.units).strip()}".strip(), **style.text_style())
        target = criterion.target
        if target is not None:
            panel.axhline(target, **style.GUIDE)
            note = style.text_style(color=style.MUTED, ha="left", va="center")
            ends = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
            panel.annotate(f"target {target:g}", (1.0, target), (4, 0), **ends, **note)
    axes[0].legend(
        frameon=False, fontsize=style.FONT - 1, ncols=4, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0.1
    )
    axes[-1].set_xlabel("trial", **style.text_style())
    return figure


def _trials(data: StudyData, panel: Axes, number: int) -> None:
    values, sources = data.summaries[number], np.array(data.runner.history.sources)
    named = [name for name, _, _ in KINDS]
    groups = [(~np.isin(sources, named), SAMPLED, f"proposed by {data.problem.study.sampler.kind}")]
    groups += [(sources == name, colour, text) for name, colour, text in KINDS]
    for chosen, colour, text in groups:
        if chosen.any():
            panel.plot(data.spent[chosen], values[chosen], "o", ms=4, mew=0, color=colour, label=text)
    if data.verified.size:
        rows = data.solved_rows()
        solved = data.problem.criteria[number].loss.summary(data.state.features[number][rows])
        spent = data.spent[data.verified]
        panel.plot(spent, solved, "o", ms=7, mfc="none", mec=SOLVED, mew=1.1, label="solved by the reference solver")
    panel.margins(x=0.02)


def regret(data: StudyData) -> Figure | None:
    """Best verified so far against the number of points solved; for two objectives the share of the box dominated."""
    if data.verified.size < 2:
        return None
    rows = data.solved_rows()
    losses = data.state.assessment.losses[rows]
    feasible = data.state.assessment.feasible[rows]
    count = np.arange(1, len(rows) + 1)
    figure = style.new_figure(height=2.6)
    panel = figure.subplots()
    if data.problem.criteria.is_pareto:
        if losses.shape[1] != 2 or not feasible.any():
            return None
        low, high = losses[feasible].min(0), losses[feasible].max(0)
        shares = [hypervolume_share(losses[:n][feasible[:n]], low, high) for n in count]
        panel.plot(count, shares, "o-", color=MODELLED, ms=4, lw=1.4)
        panel.set_ylabel("share of the box\ndominated", **style.text_style())
    else:
        merit = np.where(feasible, data.state.assessment.merit[rows], np.inf)
        best = np.minimum.accumulate(merit)
        reached = best - (0.0 if data.problem.criteria.all_targets else best[-1])
        shown = np.isfinite(reached)
        panel.plot(count[shown], reached[shown], "o-", color=MODELLED, ms=4, lw=1.4)
        if data.problem.criteria.all_targets:
            panel.axhline(1.0, **style.GUIDE)
            if (reached[shown] > 0).all() and np.ptp(np.log(reached[shown])) > np.log(20.0):
                panel.set_yscale("log")
            panel.set_ylabel("best solved, in units\nof what is allowed", **style.text_style())
        else:
            panel.set_ylabel("regret: best solved so far\nless the best of all", **style.text_style())
    style.tidy(panel)
    panel.set_xlabel("points solved by the reference solver", **style.text_style())
    return figure
