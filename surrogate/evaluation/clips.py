"""Clips from elsewhere: ``evaluate MODEL --clips FILE.npy`` makes the same tables from clips of unknown scale."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch

from solvers.errors import InputError
from solvers.frame_readers import read_npy
from solvers.grids.grid import Boundary, Grid
from solvers.processes.base import Problem
from solvers.processes.registry import process_named
from surrogate.evaluation.candidates import EvenlyExtended, Forecaster, Persistence
from surrogate.evaluation.cases import ForecastCase, unit_mobility
from surrogate.evaluation.scores import CaseReport, score
from surrogate.processes import learned_process

logger = logging.getLogger("phasetwin")

N_IN = 10
# Images from elsewhere overshoot their phases a little; more than this is another scale.
_SLACK = 0.1
# The scan: first over these, then three times around the best, each time at a finer ratio.
_KAPPAS = np.geomspace(0.25, 2.0, 4)
_SPACINGS = np.geomspace(0.0625, 64.0, 11)
_REFINEMENTS = 3
_FITTED_CLIPS = 4


@dataclass(frozen=True)
class ClipScales:
    """What a model needs to know of a clip beyond its images.

    Attributes:
        spacing: scaled age between frames.
        kappa: kappa / (W dx^2).
        age: scaled age of the first frame, assumed; models choose their step lengths by it.
        origin: how they were found, for the report.
    """

    spacing: float
    kappa: float
    age: float
    origin: str


def read_clips(path: Path | str) -> torch.Tensor:
    """Clips (samples, frames, y, x) float32 from a ``.npy`` file of these or of (frames, y, x), values in [0, 1].

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
    clips = values.astype(np.float32).reshape(-1, *values.shape[-3:])
    if clips.shape[0] == 0 or clips.shape[1] <= N_IN or min(clips.shape[2:]) < 16:
        raise InputError(
            f"{path}: more than {N_IN} frames of at least 16 x 16 cells expected, but found {values.shape}"
        )
    if not np.isfinite(clips).all() or clips.min() < -_SLACK or clips.max() > 1.0 + _SLACK:
        found = f"{np.nanmin(clips):g} to {np.nanmax(clips):g}" if np.isfinite(clips).any() else "no number at all"
        raise InputError(f"{path}: finite values in [0, 1] expected, but found {found}; scale the clips first")
    return torch.from_numpy(clips)


def clip_case(
    model: Forecaster,
    path: Path | str,
    boundary: Boundary = "no_flux",
    spacing: float | None = None,
    kappa: float | None = None,
    age: float = 20.0,
) -> ForecastCase:
    """The case of a file of clips, for models that are :class:`~surrogate.evaluation.candidates.EvenlyExtended`.

    What is not given of ``spacing`` and ``kappa`` is fitted to the first ten frames by :func:`fit_scales`. The SSIM
    leaves out the cells at the edges, as scikit-image does.

    Raises:
        InputError: see :func:`read_clips`; also for a spacing, kappa or age that is not positive.
    """
    for name, value in (("--spacing", spacing), ("--kappa", kappa), ("--age", age)):
        if value is not None and not (np.isfinite(value) and value > 0):
            raise InputError(f"{name}: a positive number, but got {value:g}")
    clips = read_clips(path)
    process = learned_process(model.process)
    grid = Grid(tuple(clips.shape[-2:]), 1.0, boundary)
    fields = process.from_image(clips)
    scales = fit_scales(model, fields[:, :N_IN], grid, spacing, kappa, age)
    logger.info(scales.origin)
    most = min(clips.shape[1] - N_IN, process.horizons[-1])
    return ForecastCase(
        name=Path(path).stem,
        process=model.process,
        grid=grid,
        count=len(clips),
        times=age + scales.spacing * np.arange(N_IN + most),
        parameters=_parameters(model.process, scales.kappa, len(clips)),
        starts=lambda indices: fields[list(indices), 0],
        description=(
            f"{len(clips)} clip(s) of {grid.shape[0]} x {grid.shape[1]} cells from {Path(path).name}, "
            f"{boundary.replace('_', '-')} boundaries{' by even extension' if boundary == 'no_flux' else ''}. "
            f"{scales.origin}"
        ),
        n_in=N_IN,
        horizons=(*(h for h in process.horizons if h < most), most),
        fields=lambda indices: fields[list(indices), : N_IN + most],
        edges="interior",
        time_name="fitted age" if spacing is None else "scaled age",
    )


def evaluate_clips(
    model: Forecaster,
    path: Path | str,
    boundary: Boundary = "no_flux",
    spacing: float | None = None,
    kappa: float | None = None,
    age: float = 20.0,
) -> CaseReport:
    """The forecast figures of a protocol on a file of clips; see :func:`clip_case`."""
    case = clip_case(model, path, boundary, spacing, kappa, age)
    return CaseReport(score(EvenlyExtended(model), case))


