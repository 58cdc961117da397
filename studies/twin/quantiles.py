"""Bands of an ensemble whose coverage does not depend on the number of members."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: Low end, middle and high end of the bands: nominal 90 %.
BAND = (0.05, 0.5, 0.95)


def quantiles(values: np.ndarray, levels: Sequence[float] = BAND, axis: int = 0) -> np.ndarray:
    """Quantiles (level, ...) of members along an axis, such that one more member lies below level p with probability p.

    Member i of n in order stands for i / (n + 1) (Hyndman and Fan 1996, doi:10.1080/00031305.1996.10473566, type 6).
    With NumPy's default, (i - 1) / (n - 1), the 90 % band of 32 members would hold 84.5 % of further draws.
    With fewer than 19 members the ends of the band are the outermost members.
    """
    return np.asarray(np.quantile(values, levels, axis=axis, method="weibull"))
