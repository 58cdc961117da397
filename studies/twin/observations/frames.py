"""Frames as data: times, grey values, masks, and where they lie in the model's box."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import ndimage
from scipy.signal import convolve2d

from solvers.errors import InputError
from solvers.grids.grid import Boundary, Grid
from studies.twin.processes import TwinProcess

#: Least share of seen pixels of a frame that is used.
LEAST_SEEN = 0.02
#: An information bar: lines of which this share changes by less than this share of a typical pixel's change, as many
#: lines at least, this share of the picture at most, told from so many frames.
_BAR, _STILL, _THINNEST, _THICKEST, _FRAMES_OF_BARS = 0.8, 0.1, 3, 0.35, 3
#: Width of the margin around a window of a larger specimen, in wavelengths of its microstructure: two domains each.
MARGIN = 0.75


@dataclass
class ObservedFrames:
    """Observed frames in the order of their times."""

    times: np.ndarray  #: float64 (time,), increasing
    grey: np.ndarray  #: float64 (time, y, x), NaN where not seen
    notes: tuple[str, ...] = ()  #: what was left out, a line each

    @property
    def seen(self) -> np.ndarray:
        """bool (time, y, x), pixels that carry a value."""
        return np.isfinite(self.grey)

    def first(self, count: int | None) -> ObservedFrames:
        """The first so many; all of them for None."""
        return ObservedFrames(self.times[:count], self.grey[:count], self.notes)

    def filled(self, index: int) -> np.ndarray:
        """Frame (y, x) with unseen pixels taken from the nearest seen one, in time first and then in space."""
        frame = self.grey[index].copy()
        for other in np.argsort(np.abs(self.times - self.times[index])):
            missing = ~np.isfinite(frame)
            if not missing.any():
                return frame
            frame[missing] = self.grey[other][missing]
        missing = ~np.isfinite(frame)
        if missing.any():
            nearest = ndimage.distance_transform_edt(missing, return_distances=False, return_indices=True)
            frame = frame[tuple(nearest)]
        return frame


def make_frames(times: np.ndarray, grey: np.ndarray, source: str, crop: bool = True) -> ObservedFrames:
    """Check and sort frames (time, y, x); whole frames without any value count as missing and are left out.

    A row or column with the same value in all of several frames (a defect of the camera) counts as not seen, as do
    pixels that are not finite, frames of one value (saturated), and strips along an edge in which next to nothing
    changes (information bars; not without ``crop``). ``source`` is named in errors.

    Raises:
        InputError: for shapes that do not fit, a repeated or missing time, or no frame with enough pixels.
    """
    grey = np.array(grey, dtype=np.float64)
    times = np.asarray(times, dtype=np.float64)
    if grey.ndim != 3:
        raise InputError(f"observations.path: {source}: found {grey.ndim} axes, allowed (time, y, x)")
    if times.shape != grey.shape[:1]:
        raise InputError(f"observations.path: {source}: found {len(times)} times for {len(grey)} frames")
    if not np.isfinite(times).all():
        first = int(np.flatnonzero(~np.isfinite(times))[0])
        raise InputError(f"observations.path: {source}: found a time that is not a number, frame {first}")
    order = np.argsort(times, kind="stable")
    times, grey = times[order], grey[order]
    repeated = np.flatnonzero(np.diff(times) == 0)
    if len(repeated):
        raise InputError(f"observations.path: {source}: found the time {times[repeated[0]]:g} twice, allowed once")
    grey[~np.isfinite(grey)] = np.nan
    times, grey = _seen_enough(times, grey, source)
    notes = [*_hide_saturated(times, grey), *(_hide_bars(grey) if crop else [])]
    _hide_constant_lines(grey)
    # A frame may have had no other values than those lines.
    return ObservedFrames(*_seen_enough(times, grey, source), tuple(notes))


def _seen_enough(times: np.ndarray, grey: np.ndarray, source: str) -> tuple[np.ndarray, np.ndarray]:
    """The frames (time, y, x), and their times, of which enough pixels are seen."""
    enough = np.isfinite(grey).mean((1, 2)) >= LEAST_SEEN
    if not enough.any():
        raise InputError(f"observations.path: {source}: found no frame with {LEAST_SEEN:.0%} of its pixels seen")
    return times[enough], grey[enough]


def _hide_saturated(times: np.ndarray, grey: np.ndarray) -> list[str]:
    """Set frames of one value to NaN, where others have contrast; a note for each."""
    low, high = np.nanmin(grey, axis=(1, 2)), np.nanmax(grey, axis=(1, 2))
    flat = low == high
    if flat.all():
        return []  # an error of its own
    grey[flat] = np.nan
    return [f"frame at {times[i]:g} left out: it is {low[i]:g} everywhere" for i in np.flatnonzero(flat)]


def _hide_bars(grey: np.ndarray) -> list[str]:
    """Set strips along an edge that do not change with time to NaN: information bars; a note for each."""
    often = np.isfinite(grey).sum(axis=0) >= _FRAMES_OF_BARS
    if not often.any():
        return []
    # A pixel that was hidden in all frames but one, the newest, does not change either: a bar stays hidden.
    highest, lowest = np.where(np.isnan(grey), -np.inf, grey).max(0), np.where(np.isnan(grey), np.inf, grey).min(0)
    change = np.maximum(highest - lowest, 0.0)
    typical = float(np.median(change[often]))
    # Where most of a picture does not change, lines that do not change are no bar.
    still = change <= _STILL * typical if typical > 0.0 else np.zeros_like(change, dtype=bool)
    notes = []
    for axis, kind, first, last in ((0, "rows", "top", "bottom"), (1, "columns", "left", "right")):
        lines = still.mean(1 - axis) >= _BAR
        for side, ordered in ((first, lines), (last, lines[::-1])):
            count = int(np.argmin(ordered)) if not ordered.all() else 0
            if _THINNEST <= count <= _THICKEST * len(lines):
                strip = np.moveaxis(grey, 1 + axis, 0)[slice(None, count) if side == first else slice(-count, None)]
                if np.isfinite(strip).any():
                    strip[:] = np.nan
                    notes.append(f"{count} {kind} at the {side} left out: nothing changes there (information bar)")
    return notes


def _hide_constant_lines(grey: np.ndarray) -> None:
    """Set rows and columns of frames (time, y, x) that never change, in time or along themselves, to NaN."""
    if len(grey) < 2 or np.nanmin(grey) == np.nanmax(grey):
        return  # frames without contrast get an error of their own
    low, high = np.where(np.isnan(grey), np.inf, grey), np.where(np.isnan(grey), -np.inf, grey)
    for axis, line in ((2, 1), (1, 2)):
        constant = low.min((0, axis)) == high.max((0, axis))
        np.moveaxis(grey, line, 0)[constant] = np.nan


@dataclass(frozen=True)
class Camera:
    """From values at the model's cells to pixels: a crop of the box, means over blocks of cells."""

    grid: Grid  #: the model's grid (the user's cells, not the solver's internal ones)
    block: int  #: cells along each side of a pixel
    origin: tuple[int, int]  #: (y, x) first cell that a frame shows
    pixels: tuple[int, int]  #: (y, x) of a frame
    open: bool = False  #: whether the box around the frames is there only because the specimen goes on

    @property
    def window(self) -> tuple[slice, slice]:
        """The model's cells (y, x) that frames show."""
        (top, left), (height, width), b = self.origin, self.pixels, self.block
        return slice(top, top + height * b), slice(left, left + width * b)

    def outside(self, shape: tuple[int, ...]) -> np.ndarray:
        """Cells of an internal grid of ``shape`` that no frame shows: 1, falling to 0 within two cells; (*shape)."""
        inside = np.zeros(self.grid.shape)
        inside[self.window] = 1.0
        at = [((np.arange(m) + 0.5) * n / m - 0.5) for m, n in zip(shape, self.grid.shape, strict=True)]
        smooth = ndimage.gaussian_filter(1.0 - inside, 1.0, mode="nearest")
        return np.asarray(ndimage.map_coordinates(smooth, np.meshgrid(*at, indexing="ij"), order=1, mode="nearest"))

    def view(self, values: torch.Tensor) -> torch.Tensor:
        """Values (..., y, x) at the model's cells to (..., pixel y, pixel x)."""
        (height, width), b = self.pixels, self.block
        crop = values[..., *self.window]
        if b == 1:
            return crop
        return crop.reshape(*crop.shape[:-2], height, b, width, b).mean((-3, -1))

    def spread(self, frame: np.ndarray) -> np.ndarray:
        """A frame (pixel y, pixel x) as values at the model's cells (y, x); mirrored outside the frame."""
        fine = np.kron(frame, np.ones((self.block, self.block)))
        (top, left), (height, width) = self.origin, self.grid.shape
        after = (height - top - fine.shape[0], width - left - fine.shape[1])
        return np.pad(fine, ((top, after[0]), (left, after[1])), mode="symmetric")


