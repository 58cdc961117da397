"""The report's pictures: observed against twin frames, parameters over time, forecasts, an animation."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from solvers.qois import qois_of
from studies.twin.diagnostics.determined_part import DeterminedPart
from studies.twin.quantiles import quantiles
from studies.twin.report.undetermined import add_legend, mark, striped, with_legend
from studies.twin.twin import Forecast, Twin
from sweeps.plan.description import bracketed
from sweeps.report.appearance import appearance_of, colour_limits, parameter_info
from sweeps.report.style import BAND, INK, MUTED, new_figure, spread_indices, text_style, tidy

MOST_FRAMES = 5
#: Width of an animated frame, pixels, and how long it stays, milliseconds.
ANIMATION_WIDTH, ANIMATION_MS = 320, 120


def frames_figure(twin: Twin) -> Figure:
    """Observed frames, what the twin makes of them, and the residuals."""
    frames, problem, found = twin.current()
    predicted = found.posterior.predicted.numpy().mean(0)
    low, high = sorted((problem.grey.low, problem.grey.high))
    limit = 3.0 * max(problem.sigma, 0.01 * (high - low))
    grey = {"cmap": "gray", "vmin": low, "vmax": high, "interpolation": "nearest"}
    change = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit, "interpolation": "nearest"}
    difference = (f"difference (±{limit:.2g})", frames.grey - predicted, change)
    return _images(frames.times, [("observed", frames.grey, grey), ("twin", predicted, grey), difference])


def _images(
    times: np.ndarray, rows: list[tuple[str, np.ndarray, dict[str, Any]]], part: DeterminedPart | None = None
) -> Figure:
    """Some of the times: rows of a name, images (time, y, x), and how they are drawn; marks what is not determined."""
    chosen = spread_indices(len(times), MOST_FRAMES)
    figure = new_figure(5.6, tight=True)
    axes = figure.subplots(len(rows), len(chosen), squeeze=False)
    for row, (name, images, look) in zip(axes, rows, strict=True):
        for panel, index in zip(row, chosen, strict=True):
            panel.imshow(images[index], **look)
            panel.set(xticks=[], yticks=[])
            if part is not None:
                mark(panel, part.undetermined[index], part)
        row[0].set_ylabel(name, **text_style())
    for panel, index in zip(axes[0], chosen, strict=True):
        panel.set_title(f"t = {times[index]:g}", **text_style())
    if part is not None:
        add_legend(figure, part)
    return figure


def parameters_figure(twin: Twin) -> Figure | None:
    """Parameters after each update: median and 90 % band; None where nothing is estimated."""
    names = [n for n, v in twin.history[-1].values.items() if np.ptp(v) > 0]
    if not names:
        return None
    figure, axes = _panels(len(names), 2.6)
    counts = [s.frames for s in twin.history]
    for axis, name in zip(axes, names, strict=False):
        bands = np.array([quantiles(s.values[name]) for s in twin.history])
        axis.fill_between(counts, bands[:, 0], bands[:, 2], color=BAND, alpha=0.25, lw=0)
        axis.plot(counts, bands[:, 1], color=BAND, marker="o", ms=3)
        info = parameter_info(twin.config.process, name)
        if info.low_open and info.low == 0.0:
            axis.set_yscale("log")
        tidy(axis)
        axis.set_xlabel("frames", **text_style())
        axis.set_title(name.replace("_", " "), **text_style())
    return figure


def _panels(count: int, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels, three in a row."""
    rows = (count + 2) // 3
    figure = new_figure(height * rows)
    axes = figure.subplots(rows, min(3, count), squeeze=False).ravel()
    for axis in axes[count:]:
        axis.set_visible(False)
    return figure, list(axes[:count])


def quantities_figure(twin: Twin, forecast: Forecast) -> Figure:
    """Forecast of each quantity: members, median, 90 % band, thresholds."""
    infos = {n: i for n, i in qois_of(twin.config.process).items() if i.extra_dim is None}
    names = [n for n in infos if np.isfinite(forecast.qois[n]).all()]
    figure, axes = _panels(len(names), 2.7)
    for axis, name in zip(axes, names, strict=True):
        values = forecast.qois[name]
        low, middle, high = quantiles(values)
        axis.plot(forecast.times, values[:12].T, color=MUTED, lw=0.4, alpha=0.6)
        axis.fill_between(forecast.times, low, high, color=BAND, alpha=0.25, lw=0)
        axis.plot(forecast.times, middle, color=BAND)
        for threshold in twin.config.forecast.thresholds:
            if threshold.qoi == name:
                axis.axhline(threshold.level, color=INK, lw=0.8, ls="--")
        tidy(axis)
        axis.set_title(f"{infos[name].long_name}{bracketed(infos[name].units)}", **text_style())
        axis.set_xlabel("time", **text_style())
    return figure


def forecast_figure(twin: Twin, forecast: Forecast) -> Figure:
    """Forecast fields: mean, one member, and spread; what is not determined is hatched."""
    low, high = colour_limits(twin.config.process, twin.config.model_dump(mode="json"))
    field = {"cmap": appearance_of(twin.config.process).colours, "vmin": low, "vmax": high}
    spread = forecast.field.std(0, ddof=1)
    most = {"cmap": "viridis", "vmin": 0.0, "vmax": max(float(spread.max()), 1e-6)}
    rows = [("mean", forecast.field.mean(0), field), ("one member", forecast.field[0], field)]
    return _images(forecast.times, [*rows, (f"spread (to {spread.max():.2g})", spread, most)], forecast.determined)


def animation(twin: Twin, forecast: Forecast) -> bytes:
    """A GIF: the twin's mean through the observed window and on into the forecast, a bar marks the forecast.

    Stripes lie over what the forecast does not determine.
    """
    frames, problem, found = twin.current()
    past = found.posterior.predicted.numpy().mean(0)
    future = forecast.grey.mean(0)
    low, high = sorted((problem.grey.low, problem.grey.high))
    times, known = np.concatenate([frames.times, forecast.times]), len(past)
    images = []
    for number, frame in enumerate(np.concatenate([past, future])):
        grey = np.clip((frame - low) / (high - low) * 255.0, 0, 255).astype(np.uint8)
        height = round(ANIMATION_WIDTH * grey.shape[0] / grey.shape[1])
        image = Image.fromarray(grey).convert("RGB").resize((ANIMATION_WIDTH, height), Image.Resampling.NEAREST)
        if number >= known:
            image = striped(image, forecast.determined.undetermined[number - known][forecast.determined.window])
        colour = (220, 220, 220) if number < known else BAND
        image.paste(colour, (0, height - 6, round(ANIMATION_WIDTH * (number + 1) / len(times)), height))
        images.append(with_legend(image, float(times[number]), number >= known).quantize(64))
    buffer = io.BytesIO()
    images[0].save(buffer, "gif", save_all=True, append_images=images[1:], duration=ANIMATION_MS, loop=0)
    return buffer.getvalue()
