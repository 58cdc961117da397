"""The page: verdicts first, then frames, parameters, forecast."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from studies.twin.diagnostics.identifiability import Determined
from studies.twin.diagnostics.model_check import ModelCheck
from studies.twin.quantiles import quantiles
from studies.twin.report.figures import (
    animation,
    fans_figure,
    forecast_figure,
    frames_figure,
    parameters_figure,
)
from studies.twin.twin import Forecast, Twin
from sweeps.report.page import PROCESS_NAMES
from sweeps.report.style import data_url, png


def write_report(twin: Twin, check: ModelCheck, known: list[Determined], forecast: Forecast, folder: Path) -> Path:
    """Write ``report/index.html`` with its pictures, which are embedded too, into the store's folder."""
    place = folder / "report"
    place.mkdir(parents=True, exist_ok=True)
    pictures = {}
    drawn = {
        "frames": frames_figure(twin),
        "parameters": parameters_figure(twin),
        "fans": fans_figure(twin, forecast),
        "forecast": forecast_figure(twin, forecast),
    }
    for name, figure in drawn.items():
        if figure is not None:
            image = png(figure)
            (place / f"{name}.png").write_bytes(image)
            pictures[name] = data_url(image)
    moving = animation(twin, forecast)
    (place / "animation.gif").write_bytes(moving)
    pictures["animation"] = "data:image/gif;base64," + base64.b64encode(moving).decode("ascii")
    page = place / "index.html"
    page.write_text(_render(twin, check, known, forecast, pictures), encoding="utf-8")
    return page


def _render(
    twin: Twin, check: ModelCheck, known: list[Determined], forecast: Forecast, pictures: dict[str, str]
) -> str:
    frames, problem, found = twin.current()
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    facts: list[tuple[str, Any]] = [
        ("Frames", f"{len(frames.times)}, t = {frames.times[0]:g} to {frames.times[-1]:g}"),
        ("Noise", f"{problem.grey.noise:.3g} grey ({'given' if problem.grey.known_noise else 'estimated'})"),
        (
            "Residual",
            f"{found.residuals.rms.mean():.2%} of the grey range, {found.residuals.structured:.2%} structured",
        ),
        ("Seen", f"{frames.seen.mean():.0%} of the pixels"),
        ("Members", f"{len(found.posterior.z)}" + _moved(found.posterior.lost)),
        ("Engine", ", ".join(sorted(set(forecast.engine)))),
        ("Last update", f"{twin.history[-1].wall_s:.1f} s, {twin.history[-1].calls} runs of the window"),
    ]
    return environment.get_template("template.html.j2").render(
        name=twin.config.name,
        process=PROCESS_NAMES[twin.config.process],
        facts=facts,
        check=check,
        known=known,
        crossings=[_crossing(text, times) for text, times in forecast.crossings],
        pictures=pictures,
        observed=len(frames.times),
    )


def _moved(lost: int) -> str:
    return f"; {lost} of them diverged and were moved towards the fit" if lost else ""


def _crossing(text: str, times: np.ndarray) -> tuple[str, str]:
    passed = np.isfinite(times)
    if not passed.any():
        return text, "not within the forecast"
    low, middle, high = quantiles(times[passed])
    return text, f"t = {middle:.4g} ({low:.4g} to {high:.4g}), {passed.mean():.0%} of the members"
