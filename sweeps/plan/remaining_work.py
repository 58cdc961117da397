"""What of a plan is left to compute, for the choice of a cluster, and that choice. Loads neither torch nor Dask."""

from __future__ import annotations

import math

import numpy as np

from solvers.registries import resolve
from sweeps.cluster.choice import ClusterChoice, Work
from sweeps.config.cluster import ClusterBlock
from sweeps.config.cluster_kinds import CLUSTERS
from sweeps.plan.cost_estimate import point_bytes
from sweeps.plan.plan import Plan

#: Of a batch a worker holds the shard, the numbers that it is made of in double precision, and its compressed copy.
COPIES = 4
# As much is integrated at once at most, whatever the batch; see sweeps/execution/trajectories.py.
FRAME_BYTES = 384 * 2**20


def work_of(plan: Plan, pending: np.ndarray | None = None, interrupted: bool = False) -> Work:
    """What is left to compute, spot checks included.

    Args:
        pending: bool (point,), storage order; all points by default.
        interrupted: see :class:`sweeps.cluster.choice.Work`.
    """
    left = np.ones(len(plan.keys), dtype=bool) if pending is None else pending
    tasks = int(np.logical_or.reduceat(left, plan.batches[:, 0]).sum())
    seconds = plan.estimate.seconds * float(left.mean()) + plan.estimate.check_seconds
    return Work(seconds, tasks, _batch_bytes(plan), interrupted)


def _batch_bytes(plan: Plan) -> int:
    """Memory that a batch takes while it is computed; a guess."""
    config, (start, stop) = plan.config, plan.batches[0]
    rollouts = int(plan.rollout[stop - 1] - plan.rollout[start]) + 1
    cells, times = math.prod(config.grid.shape), config.time_values().size
    frames = 8 * cells * times * rollouts * config.realizations.count
    return COPIES * int(stop - start) * point_bytes(config) + min(frames, FRAME_BYTES)


def choose_cluster_of(block: ClusterBlock, work: Work) -> ClusterChoice | None:
    """What a kind of cluster chooses for some work; None for a kind that does not stand for another."""
    choose = CLUSTERS.get(block.kind).choose
    return None if choose is None else resolve(choose)(block, work)
