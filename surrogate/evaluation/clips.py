"""Clips of others: ``evaluate MODEL --clips FILE.npy`` makes the same tables from films that nobody here simulated."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch

from solvers.errors import InputError
from solvers.frame_readers import read_npy
from solvers.grids.grid import Boundary, Grid
from solvers.processes.cahn_hilliard import CahnHilliard
from solvers.processes.grain_growth import GrainGrowth
from surrogate.evaluation import metrics
from surrogate.evaluation.cases import Case
from surrogate.evaluation.forecasters import Forecaster, Mirrored, Persistence
from surrogate.evaluation.physics import Problem

logger = logging.getLogger("phasetwin")

N_IN = 10
HORIZONS = {"cahn_hilliard": (90, 200), "grain_growth": (90, 190)}
# Third-party images overshoot their phases a little; more than this is another scale.
_SLACK = 0.1
# The scan: first over these, then twice around the best, each time at a finer ratio.
_KAPPAS = np.geomspace(0.25, 2.0, 4)
_SPACINGS = np.geomspace(0.0625, 64.0, 11)
_REFINEMENTS = 3
_FITTED_FILMS = 4


@dataclass(frozen=True)
class ClipScales:
    """What a model needs to know of a clip beyond its images.

    Attributes:
        spacing: scaled age between frames.
        kappa: kappa / (W dx^2).
        age: scaled age of the first frame, assumed; models choose their step lengths by it.
        story: how they were found, for the report.
    """

    spacing: float
    kappa: float
    age: float
    story: str


def read_clips(path: Path | str) -> torch.Tensor:
    """Films from a ``.npy`` file.

    Args:
        path: (samples, frames, y, x) or (frames, y, x), values in [0, 1].

    Returns:
        (samples, frames, y, x) float32.

    Raises:
        InputError: for a file that is missing, unreadable, of another shape or scale, or holds too few frames.
    """
    path = Path(path)
    try:
        values = read_npy(path).values
    except (OSError, EOFError, ValueError, BadZipFile) as error:
        raise InputError(f"{path}: a .npy file expected ({str(error).splitlines()[0]})") from error
    if values.dtype.kind not in "fiu" or values.ndim not in (3, 4):
        raise InputError(
            f"{path}: numbers (samples, frames, y, x) or (frames, y, x) expected, but found {values.shape}"
        )
    films = values.astype(np.float32).reshape(-1, *values.shape[-3:])
    if films.shape[0] == 0 or films.shape[1] <= N_IN or min(films.shape[2:]) < 16:
        raise InputError(
            f"{path}: more than {N_IN} frames of at least 16 x 16 cells expected, but found {values.shape}"
        )
    if not np.isfinite(films).all() or films.min() < -_SLACK or films.max() > 1.0 + _SLACK:
        found = f"{np.nanmin(films):g} to {np.nanmax(films):g}" if np.isfinite(films).any() else "no number at all"
        raise InputError(f"{path}: finite values in [0, 1] expected, but found {found}; scale the clips first")
    return torch.from_numpy(films)


def clip_case(
    model: Forecaster,
    path: Path | str,
    boundary: Boundary = "no_flux",
    spacing: float | None = None,
    kappa: float | None = None,
    age: float = 20.0,
) -> Case:
    """The case of a file of clips. Score :class:`~surrogate.evaluation.forecasters.Mirrored` models on it.

    What is not given of ``spacing`` and ``kappa`` is fitted to the first ten frames by :func:`fit_scales`. Images are
    read as compositions 2 x - 1, or as phi. The SSIM leaves out the cells at the edges, as scikit-image does.

    Raises:
        InputError: see :func:`read_clips`; also for a spacing, kappa or age that is not positive.
    """
    for name, value in (("--spacing", spacing), ("--kappa", kappa), ("--age", age)):
        if value is not None and not (np.isfinite(value) and value > 0):
            raise InputError(f"{name}: a positive number, but got {value:g}")
    films = read_clips(path)
    process = model.process
    grid = Grid(tuple(films.shape[-2:]), 1.0, boundary)
    fields = metrics.from_image(films, process)
    scales = fit_scales(model, fields[:, :N_IN], grid, spacing, kappa, age)
    logger.info(scales.story)
    most = min(films.shape[1] - N_IN, HORIZONS[process][-1])
    horizons = (*(h for h in HORIZONS[process] if h < most), most)
    return Case(
        name=Path(path).stem,
        process=process,
        description=(
            f"{len(films)} clip(s) of {grid.shape[0]} x {grid.shape[1]} cells from {Path(path).name}, "
            f"{boundary.replace('_', '-')} boundaries{' by even extension' if boundary == 'no_flux' else ''}. "
            f"{scales.story}"
        ),
        times=age + scales.spacing * np.arange(N_IN + most),
        n_in=N_IN,
        horizons=horizons,
        count=len(films),
        problem=lambda indices: problem_of(process, grid, scales.kappa, len(indices)),
        fields=lambda indices: fields[indices, : N_IN + most],
        edges="interior",
        time_name="fitted age" if spacing is None else "scaled age",
    )


def problem_of(process: str, grid: Grid, kappa: float, batch: int) -> Problem:
    """The problem whose time is the scaled age, for a batch of equal materials."""
    rows = torch.full((batch,), kappa, dtype=torch.float64)
    if process == "grain_growth":
        return GrainGrowth(grid, mobility=1.0 / rows, kappa=rows)
    return CahnHilliard(grid, mobility=rows**-0.5, kappa=rows)


def fit_scales(
    model: Forecaster,
    fields: torch.Tensor,
    grid: Grid,
    spacing: float | None,
    kappa: float | None,
    age: float,
) -> ClipScales:
    """The scaled age between frames and kappa with which a model follows the frames seen best.

    A coarse scan of the model's own least-squares error, from the first frame and from the middle one to those that
    follow, refined around its best. Models that need all ten frames for one forecast leave nothing to fit to: they
    take what is given, or spacing 1 and kappa 1.

    Args:
        fields: (film, 10, y, x); the first few films are used.
    """
    needs_all = getattr(model, "kind", None) == "gsta"
    given = [f"{name} {value:g} as given" for name, value in (("spacing", spacing), ("kappa", kappa)) if value]
    if needs_all or (spacing and kappa):
        found = (spacing or 1.0, kappa or 1.0)
        why = ", ".join(given) if given else "the model knows neither frame spacing nor kappa"
        return ClipScales(*found, age, f"Scales: {why}.")
    films = fields[:_FITTED_FILMS]
    mirrored = Mirrored(model)

    def misfit(pair: tuple[float, float]) -> float:
        return misfit_of(mirrored, films, grid, pair[0], pair[1], age)

    spacings = [spacing] if spacing else list(_SPACINGS)
    kappas = [kappa] if kappa else list(_KAPPAS)
    best = min(((s, k) for s in spacings for k in kappas), key=misfit)
    ratio_s, ratio_k = float(_SPACINGS[1] / _SPACINGS[0]), float(_KAPPAS[1] / _KAPPAS[0])
    for _ in range(_REFINEMENTS):
        ratio_s, ratio_k = ratio_s**0.5, ratio_k**0.5
        near_s = [best[0]] if spacing else [best[0] * r for r in (1 / ratio_s, 1.0, ratio_s)]
        near_k = [best[1]] if kappa else _inside([best[1] * r for r in (1 / ratio_k, 1.0, ratio_k)])
        best = min(((s, k) for s in near_s for k in near_k), key=misfit)
    still = misfit_of(Persistence(model.process), films, grid, 1.0, 1.0, age)
    what = " and ".join(n for n, v in (("spacing", spacing), ("kappa", kappa)) if not v)
    story = (
        f"Scales: {what} fitted to the first {fields.shape[1]} frames by a scan of the model's own error: scaled age "
        f"{best[0]:.3g} a frame, kappa {best[1]:.3g}, RMSE {misfit(best):.3g} (persistence {still:.3g})"
        f"{', ' + given[0] if given else ''}; the first frame's age taken as {age:g}."
    )
    return ClipScales(*best, age, story)


def _inside(kappas: Sequence[float]) -> list[float]:
    """Values within the scan's range: beyond it models know nothing."""
    return [k for k in kappas if _KAPPAS[0] * 0.999 <= k <= _KAPPAS[-1] * 1.001]


def misfit_of(model: Forecaster, films: torch.Tensor, grid: Grid, spacing: float, kappa: float, age: float) -> float:
    """RMSE, as images, of a model's forecasts from frame 0 and from the middle frame to those that follow.

    Args:
        films: (film, frame, y, x) fields.

    Returns:
        Infinity where a forecast is not finite.
    """
    times = age + spacing * np.arange(films.shape[1])
    problem = problem_of(model.process, grid, kappa, len(films))
    squares, count = 0.0, 0
    for first in (0, films.shape[1] // 2):
        later = films[:, first + 1 :]
        found = model.forecast(problem, films[:, first : first + 1], times[first : first + 1], times[first + 1 :])
        difference = metrics.to_image(found, model.process) - metrics.to_image(later, model.process)
        squares += float(difference.square().sum())
        count += later.numel()
    error = (squares / count) ** 0.5
    return error if np.isfinite(error) else np.inf
