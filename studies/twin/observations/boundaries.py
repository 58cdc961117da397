"""Whether frames show a whole specimen, told from how they meet their edges.

In a periodic box cells across the seam are neighbours, and differ as little as any two; what a wall without flux
bounds meets it at a right angle, so that next to the wall hardly anything changes towards it. At the edges of a window
neither holds.
"""

from __future__ import annotations

import math

import numpy as np

from solvers.grids.grid import Boundary
from studies.twin.observations.frames import ObservedFrames

# Mean squared differences, the noise's taken off. Across the seam, from 0 (as between next but one neighbours: pictures
# of periodic boxes may lack or repeat a line) to 1 (as between independent cells): below 0.03 in all of 96 series of
# frames of periodic boxes of 40 cells, below 0.15 in 1 of 3,600 windows of 32 to 64. Towards the wall, as a share of
# that between neighbours inside, on average of the four edges and at most: held by 67 (much noise) to 100 % of series
# in boxes without flux, and by 0.4 % of the windows.
_SEAM, _WALLS, _WORST_WALL = 0.15, 0.3, 0.5
#: Fewer frames or pixels a side tell nothing.
_LEAST_PIXELS = 16


def told_boundary(frames: ObservedFrames, noise: float) -> Boundary | None:
    """The boundary of frames that show a whole specimen; None where they do not, or too little to tell.

    ``noise`` is its standard deviation (grey values).
    """
    grey = frames.grey
    if min(grey.shape[1:]) < _LEAST_PIXELS:
        return None
    variance = float(np.nanvar(grey)) - noise**2
    seams, walls, doubts = [], [], []
    for axis in (1, 2):
        lines = np.moveaxis(grey, axis, 1)
        change = np.square(np.diff(lines, axis=1))
        wider = np.square(lines[:, 2:] - lines[:, :-2])
        seam = np.square(lines[:, 0] - lines[:, -1])
        if not all(np.isfinite(part).any() for part in (change[:, 0], change[:, -1], change[:, 1:-1], seam)):
            return None  # an edge is not seen
        parts = (change[:, 1:-1], wider, seam)
        inside, near, across = (float(np.nanmean(part)) - 2.0 * noise**2 for part in parts)
        if inside <= 0.0 or 2.0 * variance <= near:
            return None
        seams.append((across - near) / (2.0 * variance - near))
        walls += [(float(np.nanmean(change[:, at])) - 2.0 * noise**2) / inside for at in (0, -1)]
        # Squares of normal variables vary by sqrt(2) of their mean.
        doubts.append(2.0**1.5 * noise**2 / (inside * math.sqrt(np.isfinite(change[:, 0]).sum())))
    if max(seams) < _SEAM:
        return "periodic"
    return "no_flux" if np.mean(walls) < _WALLS and max(walls) < _WORST_WALL + 2.0 * max(doubts) else None
