"""The evaluation's pictures. Nothing here touches matplotlib's global state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from solvers.qois import structure_factor_wavenumbers
from surrogate.evaluation.score import Scores

_INK, _MUTED, _RULE = "#22272e", "#6b7480", "#d5dae0"
# Dark to light: the model, no change, another seed. Told apart in grey and by the dashes too.
_LINES: list[dict[str, Any]] = [
    {"color": "#30123b", "lw": 1.8},
    {"color": "#1f7a8c", "lw": 1.4, "ls": "--"},
    {"color": "#9aa5b1", "lw": 1.4, "ls": ":"},
]
_DPI = 140


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.08), facecolor="white", dpi=_DPI)
    FigureCanvasAgg(figure)
    return figure


def _tidy(axes: Axes) -> Axes:
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_MUTED)
    axes.tick_params(colors=_MUTED, labelcolor=_INK, labelsize=8)
    axes.grid(color=_RULE, lw=0.5)
    return axes


def pictures(scores: Scores, folder: Path) -> dict[str, Path]:
    """Draws a case's pictures.

    Returns:
        What it shows -> file: ``curves``, ``montage``, and ``structure_factor`` or ``areas``.
    """
    name = scores.case.name
    drawn = {"curves": curves(scores), "montage": montage(scores)}
    if scores.case.process == "cahn_hilliard":
        drawn["structure_factor"] = structure_factors(scores)
    else:
        drawn["areas"] = area_distributions(scores)
    files = {}
    for kind, figure in drawn.items():
        files[kind] = folder / f"{name}-{kind.replace('_', '-')}.png"
        # No date or version in the file: the same scores give the same bytes.
        figure.savefig(files[kind], dpi=_DPI, metadata={"Software": None})
        _shrink(files[kind])
    return files


def curves(scores: Scores) -> Figure:
    """RMSE and SSIM against frame, beside persistence and another seed; the shade spans the films."""
    figure = _figure(9.2, 3.4)
    panels = figure.subplots(1, 2)
    ahead = np.arange(1, scores.images.rmse.shape[1] + 1)
    for axes, key, label in zip(panels, ("rmse", "ssim"), ("RMSE (images in [0, 1])", "SSIM"), strict=True):
        _tidy(axes)
        values = getattr(scores.images, key)
        axes.fill_between(ahead, values.min(0), values.max(0), color=_LINES[0]["color"], alpha=0.15, lw=0)
        axes.plot(ahead, values.mean(0), label=scores.model, **_LINES[0])
        axes.plot(ahead, getattr(scores.persistence, key).mean(0), label="persistence", **_LINES[1])
        axes.plot(scores.sampled + 1, getattr(scores.other_seed, key).mean(0), label="another seed", **_LINES[2])
        axes.set_xlabel("frame after the last one seen", fontsize=9)
        axes.set_ylabel(label, fontsize=9)
        axes.set_xlim(0, ahead[-1])
    panels[0].set_ylim(bottom=0)
    panels[1].set_ylim(top=1)
    panels[0].legend(frameon=False, fontsize=8)
    figure.suptitle(f"{scores.case.name}: mean over {scores.case.count} film(s), shade from best to worst", fontsize=9)
    return figure


def _shrink(path: Path) -> None:
    """256 colours: a third of the bytes, and pictures travel with the weights."""
    from PIL import Image

    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


def montage(scores: Scores) -> Figure:
    """Truth, forecast and difference of the first film."""
    sample = scores.sample
    columns = len(sample.frames)
    figure = _figure(1.9 * columns + 1.2, 5.9)
    panels = figure.subplots(3, columns, squeeze=False)
    difference = sample.forecast - sample.truth
    bound = float(np.nanmax(np.abs(difference), initial=0.0)) or 1.0
    rows = [
        ("truth", sample.truth, {"cmap": "viridis", "vmin": 0.0, "vmax": 1.0}),
        (scores.model, sample.forecast, {"cmap": "viridis", "vmin": 0.0, "vmax": 1.0}),
        ("difference", difference, {"cmap": "RdBu_r", "vmin": -bound, "vmax": bound}),
    ]
    for row, (label, images, style) in zip(panels, rows, strict=True):
        for axes, image, frame in zip(row, images, sample.frames, strict=True):
            shown = axes.imshow(image, origin="lower", interpolation="nearest", **style)
            axes.set(xticks=[], yticks=[])
            if label == "truth":
                axes.set_title(f"frame +{frame}", fontsize=9)
        row[0].set_ylabel(label, fontsize=9)
        bar = figure.colorbar(shown, ax=list(row), fraction=0.04, pad=0.02)
        bar.ax.tick_params(labelsize=8)
        bar.set_label("image, 0 to 1" if label != "difference" else "image difference", fontsize=8)
    return figure


def structure_factors(scores: Scores) -> Figure:
    """S(k) of the mean over films at the end of each horizon."""
    ends = [int(np.flatnonzero(scores.sampled == h - 1)[0]) for h in scores.case.horizons]
    figure = _figure(4.6 * len(ends), 3.4)
    k = structure_factor_wavenumbers(scores.case.problem([0]).grid).numpy()
    for axes, end, horizon in zip(figure.subplots(1, len(ends), squeeze=False)[0], ends, scores.case.horizons,
                                  strict=True):  # fmt: skip
        _tidy(axes)
        for measures, label, style in (
            (scores.forecast, scores.model, _LINES[0]),
            (scores.unchanged, "persistence", _LINES[1]),
            (scores.reference, "truth", {"color": "#d1495b", "lw": 1.2, "ls": "-."}),
        ):
            axes.plot(k, measures.structure_factor[:, end].mean(0), label=label, **style)
        axes.set(xscale="log", yscale="log")
        axes.set_ylim(bottom=1e-7 * float(scores.reference.structure_factor[:, end].mean(0).max()))
        axes.set_xlabel("wavenumber k (rad / length)", fontsize=9)
        axes.set_ylabel("structure factor S (length$^2$)", fontsize=9)
        axes.set_title(f"frame +{horizon}", fontsize=9)
        axes.legend(frameon=False, fontsize=8)
    return figure


def area_distributions(scores: Scores) -> Figure:
    """Share of grains below an area, over all films, at the end of each horizon."""
    ends = [int(np.flatnonzero(scores.sampled == h - 1)[0]) for h in scores.case.horizons]
    figure = _figure(4.6 * len(ends), 3.4)
    for axes, end, horizon in zip(figure.subplots(1, len(ends), squeeze=False)[0], ends, scores.case.horizons,
                                  strict=True):  # fmt: skip
        _tidy(axes)
        for measures, label, style in (
            (scores.forecast, scores.model, _LINES[0]),
            (scores.unchanged, "persistence", _LINES[1]),
            (scores.reference, "truth", {"color": "#d1495b", "lw": 1.2, "ls": "-."}),
        ):
            areas = np.sort(np.concatenate([row[end] for row in measures.areas]))
            axes.step(areas, np.arange(1, len(areas) + 1) / max(len(areas), 1), where="post", label=label, **style)
        axes.set_xscale("log")
        axes.set_xlabel("grain area (length$^2$)", fontsize=9)
        axes.set_ylabel("share of grains with a smaller area", fontsize=9)
        axes.set_title(f"frame +{horizon}", fontsize=9)
        axes.legend(frameon=False, fontsize=8)
    return figure
