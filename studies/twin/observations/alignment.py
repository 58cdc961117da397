"""Frames where their neighbours are: drift is taken out, frames unlike their neighbours are left out.

A specimen changes little by little. So the mean squared difference of two frames grows with the time between them, and
is smallest where they lie on each other.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from scipy import ndimage

from studies.twin.observations.frames import ObservedFrames, estimate_noise, make_frames

# A frame is left out whose differences to both neighbours exceed this many times that between the neighbours; two are
# taken for swapped where the other order makes the way through four frames this much shorter.
_UNLIKE, _SHORTER = 1.6, 0.75
# Two frames whose mean squared difference is above this share of the sum of their variances have nothing in common, and
# tell nothing of the frame between them.
_ALIKE = 0.7
# Frames are moved where that makes the differences of successive ones this much smaller, and one of them by so many
# pixels at least. Shifts are looked for up to this share of a side.
_CLOSER, _LEAST_SHIFT, _LARGEST_SHIFT = 0.75, 0.6, 0.25
# Shifts are found to a tenth of a pixel, on frames that are smoothed by so many, in so many rounds of least squares.
_FINE, _SMOOTHED, _ROUNDS = 10, 1.0, 4


def aligned(frames: ObservedFrames, register: bool = True, leave_out: bool = True) -> ObservedFrames:
    """Frames with drift taken out and without those unlike their neighbours, with a note for each that was touched."""
    grey, noise, notes = frames.grey.copy(), estimate_noise(frames), []
    if leave_out:
        notes += leave_out_strangers(frames.times, grey, noise)
    if register:
        notes += registered(frames.times, grey, noise)
    if not notes:
        return frames
    kept = make_frames(frames.times, grey, "aligned frames")
    return ObservedFrames(kept.times, kept.grey, (*frames.notes, *notes))


def leave_out_strangers(times: np.ndarray, grey: np.ndarray, noise: float) -> list[str]:
    """Set frames (time, y, x) unlike their neighbours, and pairs in the wrong order, to NaN; a note for each."""
    notes: list[str] = []
    apart = _differences(grey, noise)
    for i in range(1, len(grey) - 2):  # a pair
        a, b, c, d = i - 1, i, i + 1, i + 2
        if not _are_alike(grey[a], grey[c]) or not _are_alike(grey[b], grey[d]):
            continue
        way, other = apart(a, b) + apart(b, c) + apart(c, d), apart(a, c) + apart(b, c) + apart(b, d)
        if other < _SHORTER * way and not _is_strange(apart, b, a, d) and not _is_strange(apart, c, a, d):
            notes.append(f"frames at {times[b]:g} and {times[c]:g} left out: they look swapped")
            grey[[b, c]] = np.nan
            return notes + leave_out_strangers(times, grey, noise)
    for i in range(1, len(grey) - 1):
        if np.isfinite(grey[i]).any() and _are_alike(grey[i - 1], grey[i + 1]) and _is_strange(apart, i, i - 1, i + 1):
            notes.append(f"frame at {times[i]:g} left out: it is unlike those before and after it")
            grey[i] = np.nan
    return notes


def _differences(grey: np.ndarray, noise: float) -> Callable[[int, int], float]:
    """Mean squared difference of two frames, the noise's taken off; NaN where one is not seen."""

    def apart(i: int, j: int) -> float:
        square = np.square(grey[i] - grey[j])
        seen = np.isfinite(square)
        # What noise leaves of a difference of nothing.
        least = noise**2 * (8.0 / max(1, seen.sum())) ** 0.5
        return max(float(square[seen].mean()) - 2.0 * noise**2, least) if seen.any() else float("nan")

    return apart


def _is_strange(apart: Callable[[int, int], float], i: int, before: int, after: int) -> bool:
    return min(apart(before, i), apart(i, after)) > _UNLIKE * apart(before, after)


def _are_alike(one: np.ndarray, other: np.ndarray) -> bool:
    seen = np.isfinite(one) & np.isfinite(other)
    if not seen.any():
        return False
    return float(np.square(one - other)[seen].mean()) < _ALIKE * float(one[seen].var() + other[seen].var())


