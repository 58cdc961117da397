"""The evaluation's pictures, in the style of the reports of sweeps."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from solvers.qois import structure_factor_wavenumbers
from surrogate.evaluation.scores import CaseReport, ForecastScores
from surrogate.evaluation.statistics import ImageStatistics
from sweeps.report.style import RULE, bare_colour_bar, new_figure, png, tidy


class LineStyle(TypedDict, total=False):
    color: str
    lw: float
    ls: str


# Dark to light: the model, no change, another seed. They differ in grey and by the dashes too.
_MODEL: LineStyle = {"color": "#30123b", "lw": 1.8}
_PERSISTENCE: LineStyle = {"color": "#1f7a8c", "lw": 1.4, "ls": "--"}
_SEED: LineStyle = {"color": "#9aa5b1", "lw": 1.4, "ls": ":"}
_TRUTH: LineStyle = {"color": "#d1495b", "lw": 1.2, "ls": "-."}


def with_grid(axes: Axes) -> Axes:
    tidy(axes).grid(color=RULE, lw=0.5)
    return axes


def save_small(figure: Figure, path: Path) -> None:
    """A PNG of 256 colours, a third of the bytes: pictures travel with the weights."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(io.BytesIO(png(figure))) as picture:
        small = picture.convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


def pictures(report: CaseReport, folder: Path) -> dict[str, Path]:
    """Draws a case's pictures: kind -> file."""
    scores = report.scores
    drawn = {"curves": curves(scores), "montage": montage(scores)}
    if any(scores.reference.areas):
        drawn["areas"] = area_distributions(scores)
    else:
        drawn["structure_factor"] = structure_factors(scores)
    files = {kind: folder / f"{report.name}-{kind.replace('_', '-')}.png" for kind in drawn}
    for kind, figure in drawn.items():
        save_small(figure, files[kind])
    return files


def curves(scores: ForecastScores) -> Figure:
    """RMSE and SSIM against frame, beside persistence and another seed; the shade spans the clips."""
    figure = new_figure(3.4, 9.2)
    panels = figure.subplots(1, 2)
    ahead = np.arange(1, scores.images.rmse.shape[1] + 1)
    for axes, key, label in zip(panels, ("rmse", "ssim"), ("RMSE (images in [0, 1])", "SSIM"), strict=True):
        with_grid(axes)
        values = getattr(scores.images, key)
        axes.fill_between(ahead, values.min(0), values.max(0), color=_MODEL["color"], alpha=0.15, lw=0)
        axes.plot(ahead, values.mean(0), label=scores.model, **_MODEL)
        axes.plot(ahead, getattr(scores.persistence, key).mean(0), label="persistence", **_PERSISTENCE)
        axes.plot(scores.sampled + 1, getattr(scores.other_seed, key).mean(0), label="another seed", **_SEED)
        axes.set_xlabel("frame after the last one seen", fontsize=9)
        axes.set_ylabel(label, fontsize=9)
        axes.set_xlim(0, ahead[-1])
    panels[0].set_ylim(bottom=0)
    panels[1].set_ylim(top=1)
    panels[0].legend(frameon=False, fontsize=8)
    case = scores.case
    about = f"{case.name}: mean over {case.count} clip(s), shade from best to worst"
    panels[0].set_title(about, fontsize=9, loc="left")
    return figure


def montage(scores: ForecastScores) -> Figure:
    """Truth, forecast and difference of the first clip."""
    sample = scores.sample
    columns = len(sample.frames)
    figure = new_figure(5.9, 1.9 * columns + 1.2, tight=True)
    panels = figure.subplots(3, columns, squeeze=False)
    difference = sample.forecast - sample.truth
    bound = float(np.nanmax(np.abs(difference), initial=0.0)) or 1.0
    rows = [
        ("truth", sample.truth, "viridis", (0.0, 1.0)),
        (scores.model, sample.forecast, "viridis", (0.0, 1.0)),
        ("difference", difference, "RdBu_r", (-bound, bound)),
    ]
    for row, (label, images, colours, (low, high)) in zip(panels, rows, strict=True):
        for axes, image, frame in zip(row, images, sample.frames, strict=True):
            shown = axes.imshow(image, origin="lower", interpolation="nearest", cmap=colours, vmin=low, vmax=high)
            axes.set(xticks=[], yticks=[])
            if label == "truth":
                axes.set_title(f"frame +{frame}", fontsize=9)
        row[0].set_ylabel(label, fontsize=9)
        bare_colour_bar(shown, row, "image, 0 to 1" if label != "difference" else "image difference")
    return figure


def structure_factors(scores: ForecastScores) -> Figure:
    """S(k) of the mean over clips at the end of each horizon."""
    k = structure_factor_wavenumbers(scores.case.grid).numpy()

    def draw(axes: Axes, found: ImageStatistics, frame: int, label: str, style: LineStyle) -> None:
        axes.plot(k, found.structure_factor[:, frame].mean(0), label=label, **style)
        highest = float(scores.reference.structure_factor[:, frame].mean(0).max())
        axes.set(xscale="log", yscale="log", xlabel="wavenumber k (rad / length)")
        axes.set_ylim(bottom=1e-7 * highest)
        axes.set_ylabel("structure factor S (length$^2$)", fontsize=9)

    return _at_horizons(scores, draw)


def area_distributions(scores: ForecastScores) -> Figure:
    """Share of grains below an area, over all clips, at the end of each horizon."""

    def draw(axes: Axes, found: ImageStatistics, frame: int, label: str, style: LineStyle) -> None:
        areas = np.sort(found.pooled_areas(frame))
        axes.step(areas, np.arange(1, len(areas) + 1) / max(len(areas), 1), where="post", label=label, **style)
        axes.set(xscale="log", xlabel="grain area (length$^2$)")
        axes.set_ylabel("share of grains with a smaller area", fontsize=9)

    return _at_horizons(scores, draw)


def _at_horizons(scores: ForecastScores, draw: Callable[[Axes, ImageStatistics, int, str, LineStyle], None]) -> Figure:
    """A panel for the end of each horizon: model, persistence and truth."""
    horizons = scores.case.horizons
    figure = new_figure(3.4, 4.6 * len(horizons))
    for axes, horizon in zip(figure.subplots(1, len(horizons), squeeze=False)[0], horizons, strict=True):
        with_grid(axes)
        frame = int(np.flatnonzero(scores.sampled == horizon - 1)[0])
        draw(axes, scores.forecast, frame, scores.model, _MODEL)
        draw(axes, scores.unchanged, frame, "persistence", _PERSISTENCE)
        draw(axes, scores.reference, frame, "truth", _TRUTH)
        axes.xaxis.label.set_fontsize(9)
        axes.set_title(f"frame +{horizon}", fontsize=9)
        axes.legend(frameon=False, fontsize=8)
    return figure
