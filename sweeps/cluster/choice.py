"""Where a run computes if its file leaves that open: in this process, or in as many worker processes as pay.

Two worker processes halve the time of what is computed, but first load packages and compiled code, which takes each
some seconds of its core: work of that length is done sooner without them. Loads no Dask.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

import psutil

from sweeps.config.cluster import AutoCluster, ClusterBlock, InProcessCluster, LocalCluster

#: Seconds from the start of worker processes until they compute, and those that this process takes to load what it
#: needs to compute by itself, which it need not where others compute.
START_SECONDS, HERE_SECONDS = 7.0, 2.0
#: Fewer workers are preferred to an end that is sooner by no more than this share.
PAYS = 0.1
#: A batch computed in this process takes no more of the free memory than this: nobody ends a process that takes more.
MEMORY_SHARE = 0.25


@dataclass(frozen=True)
class Work:
    """What a run has to compute.

    Attributes:
        seconds: of one core; a guess.
        tasks: batches.
        batch_bytes: memory that a batch takes while it is computed.
        interrupted: whether the last run, in its own process, ended without having put its store in order.
    """

    seconds: float
    tasks: int
    batch_bytes: int = 0
    interrupted: bool = False


@dataclass(frozen=True)
class ClusterChoice:
    """What a kind of cluster that stands for another chose.

    Attributes:
        cluster: the block in its place.
        reason: one line.
        seconds: of one core that are left to compute; a guess.
    """

    requested: ClusterBlock
    cluster: ClusterBlock
    reason: str
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        blocks = {"requested": self.requested.model_dump(), "cluster": self.cluster.model_dump()}
        return {**asdict(self), **blocks, "seconds": round(self.seconds, 3)}


def choose_cluster(block: AutoCluster, work: Work) -> ClusterChoice:
    """In this process, unless worker processes end sooner or the process would be at risk."""
    workers, why = _workers(work)
    chosen: ClusterBlock = InProcessCluster(dashboard_address=block.dashboard_address)
    where = "in this process"
    if workers:
        chosen = LocalCluster(workers=workers, dashboard_address=block.dashboard_address)
        where = f"on {workers} worker process{'es' if workers > 1 else ''}"
    return ClusterChoice(block, chosen, f"{where}: {why}", work.seconds)


def _workers(work: Work) -> tuple[int, str]:
    """Number of worker processes, 0 for this process, and why."""
    end = _ends(work)
    among_processes = _fewest({workers: seconds for workers, seconds in end.items() if workers})
    if work.interrupted:
        why = "the last run, in a process of its own, ended abruptly; where a worker ends so, the run goes on"
        return among_processes, why
    free = psutil.virtual_memory().available
    if work.batch_bytes > MEMORY_SHARE * free:
        return among_processes, f"a batch takes about {_gb(work.batch_bytes)} of {_gb(free)} of free memory"
    about = f"about {work.seconds:.2g} s of computing"
    if workers := _fewest(end):
        return workers, f"{about}, more than starting them takes"
    return 0, f"{about}, done before worker processes would have started"


def _ends(work: Work) -> dict[int, float]:
    """Seconds until the end with each number of worker processes; 0 is this process."""
    tasks = max(1, work.tasks)
    # Of the batches each worker computes its share, some of them one more than others.
    shares = {workers: ceil(tasks / workers) / tasks for workers in range(1, min(cores(), tasks) + 1)}
    return {0: HERE_SECONDS + work.seconds} | {n: START_SECONDS + work.seconds * share for n, share in shares.items()}


def _fewest(end: Mapping[int, float]) -> int:
    return min(workers for workers, seconds in end.items() if seconds <= (1 + PAYS) * min(end.values()))


def _gb(size: float) -> str:
    return f"{size / 1e9:.2g} GB"


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
