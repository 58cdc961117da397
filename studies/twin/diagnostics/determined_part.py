"""The part of a window that a forecast determines: where its members still agree.

What comes in from outside the window is different in every member. The variance share says how far that has come: the
variance of the members, averaged over a neighbourhood as large as a domain, over the variance of the field. It is 0
where all members show the same, and 1 where they differ as unrelated specimens of the same material do. Averages, as
members that agree on a microstructure differ by a little at every interface.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

#: A forecast is determined where its members' standard deviation is below this share of the field's.
DETERMINED = 0.2
#: Side of the centre, as a share of the window's.
CENTRE = 0.5
#: Deviation of the Gaussian neighbourhood over the wavelength of the microstructure: half a wavelength is one domain.
NEIGHBOURHOOD = 0.25
#: Width of the rings around a window's centre, cells.
_RING = 2.0


@dataclass(frozen=True)
class DeterminedPart:
    """What members determine of a window at the times of a forecast."""

    times: np.ndarray  #: float64 (time,)
    variance_share: np.ndarray  #: float32 (time, y, x) at the model's cells, those around the window too
    window: tuple[slice, slice]  #: cells (y, x) that the frames show
    share: np.ndarray  #: float64 (time,) of the window that is determined
    centre: np.ndarray  #: float64 (time,) variance share of the central half
    #: float64 (time,) how far from its edge the window is not determined, cells
    depth: np.ndarray

    @property
    def undetermined(self) -> np.ndarray:
        """Bool (time, y, x)."""
        return np.asarray(self.variance_share >= DETERMINED**2)

    @property
    def margin(self) -> bool:
        """Whether the model's box goes on around the window."""
        return self.variance_share[0][self.window].shape != self.variance_share[0].shape

    def line(self) -> str:
        """For how long the centre stays determined, and how much of the window is at the end."""
        lost = np.flatnonzero(self.centre >= DETERMINED**2)
        end = f"{self.share[-1]:.0%} of the window is determined at t = {self.times[-1]:g}"
        if not len(lost):
            return f"the centre stays determined to the end of the forecast; {end}"
        if lost[0] == 0:
            return f"the centre is not determined at t = {self.times[0]:g}, the first of the forecast; {end}"
        return f"the centre stays determined until t = {self.times[lost[0] - 1]:g}; {end}"


def determined_part(
    times: np.ndarray, field: np.ndarray, window: tuple[slice, slice], wavelength: float
) -> DeterminedPart:
    """What members' fields (member, time, y, x) determine of the cells ``window`` that frames show.

    ``wavelength`` (cells) is that of the microstructure.
    """
    spread, inside = field.var(0, ddof=1, dtype=np.float64), (slice(None), *window)
    variance = field[:, *inside].var((0, 2, 3), dtype=np.float64)
    share = variance_share(spread, variance, window, wavelength)
    seen, raw = share[inside], spread[inside] / _positive(variance)[:, None, None]
    return DeterminedPart(
        times=np.asarray(times, dtype=np.float64),
        variance_share=share.astype(np.float32),
        window=window,
        share=(seen < DETERMINED**2).mean((1, 2)),
        centre=np.array([_central(one) for one in raw]),
        depth=np.array([undetermined_depth(one) for one in raw]),
    )


def variance_share(
    square: np.ndarray, variance: np.ndarray, window: tuple[slice, slice], wavelength: float
) -> np.ndarray:
    """Squared deviations (time, y, x) over the field's variance (time,), means over neighbourhoods.

    A neighbourhood lies inside the window, or outside it: the mean of cells inside knows nothing of those outside.
    """
    width = NEIGHBOURHOOD * wavelength
    shown = np.zeros(square.shape[1:])
    shown[window] = 1.0
    found = np.zeros(square.shape)
    for part in (shown, 1.0 - shown):
        weight = ndimage.gaussian_filter(part, width, mode="nearest")
        means = ndimage.gaussian_filter(square * part, (0.0, width, width), mode="nearest")
        found += part * means / np.maximum(weight, 1e-12)
    return np.asarray(found / _positive(variance)[:, None, None])


def undetermined_depth(share: np.ndarray) -> float:
    """Distance (cells) from the edge of a window at which a variance share (y, x) falls below what is determined.

    It is compared with the mean over rings along the edge, from the edge inwards; half the window's shorter side where
    no ring is below.
    """
    height, width = share.shape
    y, x = np.minimum(np.arange(height), np.arange(height)[::-1]), np.minimum(np.arange(width), np.arange(width)[::-1])
    depth = np.minimum(y[:, None], x[None]) + 0.5
    deepest = 0.5 * min(height, width)
    for near in np.arange(0.0, deepest - _RING + 1e-9):
        if share[(depth > near) & (depth < near + _RING)].mean() < DETERMINED**2:
            return float(near)
    return deepest


def _central(values: np.ndarray) -> float:
    """Mean over the central half of a window (y, x)."""
    cut = [round(0.5 * (1.0 - CENTRE) * n) for n in values.shape]
    return float(values[cut[0] : values.shape[0] - cut[0], cut[1] : values.shape[1] - cut[1]].mean())


def _positive(variance: np.ndarray) -> np.ndarray:
    """A field without contrast has no share to speak of."""
    return np.maximum(variance, 1e-12)
