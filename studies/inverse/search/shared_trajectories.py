"""Points that one trajectory answers: they differ in mobility, or in the length of the process, alone.

c(x, t; M) = c(x, M t; 1) is exact, and the sweep engine reads such points off one solution. So a solution that misses a
target by a little has the point that meets it beside it, at hardly any further cost.
"""

from __future__ import annotations

import math

import numpy as np

from studies.inverse.config import TIME
from studies.inverse.search.space import Space

#: Points of a fan, and the logarithm of its half-width: neighbours differ by 1 % in time, so by 0.3 % in the size of
#: domains and 1 % in the area of grains, the usual tolerances; the ends by ten times that, more than engines are off.
FAN, WIDTH = 21, 0.1


def scaling(space: Space) -> int | None:
    """The variable that scales time; None where there is none, or two, so that the curve is known exactly."""
    found = [j for j, name in enumerate(space.names) if name in ("mobility", TIME)]
    return found[0] if len(found) == 1 else None


def beside(space: Space, values: np.ndarray) -> np.ndarray:
    """(point, variable) to (point, fan, variable): each point, first, and those on its trajectory around it."""
    j = scaling(space)
    if j is None:
        return values[:, None]
    found = np.repeat(values[:, None], FAN, axis=1)
    ends = math.log(space.low[j]), math.log(space.high[j])
    for fan in found:
        own = float(fan[0, j])
        # At an end of the box the fan opens to the other side.
        middle = np.clip(math.log(own), ends[0] + WIDTH, ends[1] - WIDTH) if ends[1] - ends[0] > 2 * WIDTH else None
        low, high = ends if middle is None else (middle - WIDTH, middle + WIDTH)
        line = np.clip(np.exp(np.linspace(low, high, FAN)), space.low[j], space.high[j])
        fan[1:, j] = np.delete(line, np.abs(line - own).argmin())
    return found


def family(space: Space, points: np.ndarray, values: np.ndarray) -> np.ndarray:
    """bool (point,): which points lie on the trajectory of ``values`` (variable,), no further than a fan is wide."""
    j = scaling(space)
    if j is None:
        return np.asarray((points == values).all(axis=1))
    others = [i for i in range(space.size) if i != j]
    near = np.abs(np.log(points[:, j] / values[j])) <= 2 * WIDTH * (1 + 1e-9)
    return near & np.asarray((points[:, others] == values[others]).all(axis=1))
