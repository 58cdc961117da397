"""What is understood of frames, before any twin: a table, a contact sheet, and the material by their interior."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from solvers.errors import InputError
from studies.twin.config import Assimilation, Observations
from studies.twin.inference.estimate import interior_of
from studies.twin.inference.variational import AssimilationProblem
from studies.twin.observations.frames import ObservedFrames, camera_for, estimate_levels, estimate_noise
from studies.twin.observations.readers import read_frames
from studies.twin.processes import twin_process
from sweeps.files import replacing

#: Relative standard error beyond which an estimate is not given.
UNSURE = 0.5
#: Of the contact sheet: columns, and inches a frame.
_COLUMNS, _INCHES = 6, 2.0


@dataclass(frozen=True)
class Inspection:
    """Frames, and (name, value) of what was understood of them."""

    frames: ObservedFrames
    rows: list[tuple[str, str]]


def inspect_frames(
    path: Path,
    process: str | None = None,
    interval: float | None = None,
    pixel: float = 1.0,
    variable: str | None = None,
) -> Inspection:
    """Read frames and describe them.

    Args:
        process: also estimate its material from the interior of the frames; times must then be known.
        interval: between frames of a file that has no times.
        pixel: side of a pixel (length).

    Raises:
        InputError: for files that cannot be read as frames, an unknown process, or one without such an estimate.
    """
    if not (pixel > 0.0 and math.isfinite(pixel)):
        raise InputError(f"--pixel-size: found {pixel:g}, allowed a number above 0")
    frames = _read(path, interval, variable)
    noise = estimate_noise(frames)
    low, high = np.nanmin(frames.grey), np.nanmax(frames.grey)
    count, height, width = frames.grey.shape
    rows = [
        ("frames", f"{count} of {height} x {width} pixels, {height * pixel:g} x {width * pixel:g} in length"),
        ("times", f"{frames.times[0]:g} to {frames.times[-1]:g}" + _gaps(frames.times)),
        ("grey values", f"{low:g} to {high:g}, {1.0 - frames.seen.mean():.1%} of the pixels not seen"),
        (
            "noise",
            f"{noise:.3g} (standard deviation)" + (f", {noise / (high - low):.1%} of the range" if high > low else ""),
        ),
    ]
    rows += [("note", note) for note in frames.notes]
    return Inspection(frames, rows + ([] if process is None else _material(frames, process, noise, pixel)))


def _read(path: Path, interval: float | None, variable: str | None) -> ObservedFrames:
    if not path.exists():
        raise InputError(f"FRAMES: found no {path}, allowed a file of frames or a folder with times.csv")
    if interval is not None and not (interval > 0.0 and math.isfinite(interval)):
        raise InputError(f"--interval: found {interval:g}, allowed a number above 0")
    return read_frames(Observations(path=str(path.absolute()), interval=interval, variable=variable))


def _gaps(times: np.ndarray) -> str:
    if len(times) < 2:
        return ""
    gaps = np.diff(times)
    even = np.ptp(gaps) <= 1e-3 * gaps.mean()
    return f", {gaps.mean():g} apart" if even else f", {gaps.min():g} to {gaps.max():g} apart"


def _material(frames: ObservedFrames, name: str, noise: float, pixel: float) -> list[tuple[str, str]]:
    process = twin_process(name)
    grey = estimate_levels(frames, process, noise)
    camera = camera_for((frames.grey.shape[1], frames.grey.shape[2]), pixel, "no_flux")
    problem = AssimilationProblem(process, camera, process.priors, grey, Assimilation().model_error)
    found = interior_of(problem, frames)
    if found is None:
        raise InputError(
            f"--process: found nothing in these frames that tells the material of {name}, allowed four or more frames "
            "of cahn_hilliard, of 34 x 34 pixels or more, that show interfaces"
        )
    values = (("mobility", found.mobility, found.mobility_error), ("kappa", found.kappa, found.kappa_error))
    return [(label, _with_error(value, error)) for label, value, error in values]


def _with_error(value: float, error: float) -> str:
    if not error < UNSURE:
        return "not determined by the interior of these frames"
    return f"{value:.4g} +- {value * error:.2g} (from the interior of the frames, W = 1)"


def contact_sheet(frames: ObservedFrames, path: Path) -> None:
    """Write a PNG of all frames with their times."""
    from matplotlib.figure import Figure

    count = len(frames.times)
    columns = min(_COLUMNS, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(_INCHES * columns, (_INCHES + 0.25) * rows), layout="constrained")
    low, high = np.nanpercentile(frames.grey, [1.0, 99.0])
    for i, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        axes.set_axis_off()
        if i < count:
            axes.imshow(frames.grey[i], cmap="gray", vmin=low, vmax=high, interpolation="nearest")
            axes.set_title(f"t = {frames.times[i]:g}", fontsize=9)
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=100)
