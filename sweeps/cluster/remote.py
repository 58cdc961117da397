"""Clusters whose workers Dask starts elsewhere: Slurm jobs, hosts through SSH, Kubernetes pods; and one worker a GPU.

Each through its own package, an extra of this one.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import dask

from solvers.errors import InputError
from sweeps.cluster.client import dashboard_address, dashboard_options, dashboard_settings, worker_settings
from sweeps.cluster.security import tls_security
from sweeps.config import cluster as cluster_config


def _class(kind: str, module: str, name: str, package: str) -> Any:
    try:
        return getattr(import_module(module), name)
    except ImportError:
        raise InputError(
            f"cluster.kind: {kind} needs {package}, which is not installed; pip install 'phasetwin[{kind}]'"
        ) from None


def slurm(cluster: cluster_config.SlurmCluster) -> Any:
    """Slurm jobs; workers leave before their time is over, so that their tasks go on elsewhere."""
    start = _class("slurm", "dask_jobqueue", "SLURMCluster", "dask-jobqueue")
    security = tls_security(cluster.tls)
    dashboard = dashboard_address(cluster.dashboard_address)
    with dask.config.set({**worker_settings(), **dashboard_settings(dashboard, cluster.tls)}):
        started = start(
            cores=cluster.cores,
            processes=cluster.processes,
            memory=cluster.memory,
            walltime=cluster.walltime,
            queue=cluster.queue,
            account=cluster.account,
            interface=cluster.interface,
            job_extra_directives=list(cluster.job_extra_directives),
            worker_extra_args=_lifetime(cluster.walltime),
            scheduler_options=dashboard_options(dashboard),
            security=security,
        )
    if cluster.adaptive is None:
        started.scale(jobs=cluster.jobs)
    return started


def _lifetime(walltime: str) -> list[str]:
    """Workers end by themselves before Slurm ends them, so that their tasks go on elsewhere."""
    days, _, clock = walltime.rpartition("-")
    hours, minutes, seconds = (int(part) for part in clock.split(":"))
    total = ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds
    margin = min(300, total // 10)
    return ["--lifetime", f"{total - margin}s", "--lifetime-stagger", f"{margin // 2}s"]


def ssh(cluster: cluster_config.SshCluster) -> Any:
    """Workers on hosts; the dashboard stays on the first host's loopback."""
    _class("ssh", "asyncssh", "connect", "asyncssh")
    from distributed import SSHCluster

    connect = {"username": cluster.user} if cluster.user else {}
    with dask.config.set(worker_settings()):
        return SSHCluster(
            # The first host is the scheduler's, and has workers too.
            [cluster.hosts[0], *cluster.hosts],
            connect_options=connect,
            worker_options={
                "n_workers": cluster.workers_per_host,
                "nthreads": cluster.threads_per_worker,
                "memory_limit": cluster.memory_limit,
            },
            scheduler_options={"port": 0, "dashboard_address": "127.0.0.1:8787"},
            remote_python=cluster.remote_python,
        )


def kubernetes(cluster: cluster_config.KubernetesCluster) -> Any:
    """Pods with as many cores as threads."""
    start = _class("kubernetes", "dask_kubernetes.operator", "KubeCluster", "dask-kubernetes")
    amount = {"cpu": str(cluster.cores), "memory": cluster.memory}
    return start(
        name="phasetwin",
        namespace=cluster.namespace,
        image=cluster.image,
        n_workers=cluster.workers,
        resources={"requests": amount, "limits": amount},
        worker_command=["dask", "worker", "--nthreads", str(cluster.cores)],
    )


def gpu(cluster: cluster_config.GpuCluster) -> Any:
    """One process of one thread for each GPU, which sees that GPU alone."""
    start = _class("gpu", "dask_cuda", "LocalCUDACluster", "dask-cuda")
    security = tls_security(cluster.tls)
    dashboard = dashboard_address(cluster.dashboard_address)
    with dask.config.set({**worker_settings(), **dashboard_settings(dashboard, cluster.tls)}):
        return start(
            n_workers=None if cluster.gpus == "auto" else cluster.gpus,
            threads_per_worker=1,
            memory_limit=cluster.memory_limit,
            host=cluster.host,
            protocol="tls" if security else "tcp",
            security=security,
            scheduler_kwargs=dashboard_options(dashboard),
        )


#: kind in the YAML -> how to start it.
STARTERS: dict[str, Callable[[Any], Any]] = {"slurm": slurm, "ssh": ssh, "kubernetes": kubernetes, "gpu": gpu}
