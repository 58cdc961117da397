"""The evaluation's tables: built from scores, written as Markdown and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from surrogate.evaluation import statistics
from surrogate.evaluation.scores import CaseReport, ForecastScores, RolloutScores
from surrogate.processes import learned_process

Cell = str | int | float

_COMMON = {
    "structure_factor": "structure factor S(k), relative L2",
    "area_distribution": "grain areas, Wasserstein-1 / mean area",
    "free_energy": "free energy",
}


def label(process: str, quantity: str) -> str:
    """What tables call a quantity of a process."""
    return (_COMMON | dict(learned_process(process).image_quantities)).get(quantity, quantity)


@dataclass(frozen=True)
class ResultTable:
    """A table with the name of its file, a title above and a note below, where there are any; numbers as they are."""

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""

    def csv(self) -> str:
        """Comma-separated, numbers to six digits."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([f"{v:.6g}" if isinstance(v, float) else v for v in row] for row in self.rows)
        return text.getvalue()

    def markdown(self) -> str:
        lines = [f"**{self.title}**", ""] if self.title else []
        lines += [_line(self.columns), _line(["---"] * len(self.columns))]
        lines += [_line([_shown(value) for value in row]) for row in self.rows]
        return "\n".join([*lines, *(["", self.note] if self.note else []), ""])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _shown(value: Cell) -> str:
    if not isinstance(value, float):
        return str(value)
    return "n/a" if math.isnan(value) else f"{value:.3g}"


def tables(report: CaseReport) -> list[ResultTable]:
    made = (image_table, statistics_table, exponent_table, cost_table)
    found = [make(report.scores) for make in made]
    return found if report.rollouts is None else [*found, rollout_table(report.rollouts)]


def image_table(scores: ForecastScores) -> ResultTable:
    """RMSE and SSIM at every horizon, with persistence and another seed."""
    rows: list[list[Cell]] = []
    for horizon in scores.case.horizons:
        inside = scores.sampled < horizon
        seed, flat = (errors.at(inside) for errors in (scores.other_seed, scores.uniform))
        model, still = (errors.at(slice(horizon)) for errors in (scores.images, scores.persistence))
        shown = {scores.model: model, "persistence": still, "another seed": seed, "uniform field": flat}
        for name, images in shown.items():
            r, s = images.rmse, images.ssim
            figures = (r.mean(), r.mean(0).max(), r.max(), s.mean(), s.mean(0).min(), s.min())
            rows.append([_horizon(scores, horizon), name, *(float(value) for value in figures)])
    columns = ["frames", "forecast", *(f"{m} {w}" for m in ("RMSE", "SSIM") for w in ("mean", "worst frame", "worst"))]
    note = (
        "Images scaled to [0, 1]. Worst frame: of the mean over clips; worst: of any frame of any clip. Another seed: "
        "one clip taken for another; uniform field: each frame taken for its own mean, the most blurred of forecasts."
    )
    return ResultTable("images", "Images", columns, rows, note)


def _horizon(scores: ForecastScores, horizon: int) -> str:
    return f"{scores.case.n_in} -> {horizon}"


def statistics_table(scores: ForecastScores) -> ResultTable:
    """Errors of statistics at every horizon, with persistence and the seed-to-seed floor."""
    model, still = (statistics.errors(s, scores.reference) for s in (scores.forecast, scores.unchanged))
    floor = statistics.floor(scores.reference)
    rows: list[list[Cell]] = []
    for horizon in scores.case.horizons:
        inside = scores.sampled < horizon
        for name, error in model.ensemble.items():
            if np.isnan(scores.reference.values.get(name, np.zeros(1))).all():
                continue
            base = floor[name][inside] if floor[name].size == inside.size else np.full(1, np.nan)
            single = [t.single[name][inside].mean() if name in t.single else math.nan for t in (model, still)]
            figures = (
                error[inside].mean(), error[inside].max(), still.ensemble[name][inside].mean(), base.mean(), *single
            )  # fmt: skip
            rows.append([_horizon(scores, horizon), label(scores.case.process, name), *(float(v) for v in figures)])
        if scores.process.conserves_mean:
            drifts = (scores.mass_drift, scores.mass_drift_reference)
            model_drift, truth_drift = (float(drift[:, :horizon].max()) for drift in drifts)
            name = f"mass drift, absolute (truth: {truth_drift:.1e})"
            rows.append([_horizon(scores, horizon), name, model_drift, model_drift, 0.0, *[math.nan] * 3])
    columns = ["frames", "quantity", "error", "worst frame", "persistence", "seed-to-seed floor"]
    columns += ["single film", "single film, persistence"]
    note = (
        f"Relative errors of the mean over {scores.case.count} clips, averaged over the {len(scores.sampled)} "
        "sampled frames, or those within the horizon. Floor: the same between the halves of the reference clips; an "
        "error below it is not resolved by this many clips. Single film: mean of the errors of each clip against its "
        "own truth. Truth and forecast are measured alike, from images."
    )
    return ResultTable("physics", "Statistics", columns, rows, note)


