"""Frames in the order and at the place of their neighbours: drift is taken out, frames unlike their neighbours left out.

A specimen changes little by little. So the mean squared difference of two frames grows with the time between them, and
is smallest where they lie on each other. Frames are arrays (time, y, x), changed in place; each function returns a note
for every frame that it touched.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

# A frame is left out whose differences to both neighbours exceed this many times that between the neighbours; two are
# taken for swapped where the other order makes the way through four frames this much shorter.
_UNLIKE, _SHORTER = 1.6, 0.75
# Frames are moved where that makes the differences of successive ones this much smaller, and one of them by so many
# pixels at least. Shifts are looked for up to this share of a side.
_CLOSER, _LEAST_SHIFT, _LARGEST_SHIFT = 0.75, 0.6, 0.25
# Shifts are found to a tenth of a pixel.
_FINE = 10
_FEWEST = 4


def leave_out_strangers(times: np.ndarray, grey: np.ndarray, noise: float) -> list[str]:
    """Set frames that are unlike their neighbours, and pairs in the wrong order, to NaN."""
    notes: list[str] = []
    apart = _differences(grey, noise)
    for i in range(1, len(grey) - 2):  # a pair
        a, b, c, d = i - 1, i, i + 1, i + 2
        way, other = apart(a, b) + apart(b, c) + apart(c, d), apart(a, c) + apart(b, c) + apart(b, d)
        if other < _SHORTER * way and not _is_strange(apart, b, a, d) and not _is_strange(apart, c, a, d):
            notes.append(f"frames at {times[b]:g} and {times[c]:g} left out: they look swapped")
            grey[[b, c]] = np.nan
            return notes + leave_out_strangers(times, grey, noise)
    for i in range(1, len(grey) - 1):
        if np.isfinite(grey[i]).any() and _is_strange(apart, i, i - 1, i + 1):
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
    between = apart(before, after)
    return min(apart(before, i), apart(i, after)) > _UNLIKE * between


def register(times: np.ndarray, grey: np.ndarray, noise: float) -> list[str]:
    """Move frames back to where the first of them shows the specimen; what they do not show there is NaN."""
    shown = [i for i in range(len(grey)) if np.isfinite(grey[i]).any()]
    if len(shown) < 2:
        return []
    filled = [_filled(grey[i]) for i in shown]
    steps = [np.zeros(2), *(_shift(a, b) for a, b in zip(filled[:-1], filled[1:], strict=True))]
    place = np.cumsum(steps, axis=0)
    if np.abs(place).max() < _LEAST_SHIFT:
        return []
    # By whole pixels, for interpolation would make noise smaller.
    moved = [_moved(image, -np.round(at)) for image, at in zip(filled, place, strict=True)]
    common = np.isfinite(moved).all(axis=0)
    if common.mean() < _LARGEST_SHIFT:
        return []
    before, after = (
        float(np.mean([np.square(a - b)[common].mean() for a, b in zip(series[:-1], series[1:], strict=True)]))
        - 2.0 * noise**2
        for series in (filled, moved)
    )
    if not after < _CLOSER * before:
        return []
    notes = []
    for i, at in zip(shown, place, strict=True):
        if np.abs(at).max() > 1.0 / _FINE:
            hidden = ndimage.shift((~np.isfinite(grey[i])).astype(float), -at, order=1, cval=1.0) > 0.0
            grey[i] = np.where(hidden, np.nan, _moved(_filled(grey[i]), -at))
            notes.append(f"frame at {times[i]:g} moved back by {at[0]:.1f}, {at[1]:.1f} pixels (down, right): drift")
    return notes


def _filled(frame: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(frame), frame, np.nanmean(frame))


def _shift(reference: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Pixels (down, right) by which an image is displaced against a reference: the peak of their cross-correlation.

    Guizar-Sicairos, Thurman and Fienup (2008), doi:10.1364/OL.33.000156.
    """
    from skimage.registration import phase_cross_correlation

    taper = np.outer(*(np.hanning(n + 2)[1:-1] for n in reference.shape))
    one, other = ((part - part.mean()) * taper for part in (reference, image))
    found, _, _ = phase_cross_correlation(one, other, normalization=None, upsample_factor=_FINE)
    shift = -np.asarray(found, dtype=np.float64)
    return shift if np.abs(shift).max() <= _LARGEST_SHIFT * min(reference.shape) else np.zeros(2)


def _moved(image: np.ndarray, by: np.ndarray) -> np.ndarray:
    """An image moved by (down, right) pixels; NaN where it has nothing to show."""
    whole = np.round(by)
    if np.abs(by - whole).max() <= 1.5 / _FINE:
        by = whole
    return np.asarray(ndimage.shift(image, by, order=3, cval=np.nan, mode="constant", prefilter=True))
