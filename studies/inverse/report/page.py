"""The report of a study as a page: what was found and how sure it is, and the figures."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from studies.inverse.objectives.criteria import Criterion
from studies.inverse.report import history, landscape, parity, pictures
from studies.inverse.report.data import StudyData, gather
from studies.inverse.search.fidelity import SearchState
from studies.inverse.search.runner import StudyRunner
from studies.inverse.verification.equivalent_optima import sentence
from sweeps.report.appearance import appearance_of, number, parameter_info
from sweeps.report.page import Cell, Fact, Head, Page, Section, Table, configuration, figure_section

ROWS = 20


def write_report(
    runner: StudyRunner, state: SearchState, best: list[dict[str, Any]], equivalents: dict[str, Any] | None
) -> Path:
    """Write ``report/index.html`` in the study's folder; returns its path."""
    data, study = gather(runner, state, best, equivalents), runner.problem.study
    sections = [optima(data), *figures(data), parity_of(data), sensitivity(data)]
    sections += [configuration(study.model_dump(mode="json"), "study")]
    return Page(
        title=f"{study.name}: study report",
        name=study.name,
        kind=f"{appearance_of(data.process).title}, inverse design",
        summary=summary(data),
        sections=[section for section in sections if section is not None],
        made_by=("phasetwin optimize", f"from {runner.folder}"),
        facts=facts(data),
        warnings=warnings(data),
    ).write(runner.folder / "report")


def summary(data: StudyData) -> str:
    """The study in one sentence."""
    names = ", ".join(n.replace("_", " ") for n in data.names)
    wanted = "; ".join(_wish(criterion) for criterion in data.objectives)
    return f"Wanted: {wanted}. Varied: {names}."


def _wish(criterion: Criterion) -> str:
    when = criterion.label.split("@", 1)[1] if "@" in criterion.label else ""
    at = f" at t\u00a0=\u00a0{when}" if when and "(" not in when else (f" ({when})" if when else "")
    if not criterion.loss.is_target:
        return f"{'small' if criterion.loss.sign > 0 else 'large'} {criterion.long_name}{at}"
    if criterion.target is None:
        return f"smallest {criterion.long_name}{at}"
    return f"{criterion.long_name} {criterion.target:g}{at}"


def warnings(data: StudyData) -> list[str]:
    """What a reader must know first."""
    found = []
    if not data.best:
        found.append("No point was verified: nothing here is an optimum.")
    elif data.problem.criteria.all_targets and not data.best[0]["met"]:
        found.append(
            f"The best verified point does not meet every target; the study stopped because {data.runner.why}."
        )
    outside = sum(not p["within_band"] for p in data.best)
    if outside:
        found.append(
            f"{outside} of {len(data.best)} optima lie outside the bands of the exploring engine; "
            "the values given here are the solver's."
        )
    return found


def facts(data: StudyData) -> list[Fact]:
    """The headline block."""
    study, counts = data.problem.study, data.runner.counts
    explored = data.problem.exploring.engine
    own = explored.kind + (f" {explored.model}" if hasattr(explored, "model") else "")
    warm, why = int((data.spent == 0).sum()), data.runner.why
    reference = data.problem.reference.engine.tolerance  # type: ignore[attr-defined]
    best = "–"
    if data.best:
        names = data.problem.criteria.labels[: len(data.objectives)]
        best = ", ".join(f"{n.replace('_', ' ')} {number(data.best[0]['qois'][n], 4)}" for n in names)
    count = f"a front of {len(data.best)}" if data.problem.criteria.is_pareto else "best, by the reference solver"
    return [
        Fact("Verified", best, count),
        Fact(
            "Trials",
            f"{len(data.spent) - warm} of {study.trials}",
            f"{warm} from warm_start; stopped: {why}",
        ),
        Fact("Sampler", study.sampler.kind, f"seed {study.sampler.seed}, {study.sampler.refine} a batch by the model"),
        Fact(
            "Explored on", own, f"{counts['rollouts']} trajectories in the last run, {counts['reused']} points reused"
        ),
        Fact("Solved", f"{len(data.verified)} points", f"by the reference solver, tolerance {100 * reference:.2g} %"),
    ]


