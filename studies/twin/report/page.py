"""The report of a twin as a page: whether the process explains the frames, parameters, frames, forecast."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from studies.twin.diagnostics.identifiability import Determined
from studies.twin.diagnostics.model_check import ModelCheck
from studies.twin.quantiles import quantiles
from studies.twin.report.figures import animation, forecast_figure, frames_figure, parameters_figure, quantities_figure
from studies.twin.report.undetermined import share_figure
from studies.twin.twin import Forecast, Twin
from sweeps.report.appearance import appearance_of
from sweeps.report.page import Cell, Fact, Head, Page, Picture, Section, Table, configuration, figure_section

#: Rows of the table of past forecasts.
MOST_SCORES = 12


def write_report(twin: Twin, check: ModelCheck, known: list[Determined], forecast: Forecast, folder: Path) -> Path:
    """Write ``report/index.html`` with its pictures, which are embedded too, into the store's folder."""
    frames, _, _ = twin.current()
    title = appearance_of(twin.config.process).title
    sections = [determined(known), crossings(forecast), *figures(twin, forecast), past_forecasts(twin)]
    return Page(
        title=f"{twin.config.name}: digital twin",
        name=twin.config.name,
        kind=f"{title}, digital twin",
        summary=f"A twin of {len(frames.times)} frames, forecast to t = {forecast.times[-1]:g}.",
        sections=[
            *(section for section in sections if section is not None),
            configuration(twin.config.model_dump(mode="json"), "twin"),
        ],
        made_by=("phasetwin assimilate", f"from {folder}"),
        facts=facts(twin, forecast),
        good="" if check.flagged else "The process explains the frames: residuals and statistics are as it predicts.",
        warnings=[
            *(f"The process does not explain the frames: {reason}" for reason in check.reasons),
            *(f"Of the frames: {note}" for note in frames.notes),
        ],
    ).write(folder / "report")


def facts(twin: Twin, forecast: Forecast) -> list[Fact]:
    """The headline block."""
    frames, problem, found = twin.current()
    lost, residuals, last = found.posterior.lost, found.residuals, twin.history[-1]
    noise = "estimated" if twin.config.observations.noise == "auto" else "given"
    moved = f"{lost} of them diverged and were moved towards the fit" if lost else ""
    return [
        Fact("Frames", str(len(frames.times)), f"t = {frames.times[0]:g} to {frames.times[-1]:g}"),
        Fact("Box", " × ".join(map(str, problem.camera.grid.shape)), twin.box()),
        Fact("Noise", f"{problem.grey.noise:.3g} grey", noise),
        Fact("Residual", f"{residuals.rms.mean():.2%} of the grey range", f"{residuals.structured:.2%} structured"),
        Fact("Seen", f"{frames.seen.mean():.0%} of the pixels"),
        Fact("Members", str(len(found.posterior.z)), moved),
        Fact("Determined", f"{forecast.determined.share[-1]:.0%} of the window", f"at t = {forecast.times[-1]:g}"),
        Fact("Engine", ", ".join(sorted(set(forecast.engine)))),
        Fact("Last update", f"{last.wall_s:.1f} s", f"{last.calls} runs of the window"),
    ]


def determined(known: list[Determined]) -> Section:
    """Parameters and groups, and how well the frames determine them."""
    head = [Head("Quantity"), Head("Meaning"), Head("Median", True), Head("90 % of the members", True)]
    head += [Head("Spread, posterior / prior", True), Head("Verdict")]
    rows = []
    for row in known:
        given = row.verdict == "given"
        rows.append(
            [
                Cell(row.name),
                Cell("" if row.meaning == "parameter" else row.meaning, "wrap"),
                Cell(f"{row.value:.4g}", "n"),
                Cell("" if given else f"{row.low:.4g} to {row.high:.4g}", "n"),
                Cell("" if given else f"{row.ratio:.2g}", "n"),
                Cell(row.verdict),
            ]
        )
    return Section("parameters", "What the frames determine", table=Table(head, rows))


def crossings(forecast: Forecast) -> Section | None:
    """When thresholds are passed."""
    if not forecast.crossings:
        return None
    rows = [[Cell(text), Cell(_crossing(times))] for text, times in forecast.crossings]
    return Section("crossings", "When", table=Table([Head("Threshold"), Head("Passed")], rows))


def _crossing(times: np.ndarray) -> str:
    passed = np.isfinite(times)
    if not passed.any():
        return "not within the forecast"
    low, middle, high = quantiles(times[passed])
    return f"t = {middle:.4g} ({low:.4g} to {high:.4g}), {passed.mean():.0%} of the members"


def past_forecasts(twin: Twin) -> Section | None:
    """New frames against what was forecast of them before they were seen."""
    if not twin.scores:
        return None
    head = [Head("Frame at", True), Head("Forecast from", True), Head("RMSE, grey", True), Head("Persistence", True)]
    head += [Head("Noise", True), Head("Pixels inside 90 %", True), Head("Called determined", True)]
    rows = []
    for score in twin.scores[-MOST_SCORES:]:
        values = [f"{v:.4g}" for v in (score.time, score.since)]
        values += [f"{v:.3g}" for v in (score.rmse, score.persistence, score.noise)]
        values += [f"{v:.0%}" for v in (score.inside, score.determined)]
        rows.append([Cell(value, "n") for value in values])
    note = "Persistence: the error of the twin's picture of the last frame, kept as it is. "
    note += "No forecast can be off by less than the noise."
    if len(twin.scores) > MOST_SCORES:
        note += f" The last {MOST_SCORES} of {len(twin.scores)} frames; all are in the store's group scores."
    return Section("scores", "How past forecasts have done", table=Table(head, rows), notes=[note])


def figures(twin: Twin, forecast: Forecast) -> list[Section | None]:
    """Frames beside the twin's, parameters after each update, fields and quantities to come, the animation."""
    difference = "Observed frames, the mean of the twin's, and their difference."
    alt = "Observed frames, the twin's, and their difference."
    bands = "Posterior medians and 90 % bands after each update."
    fields = "Mean of the members, one of them, and their standard deviation. Hatched: members differ by more than a "
    fields += "fifth of the field's standard deviation, averaged over a domain; there the forecast is one of many."
    part = forecast.determined
    shares = f"What the forecast determines: {part.line()}."
    alt_shares = "Determined share of the window, and deviation of the members in its centre, against time."
    alt_fields = "Mean, one member and spread of the forecast fields."
    quantities = "Thin lines are members, the band holds 90 % of them; dashed lines are thresholds."
    alt_quantities = "Forecast of the quantities with 90 % bands."
    moving = "The twin's mean; the bar turns blue where the forecast begins. Stripes: not determined by what was seen."
    alt_moving = "Animation of the observed window and the forecast."
    return [
        figure_section("frames", "Observed frames and the twin", ("frames", frames_figure(twin), difference, alt)),
        figure_section(
            "updates", "Parameters as frames came in", ("parameters", parameters_figure(twin), bands, bands)
        ),
        figure_section(
            "forecast",
            "Forecast",
            ("forecast", forecast_figure(twin, forecast), fields, alt_fields),
            ("determined", share_figure(part), shares, alt_shares),
            ("quantities", quantities_figure(twin, forecast), quantities, alt_quantities),
        ),
        Section(
            "animation",
            "Animation",
            figures=[Picture("animation", animation(twin, forecast), moving, alt_moving)],
        ),
    ]