def registered(times: np.ndarray, grey: np.ndarray, noise: float) -> list[str]:
    """Move frames (time, y, x) back to where the first of them shows the specimen; a note for each.

    What they do not show there is NaN.
    """
    shown = [i for i in range(len(grey)) if np.isfinite(grey[i]).any()]
    if len(shown) < 2:
        return []
    filled = [_filled(grey[i]) for i in shown]
    steps = [np.zeros(2), *(_shift(a, b) for a, b in pairwise(filled))]
    place = np.cumsum(steps, axis=0)
    if np.abs(place).max() < _LEAST_SHIFT:
        return []
    if not _closer(filled, np.round(place).astype(int), noise):
        return []
    notes = []
    for i, at in zip(shown, place, strict=True):
        if np.abs(at).max() > 1.0 / _FINE:
            hidden = ndimage.shift((~np.isfinite(grey[i])).astype(float), -at, order=1, cval=1.0) > 0.0
            grey[i] = np.where(hidden, np.nan, _moved(_filled(grey[i]), -at))
            notes.append(f"frame at {times[i]:g} moved back by {at[0]:.1f}, {at[1]:.1f} pixels (down, right): drift")
    return notes


def _closer(images: list[np.ndarray], place: np.ndarray, noise: float) -> bool:
    """Whether frames are nearer to each other when moved back from ``place`` (frame, 2).

    By whole pixels, as interpolation makes noise smaller; and of pairs that those displace against each other.
    """
    before, after = 0.0, 0.0
    for j in range(1, len(images)):
        for i in range(j):
            down, right = place[j] - place[i]
            if (down, right) == (0, 0):
                continue
            rows, columns = images[i].shape
            if max(abs(down) / rows, abs(right) / columns) > _LARGEST_SHIFT:
                continue
            here = images[i][max(0, -down) : rows - max(0, down), max(0, -right) : columns - max(0, right)]
            there = images[j][max(0, down) : rows + min(0, down), max(0, right) : columns + min(0, right)]
            before += float(np.square(images[i] - images[j]).mean()) - 2.0 * noise**2
            after += float(np.square(here - there).mean()) - 2.0 * noise**2
    return after < _CLOSER * before


def _filled(frame: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(frame), frame, np.nanmean(frame))


def _shift(reference: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Pixels (down, right) by which an image is displaced against a reference.

    The peak of their cross-correlation (Guizar-Sicairos, Thurman and Fienup 2008, doi:10.1364/OL.33.000156), then least
    squares (Lucas and Kanade 1981): the taper that correlation needs draws its peak aside.
    """
    from skimage.registration import phase_cross_correlation

    taper = np.outer(*(np.hanning(n + 2)[1:-1] for n in reference.shape))
    one, other = (ndimage.gaussian_filter(part - part.mean(), _SMOOTHED) for part in (reference, image))
    found, _, _ = phase_cross_correlation(one * taper, other * taper, normalization=None, upsample_factor=_FINE)
    shift = -np.asarray(found, dtype=np.float64)
    for _ in range(_ROUNDS):
        if np.abs(shift).max() > _LARGEST_SHIFT * min(reference.shape):
            return np.zeros(2)
        back = ndimage.shift(other, -shift, order=3, cval=np.nan)
        seen = ndimage.binary_erosion(np.isfinite(back), iterations=2)
        slopes = np.stack([slope[seen] for slope in np.gradient(0.5 * (one + back))], axis=1)
        shift = shift - np.linalg.lstsq(slopes, (back - one)[seen], rcond=None)[0]
    return shift


def _moved(image: np.ndarray, by: np.ndarray) -> np.ndarray:
    """An image moved by (down, right) pixels; NaN where it has nothing to show."""
    whole = np.round(by)
    if np.abs(by - whole).max() <= 1.5 / _FINE:
        by = whole
    return np.asarray(ndimage.shift(image, by, order=3, cval=np.nan, mode="constant", prefilter=True))