def optima(data: StudyData) -> Section:
    """The verified points."""
    names = data.problem.criteria.labels
    head = [Head("#", True), *(Head(parameter_info(data.process, n).symbol, True) for n in data.names)]
    for name in names:
        head += [Head(name.replace("_", " "), True), Head("predicted", True)]
    head += [Head("Target" if data.problem.criteria.all_targets else "Band")]
    rows = []
    for rank, point in enumerate(data.best[:ROWS], start=1):
        row = [Cell(str(rank), "n"), *(Cell(number(point["parameters"][n], 4), "n") for n in data.names)]
        for name in names:
            row += [Cell(number(point["qois"][name], 4), "n"), Cell(number(point["predicted"][name], 4), "n")]
        rows.append([*row, _verdict(data, point)])
    paragraphs = [
        "Every row was solved again by the reference solver; these are its values, beside the predictions of the "
        "exploring engine."
    ]
    if data.equivalents:
        one_of_many = f"This optimum is one of many: {sentence(data.equivalents)}."
        paragraphs.append(f"{one_of_many} {data.equivalents['statement']}")
    return Section("optima", "Verified optima", paragraphs, table=Table(head, rows))


def _verdict(data: StudyData, point: dict[str, Any]) -> Cell:
    if data.problem.criteria.all_targets:
        return Cell("✓ met", "pass") if point["met"] else Cell("✗ missed", "fail")
    return Cell("✓ inside", "pass") if point["within_band"] else Cell("✗ outside", "fail")


def figures(data: StudyData) -> list[Section | None]:
    """Pictures of the optima, the plane of two objectives, history and regret, and contours or slices."""
    times = data.problem.reference.field_times()
    optima_caption = (
        f"One column an optimum, one row a random start, at t = {times[-1]:g}, by the reference solver. "
        f"{appearance_of(data.process).legend}"
    )
    plane = "Filled: trials as the exploring engine predicted them. Red: values of the reference solver."
    plane_alt = "Trials and verified points in the plane of two objectives."
    trials = (
        "Every trial as predicted by the exploring engine; circled in red, the same trial solved by the reference "
        "solver."
    )
    again = "How good the best solved point was after so many solutions, in the order in which they were asked for."
    curve = ", the red one the curve of equivalent optima with its solved points as squares" if data.equivalents else ""
    over_variables = (
        "The model of the study, corrected by the solver's values. Dots are trials, circles the verified optima, the "
        f"star the best; a white line is the target{curve}."
    )
    montage = ("microstructures", pictures.montage(data), optima_caption, "Verified microstructures.")
    title = "Pareto front" if data.problem.criteria.is_pareto else "Trade-off between the objectives"
    surface = ("landscape", landscape.landscape(data), over_variables, "Objectives over the variables.")
    return [
        figure_section("microstructures", "Microstructures", montage),
        figure_section("front", title, ("front", landscape.front(data), plane, plane_alt)),
        figure_section(
            "history",
            "History",
            ("history", history.history(data), trials, "Objectives against the number of the trial."),
            ("regret", history.regret(data), again, "Best solved so far against the number of solved points."),
        ),
        figure_section("landscape", "Over the variables", surface),
    ]


def parity_of(data: StudyData) -> Section | None:
    """The exploring engine against the solver."""
    caption = (
        "The exploring engine against the reference solver, means over starts; bars are the engine's bands where it "
        "has them."
    )
    picture = ("parity", parity.parity(data), caption, "Predicted against solved values.")
    section = figure_section("parity", "Engine against solver", picture)
    if section is None:
        return None
    heads = ("Solved", "Error", "Rank correlation", "Starts inside bands")
    rows = [
        [
            Cell(own.criterion.label),
            Cell(str(len(own.solved)), "n"),
            Cell(f"{100 * own.error:.2g} %", "n"),
            Cell(_or_dash(own.rank, "{:.3f}"), "n"),
            Cell(_or_dash(100 * own.inside, "{:.0f} %"), "n"),
        ]
        for own in data.compared
    ]
    note = (
        "Error: root mean square of the relative error. Candidates were chosen for their predicted values, so their "
        "errors lean to one side."
    )
    table = Table([Head("Quantity"), *(Head(text, True) for text in heads)], rows)
    return replace(section, table=table, notes=[note])


def _or_dash(value: float, form: str) -> str:
    return form.format(value) if math.isfinite(value) else "–"


def sensitivity(data: StudyData) -> Section | None:
    """Indices."""
    caption = (
        f"From {data.sensitive}. delta and PAWN compare whole distributions, S1 is the first-order share of the "
        "variance; bars are 95 % intervals. Trials that a sampler has drawn to the optimum weigh it more than the rest "
        "of the box."
    )
    alt = "Sensitivity of the objectives to the variables."
    return figure_section("sensitivity", "Sensitivity", ("sensitivity", landscape.sensitivity(data), caption, alt))
