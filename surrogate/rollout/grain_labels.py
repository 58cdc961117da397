"""Grains in frames of phi alone, as a model predicts them."""

from __future__ import annotations

import numpy as np
import torch

from solvers import GrainGrowth
from solvers.grains.labels import watershed

#: How far phi falls from the middle of a grain to its lowest pass at least. It is 0.5 at gamma 1.5, less for a grain
#: about to vanish; waves of a predicted frame are smaller.
PERSISTENCE = 0.02


def label_frames(problem: GrainGrowth, frames: torch.Tensor) -> torch.Tensor:
    """Labels int32 (batch, time, y, x) of phi (batch, time, y, x), 0, 1, ... in each frame: basins of its maxima.

    A grain is seen until its maximum is gone, which a threshold of phi misses long before. On 160 frames of the solver
    (64 x 64 cells, kappa' 0.5 to 1.9) counts are 1.7 % below those it tracks; 4.1 % with the best threshold.
    """
    periodic = problem.grid.boundary == "periodic"
    maps = frames.detach().cpu().double().reshape(-1, *problem.grid.shape).numpy()
    labels = np.stack([watershed(frame, PERSISTENCE, periodic) for frame in maps])
    return torch.from_numpy(labels).reshape(frames.shape)
