"""What an evaluation leaves behind: the model card, ``results.json``, tables as CSV, pictures."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from surrogate.evaluation import statistics
from surrogate.evaluation.candidates import Forecaster
from surrogate.evaluation.pictures import pictures
from surrogate.evaluation.scores import CaseReport, ForecastScores
from surrogate.evaluation.tables import coverage_tables, exponents, label, tables
from surrogate.processes import learned_process
from surrogate.training.curve import loss_curve

About = Mapping[str, Any]


def case_results(report: CaseReport) -> dict[str, object]:
    """Every figure of a case, for ``results.json``; missing ones are null."""
    scores = report.scores
    found: dict[str, object] = {
        "case": report.name,
        "description": scores.case.description,
        "films": scores.case.count,
        "persistence_rmse": report.persistence(),
        "persistence_required": scores.case.persistence or None,
        "growth_exponents": {str(h): e for h, e in exponents(scores).items()},
        "mass_drift": float(scores.mass_drift.max()),
        "ms_per_frame": scores.ms_per_frame,
        "threads": scores.threads,
        "tables": {t.name: [dict(zip(t.columns, row, strict=True)) for row in t.rows] for t in tables(report)},
    }
    return {name: _plain(value) for name, value in found.items()}


def _plain(value: object) -> object:
    """``value`` as JSON has it: NaN and infinity are null."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value


def write_reports(
    folder: Path, model: Forecaster, reports: Sequence[CaseReport], command: str, about: About | None = None
) -> Path:
    """Writes ``card.md``, which it returns, ``results.json``, ``CASE-TABLE.csv`` and the pictures.

    Args:
        folder: made where it is missing; files of the same names are replaced.
        reports: of the cases, at least one.
        command: the command that made it all.
        about: the model's description (``model.json``), where it has one.
    """
    about = dict(about or {})
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for report in reports:
        files[report.name] = pictures(report, folder)
        for table in tables(report):
            (folder / f"{report.name}-{table.name}.csv").write_text(table.csv())
    history = about.get("training", {}).get("curve")
    if history:
        loss_curve(history, str(about.get("name", "")), folder / "loss.png")
    results = {
        "model": model.name,
        "process": model.process,
        "weights_sha256": about.get("weights_sha256"),
        "data_sha256": about.get("data_sha256"),
        "command": command,
        "machine": {"processor": platform.machine(), "torch": torch.__version__, "threads": torch.get_num_threads()},
        "cases": [case_results(report) for report in reports],
    }
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    card = folder / "card.md"
    title = learned_process(model.process).title
    parts = [f"# Model card: {model.name}", f"Continues clips of {title}. Made by `{command}`."]
    parts += ["## Domain of validity", _domain(about), "## Accuracy"]
    for report in reports:
        parts += _accuracy(report, files[report.name])
    parts += ["## Calibration", _calibration(about), "## Limits", _limits(reports)]
    parts += ["## Training", _training(about, bool(history))]
    card.write_text("\n\n".join(part.rstrip("\n") for part in parts) + "\n")
    return card


def _accuracy(report: CaseReport, files: Mapping[str, Path]) -> list[str]:
    case = report.scores.case
    parts = [f"### {report.name}", case.description]
    enough = report.hard_enough()
    if enough is not None:
        met = "as required" if enough else "LESS than required: this case is too easy"
        parts.append(
            f"Persistence has an RMSE of {report.persistence():.3f} over {case.n_in} -> {case.horizons[0]} "
            f"(at least {case.persistence:g} {met})."
        )
    parts += [table.markdown() for table in tables(report)]
    parts += [f"![{kind.replace('_', ' ')}]({path.name})" for kind, path in files.items()]
    return parts


def _domain(about: About) -> str:
    domain = about.get("domain")
    if not domain:
        return "Not stated."
    box = domain.get("box", domain)
    rows = [f"| {name} | {_range(limits)} |" for name, limits in box.items()]
    note = "kappa stands for kappa / (W dx^2), side for cells along a side of the box, age for the scaled age. "
    note += "Outside the box results are flagged: trust is 0."
    frames = domain.get("frames") if "box" in domain else None
    if frames:
        note += (
            f" So are those whose frame at the hand-over is farther than {frames['threshold']:.3g} from the nearest of "
            f"{len(frames['references'])} training frames, by {len(frames['names'])} features."
        )
    coverage = about.get("coverage")
    if coverage:
        note += f"\n\n{_flags(coverage)}"
    return "\n".join(["| group | range |", "| --- | --- |", *rows, "", note])


