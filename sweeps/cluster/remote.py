"""Workers of other machines: a scheduler that runs already, hosts through SSH, Kubernetes pods."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dask
from distributed import Client

from solvers.errors import InputError
from sweeps.cluster.dask_settings import DASHBOARD_PORT, worker_settings
from sweeps.cluster.security import tls_security
from sweeps.config.cluster import LOOPBACK

if TYPE_CHECKING:
    from distributed.deploy import Cluster

    from sweeps.config.cluster import KubernetesCluster, RunningCluster, SshCluster

CONNECT_SECONDS = 15


def connect(block: RunningCluster, tasks: int) -> Client:
    """A client of a scheduler that runs already.

    Raises:
        InputError: if it does not answer, or refuses the certificate.
    """
    del tasks
    security = tls_security(block.tls)
    try:
        return Client(block.address, timeout=CONNECT_SECONDS, security=security)
    except (OSError, TimeoutError) as error:
        why = "no Dask scheduler answers at" if block.tls is None else "no Dask scheduler takes this certificate at"
        raise InputError(f"cluster.address: {why} {block.address} ({error})") from None


def start_ssh(block: SshCluster, tasks: int) -> Cluster:
    """Workers on hosts; the dashboard stays on the first host's loopback."""
    from distributed import SSHCluster

    del tasks
    with dask.config.set(worker_settings()):
        return SSHCluster(
            # The first host is the scheduler's, and has workers too.
            [block.hosts[0], *block.hosts],
            connect_options={"username": block.user} if block.user else {},
            worker_options={
                "n_workers": block.workers_per_host,
                "nthreads": block.threads_per_worker,
                "memory_limit": block.memory_limit,
            },
            scheduler_options={"port": 0, "dashboard_address": f"{LOOPBACK}:{DASHBOARD_PORT}"},
            remote_python=block.remote_python,
        )


def start_kubernetes(block: KubernetesCluster, tasks: int) -> Cluster:
    """Pods with as many cores as threads."""
    from dask_kubernetes.operator import KubeCluster

    del tasks
    amount = {"cpu": str(block.cores), "memory": block.memory}
    return KubeCluster(
        name="phasetwin",
        namespace=block.namespace,
        image=block.image,
        n_workers=block.workers,
        resources={"requests": amount, "limits": amount},
        worker_command=["dask", "worker", "--nthreads", str(block.cores)],
    )