def exponents(scores: ForecastScores) -> dict[int, dict[str, float]]:
    """Horizon -> growth exponents over its sampled frames: model, truth, difference, floor (between the halves)."""
    found: dict[int, dict[str, float]] = {}
    ages = scores.case.later[scores.sampled]
    for horizon in scores.case.horizons:
        inside = scores.sampled < horizon
        if inside.sum() < 2:
            continue
        lengths, truth = scores.forecast.lengths[:, inside], scores.reference.lengths[:, inside]
        model, exact = (float(statistics.growth_exponent(v.mean(0), ages[inside])) for v in (lengths, truth))
        first, second = (statistics.growth_exponent(v, ages[inside]) for v in statistics.half_means(truth))
        floor = float(abs(first - second))
        found[horizon] = {"model": model, "truth": exact, "difference": abs(model - exact), "floor": floor}
    return found


def exponent_table(scores: ForecastScores) -> ResultTable:
    rows: list[list[Cell]] = [
        [_horizon(scores, horizon), e["model"], e["truth"], e["difference"], e["truth"], e["floor"]]
        for horizon, e in exponents(scores).items()
    ]
    length = scores.process.growing_length_name
    columns = ["frames", "exponent", "truth", "difference", "difference, persistence", "seed-to-seed floor"]
    note = f"Least squares of log L against log {scores.case.time_name}, L the {length}, averaged over clips."
    return ResultTable("growth", "Growth exponent", columns, rows, note)


def cost_table(scores: ForecastScores) -> ResultTable:
    size = " x ".join(str(n) for n in scores.case.grid.shape)
    batch = len(next(scores.case.batches()))
    row: list[Cell] = [scores.model, size, batch, scores.threads, scores.ms_per_frame]
    return ResultTable("cost", "Cost", ["forecast", "cells", "batch", "threads", "ms a frame"], [row])


def coverage_tables(process: str, coverage: Mapping[str, Any]) -> list[ResultTable]:
    """Measured coverage of a model's bands, from its description: inside the domain, and beyond it."""
    inside, outside = coverage["inside"], coverage["outside"]
    found = [_coverage_table(process, "coverage", "Coverage on fresh trajectories", inside)]
    found.append(_bins_table(process, inside))
    for store, rows in inside["by_store"].items():
        found.append(_coverage_table(process, f"coverage-{store}", f"Coverage, {store}", {"pooled": rows}))
    return [*found, _coverage_table(process, "coverage-outside", "Coverage beyond the domain", outside)]


def _coverage_table(process: str, name: str, title: str, part: Mapping[str, Any]) -> ResultTable:
    rows: list[list[Cell]] = [
        [_named(process, r["qoi"]), r["trajectories"], *(100.0 * r[key] for key in ("share", "low", "high", "finite"))]
        for r in part["pooled"]
    ]
    columns = ["quantity", "trajectories", "covered, %", "99 % from, %", "to, %", "finite bands, %"]
    return ResultTable(name, title, columns, rows)


def _named(process: str, qoi: str) -> str:
    return label(process, qoi).replace("_", " ")


def _bins_table(process: str, part: Mapping[str, Any]) -> ResultTable:
    """Coverage and half-widths per bin of lead, where leads are scaled ages since the hand-over."""
    names = list(part["widths"])
    limits = sorted({(r["lead_low"], r["lead_high"]) for r in part["rows"]})
    shares = {(r["qoi"], r["lead_low"]): 100.0 * r["share"] for r in part["rows"]}
    rows: list[list[Cell]] = []
    for name in names:
        for i, (low, high) in enumerate(limits):
            width = part["widths"][name][i]
            share = shares.get((name, low), math.nan)
            row: list[Cell] = [_named(process, name), f"{low:.3g} to {high:.3g}", share]
            rows.append([*row, math.inf if width is None else float(width)])
    note = "Half-width: median; of the logarithm for all but the mean of the field, so 0.1 is 10 % either way."
    return ResultTable("coverage-leads", "By lead", ["quantity", "lead", "covered, %", "half-width"], rows, note)


def rollout_table(scores: RolloutScores) -> ResultTable:
    rows: list[list[Cell]] = [
        [f"{label(scores.process, name)}, relative error of the mean over clips", *figures]
        for name, figures in scores.errors.items()
    ]
    rows += [[name, value, math.nan, math.nan] for name, value in scores.counters.items()]
    note = (
        f"{scores.trajectories} trajectories from their start at time 0, as a sweep runs them (the solver does the "
        f"first frames), {scores.frames} frames each; floor: the seed-to-seed floor of these trajectories. "
        "Energy and grains as the model reports them, against the solver's own."
    )
    return ResultTable("engine", "As an engine of a sweep", ["quantity", "value", "worst frame", "floor"], rows, note)
