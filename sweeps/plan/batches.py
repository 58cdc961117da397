"""How points are cut into batches: batch = task = shard, whatever the number of workers.

A batch is small enough that its arrays stay near the cache and its shard fits easily in memory, and there are
enough of them to keep a handful of workers evenly loaded. Nothing here may look at the machine or the
cluster: the cut decides the layout of the store.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from solvers.processes.registry import process_named

if TYPE_CHECKING:
    from sweeps.config.sweep import SweepConfig

BATCHES_WANTED = 16
#: Beyond this many tasks the scheduler's time shows.
BATCHES_MAX = 4096
SHARD_BYTES = 128 * 2**20
#: A group of points that share a trajectory is cut only where its shard would be larger than this.
GROUP_BYTES = 512 * 2**20
CELLS = 64 * 64


def batch_points(config: SweepConfig, rollouts: int, points: int, point_bytes: int) -> int:
    """Points in a batch, of a sweep with ``points`` points and ``rollouts`` distinct trajectories (times realizations).

    ``point_bytes`` is what a point takes in the store, with all realizations.
    """
    group = points / rollouts
    if config.batch.rollouts is not None:
        return min(points, max(1, round(config.batch.rollouts * group)))
    wanted = _rollouts_wanted(config, rollouts)
    wanted = min(wanted, max(1, int(SHARD_BYTES / (point_bytes * group))))
    size = max(1, round(wanted * group))
    return min(points, size, max(1, GROUP_BYTES // point_bytes))


def _rollouts_wanted(config: SweepConfig, rollouts: int) -> int:
    realizations = config.realizations.count
    samples = rollouts * realizations
    cells = math.prod(config.grid.shape)
    cost = process_named(config.process).cost
    most = max(1, cost.samples * CELLS // cells)
    least = min(most, cost.samples_min)
    target = min(most, max(least, math.ceil(samples / BATCHES_WANTED)))
    target = max(target, math.ceil(samples / BATCHES_MAX))
    return max(1, round(target / realizations))


def cut(points: int, size: int) -> np.ndarray:
    """Batches as [start, stop), int64 (batch, 2); all of ``size`` points but the last."""
    start = np.arange(0, points, size, dtype=np.int64)
    return np.stack([start, np.minimum(start + size, points)], axis=1)