def _flags(coverage: About) -> str:
    parts = []
    for key, what in (("inside", "of the training's kind, false alarms"), ("outside", "with groups beyond the box")):
        part = coverage[key]
        share = (
            f"{100 * part['share_flagged']:.3g} % (99 % interval {100 * part['low']:.3g} to {100 * part['high']:.3g})"
        )
        parts.append(f"{part['trajectories']} trajectories {what}: {share}")
    return f"Flagged among fresh trajectories: {'; '.join(parts)}."


def _range(limits: object) -> str:
    if isinstance(limits, list | tuple) and len(limits) == 2:
        return f"{limits[0]:.4g} to {limits[1]:.4g}"
    return str(limits)


def _calibration(about: About) -> str:
    calibration = about.get("calibration")
    if not isinstance(calibration, Mapping):
        return "None: this model's results carry no bands."
    qois = ", ".join(str(q).replace("_", " ") for q in calibration.get("qois", {}))
    level = calibration.get("level")
    nominal = f"{100 * level:g} %" if isinstance(level, float | int) else "unstated"
    text = f"Split conformal bands, the trajectory as unit, nominal coverage {nominal}: {qois or 'no quantities'}."
    edges = calibration.get("edges")
    if edges:
        text += f" Beyond a lead of {edges[-1]:.4g} in scaled age since the hand-over bands are infinite."
    coverage = about.get("coverage")
    if not coverage:
        return text
    stores = ", ".join(f"{name} ({count})" for name, count in coverage["calibrated_on"].items())
    fresh = ", ".join(coverage["inside"]["stores"])
    lines = [text, f"Calibrated on the trajectories of {stores}; coverage is measured on those of {fresh}."]
    process = str(about.get("process"))
    return "\n\n".join([*lines, *(table.markdown() for table in coverage_tables(process, coverage))])


_RENEWED = {"## Domain of validity": _domain, "## Calibration": _calibration}


def renew_card(card: Path, about: About) -> None:
    """Writes the sections of a card anew that a calibration changes, from the model's description; the others stay."""
    kept: list[str] = []
    for section in re.split(r"(?m)^(?=## )", card.read_text()):
        title = section.split("\n", 1)[0].strip()
        make = _RENEWED.get(title)
        kept.append(section if make is None else f"{title}\n\n{make(about).rstrip()}\n\n")
    card.write_text("".join(kept).rstrip("\n") + "\n")


def _limits(reports: Sequence[CaseReport]) -> str:
    """What is known not to hold: in general, and in the figures above."""
    lines = [
        "Image metrics say little about statistics over long times; read both tables.",
        "Periodic boxes; no-flux boxes are run as the quarter of their even extension.",
        *reports[0].scores.process.measurement_limits,
    ]
    for report in reports:
        lines += _above_floor(report.scores)
        if report.hard_enough() is False:
            lines.append(f"{report.name}: persistence is better than the protocol asks for.")
    return "\n".join(f"- {line}" for line in lines)


def _above_floor(scores: ForecastScores) -> list[str]:
    """The statistics whose error over the longest horizon is above the seed-to-seed floor."""
    error, floor = statistics.errors(scores.forecast, scores.reference), statistics.floor(scores.reference)
    case = scores.case
    above = [
        f"{label(case.process, name)} {100 * values.mean():.3g} % (floor {100 * floor[name].mean():.3g} %)"
        for name, values in error.ensemble.items()
        if values.mean() > floor[name].mean()
    ]
    return [f"{case.name}: errors above the seed-to-seed floor: {'; '.join(above)}."] if above else []


def _training(about: About, has_loss: bool) -> str:
    if not about:
        return "None: a baseline."
    training = about.get("training", {})
    lines = [
        f"- weights sha256 `{about.get('weights_sha256', 'unknown')}`",
        f"- data sha256 `{about.get('data_sha256', 'unknown')}`",
        f"- validation data sha256 `{about.get('validation_sha256', 'unknown')}`",
        f"- trajectories: {about.get('trajectories', 'unknown')}",
        *(f"- {key}: {training[key]:.6g}" for key in ("minutes", "step", "score") if key in training),
    ]
    recipe = json.dumps(about.get("recipe", {}), indent=1)
    picture = ["", "![loss curve](loss.png)"] if has_loss else []
    return "\n".join([*lines, "", "Recipe:", "", "```json", recipe, "```", *picture])