def _parameters(process: str, kappa: float, batch: int) -> dict[str, np.ndarray]:
    """Those at which times are scaled ages."""
    rows = np.full(batch, kappa)
    return {"mobility": unit_mobility(process, rows), "kappa": rows}


def clip_problem(process: str, grid: Grid, kappa: float, batch: int) -> Problem:
    """The problem whose time is the scaled age, for a batch of equal materials."""
    values = {name: torch.from_numpy(rows) for name, rows in _parameters(process, kappa, batch).items()}
    return process_named(process).build(grid, values)


def fit_scales(
    model: Forecaster,
    fields: torch.Tensor,
    grid: Grid,
    spacing: float | None,
    kappa: float | None,
    age: float,
) -> ClipScales:
    """The scaled age between frames and kappa with which a model follows fields (clip, 10, y, x) best.

    A coarse scan of the model's own least-squares error, from the first frame and from the middle one to those that
    follow, refined around its best. Models that need all ten frames for one forecast leave nothing to fit to: they take
    what is given, or spacing 1 and kappa 1.
    """
    needs_all = getattr(model, "kind", None) == "gsta"
    given = [f"{name} {value:g} as given" for name, value in (("spacing", spacing), ("kappa", kappa)) if value]
    if needs_all or (spacing and kappa):
        why = ", ".join(given) if given else "the model knows neither frame spacing nor kappa"
        return ClipScales(spacing or 1.0, kappa or 1.0, age, f"Scales: {why}.")
    clips, extended = fields[:_FITTED_CLIPS], EvenlyExtended(model)

    def misfit(pair: tuple[float, float]) -> float:
        return misfit_of(extended, clips, grid, pair[0], pair[1], age)

    best = _scanned(misfit, spacing, kappa)
    persistence = misfit_of(Persistence(model.process), clips, grid, 1.0, 1.0, age)
    what = " and ".join(n for n, v in (("spacing", spacing), ("kappa", kappa)) if not v)
    origin = (
        f"Scales: {what} fitted to the first {fields.shape[1]} frames by a scan of the model's own error: scaled age "
        f"{best[0]:.3g} a frame, kappa {best[1]:.3g}, RMSE {misfit(best):.3g} (persistence {persistence:.3g})"
        f"{', ' + given[0] if given else ''}; the first frame's age taken as {age:g}."
    )
    return ClipScales(*best, age, origin)


def _scanned(
    misfit: Callable[[tuple[float, float]], float], spacing: float | None, kappa: float | None
) -> tuple[float, float]:
    """The spacing and kappa of least misfit; what is given is kept."""
    spacings = [spacing] if spacing else list(_SPACINGS)
    kappas = [kappa] if kappa else list(_KAPPAS)
    best = min(((s, k) for s in spacings for k in kappas), key=misfit)
    ratio_s, ratio_k = float(_SPACINGS[1] / _SPACINGS[0]), float(_KAPPAS[1] / _KAPPAS[0])
    for _ in range(_REFINEMENTS):
        ratio_s, ratio_k = ratio_s**0.5, ratio_k**0.5
        near_s = [best[0]] if spacing else [best[0] * r for r in (1 / ratio_s, 1.0, ratio_s)]
        near_k = [best[1]] if kappa else [best[1] * r for r in (1 / ratio_k, 1.0, ratio_k)]
        # Models were trained on no kappa beyond the scan's range.
        near_k = near_k if kappa else [k for k in near_k if _KAPPAS[0] * 0.999 <= k <= _KAPPAS[-1] * 1.001]
        best = min(((s, k) for s in near_s for k in near_k), key=misfit)
    return best


def misfit_of(model: Forecaster, clips: torch.Tensor, grid: Grid, spacing: float, kappa: float, age: float) -> float:
    """RMSE, as images, of a model's forecasts from frame 0 and from the middle frame to those that follow.

    ``clips`` are fields (clip, frame, y, x). Infinite where a forecast is not finite.
    """
    times = age + spacing * np.arange(clips.shape[1])
    problem, to_image = clip_problem(model.process, grid, kappa, len(clips)), learned_process(model.process).to_image
    squares, count = 0.0, 0
    for first in (0, clips.shape[1] // 2):
        later = clips[:, first + 1 :]
        found = model.forecast(problem, clips[:, first : first + 1], times[first : first + 1], times[first + 1 :])
        difference = to_image(found) - to_image(later)
        squares += float(difference.square().sum())
        count += later.numel()
    error = (squares / count) ** 0.5
    return error if np.isfinite(error) else np.inf
