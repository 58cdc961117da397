"""Points on one trajectory: they differ in a variable that only scales time.

c(x, t; M) = c(x, M t; 1) is exact, and the sweep engine takes such points from one solution. Where a solution misses a
target by a little, a point beside it on the same trajectory mostly meets it at hardly any further cost.
"""

from __future__ import annotations

import math

import numpy as np

from studies.inverse.space import SearchSpace

#: Points taken from a trajectory, and the half-width of their interval in log time. Neighbours differ by 1 % in time,
#: so by 0.3 % in the size of domains and 1 % in the area of grains, the usual tolerances; the outermost by ten times
#: that, more than the error of engines.
POINTS, WIDTH = 21, 0.1


def time_variable(space: SearchSpace) -> int | None:
    """The one variable that scales time; None where there is none, and where two do (then the curve is exact)."""
    return space.scaling[0] if len(space.scaling) == 1 else None


def along_trajectory(space: SearchSpace, values: np.ndarray) -> np.ndarray:
    """(point, variable) to (point, POINTS, variable): each point itself, then those on its trajectory around it.

    Without a variable that scales time the second axis has length 1.
    """
    j = time_variable(space)
    if j is None:
        return values[:, None]
    found = np.repeat(values[:, None], POINTS, axis=1)
    first, last = math.log(space.low[j]), math.log(space.high[j])
    for points in found:
        own = float(points[0, j])
        low, high = first, last
        if last - first > 2 * WIDTH:
            # Near a face of the box the interval is shifted inwards.
            middle = np.clip(math.log(own), first + WIDTH, last - WIDTH)
            low, high = middle - WIDTH, middle + WIDTH
        line = np.clip(np.exp(np.linspace(low, high, POINTS)), space.low[j], space.high[j])
        points[1:, j] = np.delete(line, np.abs(line - own).argmin())
    return found


def on_trajectory(space: SearchSpace, points: np.ndarray, values: np.ndarray) -> np.ndarray:
    """bool (point,): which points lie on the trajectory of ``values`` (variable,), within 2 WIDTH of it in log time."""
    j = time_variable(space)
    if j is None:
        return np.asarray((points == values).all(axis=1))
    others = [i for i in range(space.size) if i != j]
    near = np.abs(np.log(points[:, j] / values[j])) <= 2 * WIDTH * (1 + 1e-9)
    return near & np.asarray((points[:, others] == values[others]).all(axis=1))
