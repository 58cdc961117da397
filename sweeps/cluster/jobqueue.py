"""Workers as jobs of a queue: Slurm, through dask-jobqueue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeps.cluster.dask_settings import applied_settings
from sweeps.cluster.security import tls_security

if TYPE_CHECKING:
    from distributed.deploy import Cluster

    from sweeps.config.cluster import SlurmCluster


def start_slurm(block: SlurmCluster, tasks: int) -> Cluster:
    """Slurm jobs."""
    from dask_jobqueue import SLURMCluster

    del tasks
    with applied_settings(block) as scheduler:
        started = SLURMCluster(
            cores=block.cores,
            processes=block.processes,
            memory=block.memory,
            walltime=block.walltime,
            queue=block.queue,
            account=block.account,
            interface=block.interface,
            job_extra_directives=list(block.job_extra_directives),
            worker_extra_args=_lifetime(block.walltime),
            scheduler_options=scheduler,
            security=tls_security(block.tls),
        )
    if block.adaptive is None:
        started.scale(jobs=block.jobs)
    return started


def _lifetime(walltime: str) -> list[str]:
    """Options with which workers end before Slurm ends them, so that their tasks go on elsewhere."""
    days, _, clock = walltime.rpartition("-")
    hours, minutes, seconds = (int(part) for part in clock.split(":"))
    total = ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds
    margin = min(300, total // 10)
    return ["--lifetime", f"{total - margin}s", "--lifetime-stagger", f"{margin // 2}s"]
