"""How forecasts have done: a new frame against what was forecast of it before it was seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from studies.twin.quantiles import quantiles

#: The ends of a normal distribution's nominal 90 % band, standard deviations.
_BAND_ENDS = 1.645


@dataclass(frozen=True)
class ForecastScore:
    """A forecast against the frame that then came; errors in grey values over the pixels that the frame shows."""

    time: float  #: of the frame
    since: float  #: time of the last frame that the forecast knew
    frames: int  #: how many it knew
    noise: float  #: standard deviation of the frame's noise, which no forecast could foresee
    rmse: float  #: root mean square of frame minus mean of the members
    persistence: float  #: the same with the twin's picture of the last frame in place of the forecast
    inside: float  #: share of the pixels inside the bands of 90 %, of members and noise together
    determined: float  #: share of the window that the forecast called determined

    def line(self) -> str:
        """The score in words."""
        errors = f"off by {self.rmse:.3g} grey (kept as it was {self.persistence:.3g}, noise {self.noise:.3g})"
        parts = f"{self.inside:.0%} of the pixels inside the bands of 90 %, {self.determined:.0%} called determined"
        return f"t = {self.time:g} as forecast from t = {self.since:g}: {errors}; {parts}"


def errors_of(members: np.ndarray, last: np.ndarray, frame: np.ndarray, sigma: float) -> tuple[float, float, float]:
    """RMSE, persistence and share inside, as :class:`ForecastScore` describes them.

    Args:
        members: (member, y, x) forecast grey values without noise.
        last: (y, x) the twin's picture of the last frame.
        frame: (y, x) grey values, NaN where not seen.
        sigma: standard deviation of the noise.
    """
    seen = np.isfinite(frame)
    shown, at = members[:, seen].astype(np.float64), frame[seen]
    low, middle, high = quantiles(shown)
    below = middle - np.hypot(middle - low, _BAND_ENDS * sigma)
    above = middle + np.hypot(high - middle, _BAND_ENDS * sigma)
    return (
        float(np.sqrt(np.square(at - shown.mean(0)).mean())),
        float(np.sqrt(np.square(at - last[seen]).mean())),
        float(((below <= at) & (at <= above)).mean()),
    )