def camera_for(
    pixels: tuple[int, int],
    spacing: float,
    boundary: Boundary,
    shape: tuple[int, int] | None = None,
    pixel_size: float | None = None,
    origin: tuple[float, float] = (0.0, 0.0),
) -> Camera:
    """The camera of frames of ``pixels`` (y, x).

    Args:
        shape: cells of the box; that of the frames by default.
        pixel_size: side of a pixel (length), a whole number of cells; one cell by default.
        origin: (y, x) corner of the frame in the box (length), whole cells.

    Raises:
        InputError: for a pixel size or origin off the cells, or frames that do not fit into the box.
    """
    size = spacing if pixel_size is None else pixel_size
    block = round(size / spacing)
    if block < 1 or abs(block * spacing - size) > 1e-6 * size:
        raise InputError(
            f"observations.pixel_size: found {size:g}, allowed whole multiples of grid.spacing {spacing:g}; "
            "for finer frames make grid.spacing the pixel size"
        )
    corner = [round(o / spacing) for o in origin]
    if any(abs(c * spacing - o) > 1e-6 * max(o, spacing) for c, o in zip(corner, origin, strict=True)):
        raise InputError(
            f"observations.origin: found {list(origin)}, allowed whole multiples of grid.spacing {spacing:g}"
        )
    least = [c + n * block for c, n in zip(corner, pixels, strict=True)]
    box = tuple(least) if shape is None else shape
    if any(n > b for n, b in zip(least, box, strict=True)):
        raise InputError(f"grid.shape: found {list(box)}, allowed at least {least} to hold the frames")
    if min(box) < 8:
        raise InputError(f"observations.path: found frames of {pixels[0]} x {pixels[1]} pixels, allowed 8 x 8 or more")
    grid = Grid((box[0], box[1]), spacing, boundary)
    return Camera(grid, block, (corner[0], corner[1]), (pixels[0], pixels[1]))


def open_camera(frames: ObservedFrames, spacing: float, pixel_size: float | None = None) -> Camera:
    """The camera of frames that are a window of a larger specimen: a margin around them of :data:`MARGIN` wavelengths.

    Coarsening is slow: what happens at the far side of such a margin does not reach the window in the time of an
    experiment. The outer boundary is a wall. Raises InputError as :func:`camera_for`.
    """
    height, width = frames.grey.shape[1:]
    alone = camera_for((height, width), spacing, "no_flux", None, pixel_size)
    pixels = math.ceil(MARGIN * max(wavelength(frames.filled(i)) for i in (0, len(frames.times) - 1)))
    cells = min(pixels, height, width) * alone.block
    box = (alone.grid.shape[0] + 2 * cells, alone.grid.shape[1] + 2 * cells)
    at = (cells * spacing, cells * spacing)
    return replace(camera_for((height, width), spacing, "no_flux", box, pixel_size, at), open=True)


def wavelength(frame: np.ndarray) -> float:
    """Mean wavelength of a frame (pixels), from its structure factor; noise counts little at the power of two."""
    window = np.outer(np.hanning(frame.shape[0]), np.hanning(frame.shape[1]))
    power = np.abs(np.fft.fft2((frame - frame.mean()) * window)) ** 2
    k = np.hypot(*np.meshgrid(*[np.fft.fftfreq(n) for n in frame.shape], indexing="ij"))
    near = (k > 0) & (k < 0.25)
    return float((power[near] ** 2).sum() / (power[near] ** 2 * k[near]).sum())


@dataclass
class GreyScale:
    """Noise and grey levels of frames."""

    noise: float  #: standard deviation of the noise, in grey values
    low: float  #: grey value at the first field level of the process: best guess
    high: float  #: at the second
    #: (2,) how far the guess may be off, standard deviation; 0 for known levels
    spread: tuple[float, float] = (0.0, 0.0)

    @property
    def span(self) -> float:
        return abs(self.high - self.low)


def estimate_noise(frames: ObservedFrames) -> float:
    """Standard deviation of white noise: from differences in space or in time, whichever are smaller.

    Both have other sources too: boundaries a cell wide in space, fast changes in time.
    """
    found = [
        float(np.median([np.median(np.abs(part)) for part in parts])) / 0.6745  # of a normal distribution
        for parts in (_spatial(frames), _temporal(frames))
        if parts
    ]
    return min(found, default=0.0)


def _spatial(frames: ObservedFrames) -> list[np.ndarray]:
    """Differences (pixel,) of pixels to the plane through their neighbours, of each frame, with the noise's deviation.

    Immerkaer (1996), doi:10.1006/cviu.1996.0060, who takes means; medians are insensitive to edges.
    """
    kernel = np.array([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]]) / 6.0
    return _seen(convolve2d(frame, kernel, mode="valid") for frame in frames.grey)


def _temporal(frames: ObservedFrames) -> list[np.ndarray]:
    """Differences (pixel,) of each frame to the line through those before and after it, with the noise's deviation."""
    times, grey = frames.times, frames.grey
    after = (times[1:-1] - times[:-2]) / (times[2:] - times[:-2])
    weights = after[:, None, None]
    line = (1.0 - weights) * grey[:-2] + weights * grey[2:]
    return _seen((grey[1:-1] - line) / np.sqrt(1.0 + weights**2 + (1.0 - weights) ** 2))


def _seen(differences: Iterable[np.ndarray]) -> list[np.ndarray]:
    parts = [values[np.isfinite(values)] for values in differences]
    return [part for part in parts if len(part)]


def estimate_levels(frames: ObservedFrames, process: TwinProcess, noise: float) -> GreyScale:
    """Grey values at the two field levels of a process, read from the frames; InputError if they have no contrast."""
    values = frames.grey[frames.seen]
    low, high = np.percentile(values, [2.0, 98.0])
    shrink = min(0.8 * noise, 0.35 * (high - low))  # noise widens the histogram
    if not high - low > 1e-12:
        raise InputError("observations.levels: found frames without contrast, allowed frames that show something")
    dark, bright = process.model.grey_levels(values, low, high, shrink)
    span = bright - dark
    doubt = (process.level_doubt[0] * span, process.level_doubt[1] * span)
    return GreyScale(noise, dark, bright, doubt)
