"""Where a sweep runs: in this process, on workers of this machine, a scheduler that is there already, or machines on
which it starts them.

Nothing here listens beyond this machine unless a key says so, and no text of a file reaches a shell: what Slurm scripts
need beyond the keys below belongs into Dask's own configuration (``~/.config/dask/jobqueue.yaml``).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, StringConstraints, Tag, model_validator

from sweeps.config.cluster_kinds import CLUSTERS, ClusterKind
from sweeps.inputs.paths import InputFile
from sweeps.inputs.strict_model import BlockOf, Count, StrictModel, problem

MemorySize = Annotated[str, StringConstraints(pattern=r"^\d+(\.\d+)? *([kKMGT]i?)?B$")]
# Names of hosts, queues, accounts, images: nothing that a shell or a script's next line could take for something else.
Host = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]*$")]
Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.,@/:+-]*$")]
Directive = Annotated[str, StringConstraints(pattern=r"^--?[A-Za-z][A-Za-z0-9-]*([= ][A-Za-z0-9_.,:@/%+=-]+)?$")]
DashboardAddress = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]*:\d{1,5}$")]
LOOPBACK = "127.0.0.1"


class TlsFiles(StrictModel):
    """Files in PEM format: who signs, and the certificate and key of scheduler, workers and driver alike."""

    ca_file: InputFile
    cert: InputFile
    key: InputFile


def _tls_form(value: Any) -> str:
    return "files" if isinstance(value, dict | TlsFiles) else "name"


#: ``temporary`` is a certificate made for one run and kept in memory.
Tls = Annotated[
    Annotated[Literal["temporary"], Tag("name")] | Annotated[TlsFiles, Tag("files")], Discriminator(_tls_form)
]


class Adaptive(StrictModel):
    """As many workers as there is work for, within these ends."""

    minimum: Annotated[int, Field(ge=0)] = 0
    maximum: Count

    @model_validator(mode="after")
    def _ordered(self) -> Adaptive:
        if self.minimum > self.maximum:
            raise problem(f"minimum {self.minimum} and maximum {self.maximum}", "minimum <= maximum", ("minimum",))
        return self


class ClusterBlock(StrictModel):
    """The ``cluster:`` block of a kind of cluster.

    Keys that are also read where a kind has them: ``tls``, ``dashboard_address``, ``adaptive``.
    """

    kind: str


class AutoCluster(ClusterBlock):
    """In this process what takes seconds, else as many worker processes as pay for the time they take to start."""

    kind: Literal["auto"] = "auto"
    dashboard_address: DashboardAddress | None = ":0"


class InProcessCluster(ClusterBlock):
    """In this process, which starts no others. What would end a worker process, such as too little memory, ends it."""

    kind: Literal["in_process"] = "in_process"
    threads: Count = 1
    dashboard_address: DashboardAddress | None = ":0"


class LocalCluster(ClusterBlock):
    """Workers on this machine, ``auto`` one for each core. Only it can connect, unless ``host`` says otherwise."""

    kind: Literal["local"] = "local"
    workers: Literal["auto"] | Count = "auto"
    threads_per_worker: Count = 1
    memory_limit: Literal["auto"] | MemorySize = "auto"
    host: Host = LOOPBACK
    dashboard_address: DashboardAddress | None = ":0"
    tls: Tls | None = None
    adaptive: Adaptive | None = None


class GpuCluster(ClusterBlock):
    """One worker process for each GPU of this machine, through dask-cuda."""

    kind: Literal["gpu"]
    gpus: Literal["auto"] | Count = "auto"
    memory_limit: Literal["auto"] | MemorySize = "auto"
    host: Host = LOOPBACK
    dashboard_address: DashboardAddress | None = ":0"
    tls: Tls | None = None


class RunningCluster(ClusterBlock):
    """A Dask scheduler that runs already."""

    kind: Literal["address"] = "address"
    address: Annotated[str, StringConstraints(pattern=r"^(tcp|tls|ucx|ws|wss|inproc)://\S+$")]
    tls: TlsFiles | None = None

    @model_validator(mode="after")
    def _encrypted(self) -> RunningCluster:
        encrypted = self.address.startswith(("tls://", "wss://"))
        if encrypted and self.tls is None:
            raise problem(f"{self.address!r} without `tls`", "`tls: {ca_file:, cert:, key:}` beside it", ("address",))
        if self.tls is not None and not encrypted:
            raise problem(f"{self.address!r} with `tls`", "an address tls://HOST:PORT", ("address",))
        return self


class SlurmCluster(ClusterBlock):
    """Slurm jobs through dask-jobqueue, each a Dask worker process or more.

    ``job_extra_directives`` are options of sbatch, such as ``--gres=gpu:1``. Commands for the job script
    (``job_script_prologue``) are taken from Dask's configuration, not from this file.
    """

    kind: Literal["slurm"] = "slurm"
    jobs: Count = 1
    cores: Count = 1
    processes: Count = 1
    memory: MemorySize = "4GB"
    walltime: Annotated[str, StringConstraints(pattern=r"^(\d+-)?\d{1,2}:\d{2}:\d{2}$")] = "01:00:00"
    queue: Word | None = None
    account: Word | None = None
    interface: Word | None = None
    job_extra_directives: Annotated[tuple[Directive, ...], Field(strict=False)] = ()
    dashboard_address: DashboardAddress | None = ":0"
    tls: TlsFiles | None = None
    adaptive: Adaptive | None = None


class SshCluster(ClusterBlock):
    """A worker on each of several hosts, started through SSH; the first host also has the scheduler.

    Hosts must be among SSH's known hosts, and the login must work without a password.
    """

    kind: Literal["ssh"]
    hosts: Annotated[tuple[Host, ...], Field(strict=False, min_length=1)]
    user: Word | None = None
    workers_per_host: Count = 1
    threads_per_worker: Count = 1
    memory_limit: Literal["auto"] | MemorySize = "auto"
    remote_python: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_./~-]+$")] | None = None


class KubernetesCluster(ClusterBlock):
    """Pods through the operator of dask-kubernetes, which must be installed in the cluster."""

    kind: Literal["kubernetes"]
    image: Word
    namespace: Word | None = None
    workers: Count = 1
    cores: Count = 1
    memory: Annotated[str, StringConstraints(pattern=r"^\d+(\.\d+)?([kMGT]i?)?$")] = "4Gi"
    adaptive: Adaptive | None = None


def _default_kind(value: Any) -> Any:
    """``{address: tcp://...}`` means ``{kind: address, address: tcp://...}``; without a kind it is local."""
    if not isinstance(value, dict):
        return value
    if "job_script_prologue" in value:
        raise problem(
            "job_script_prologue",
            "commands in Dask's own configuration, jobqueue.slurm.job-script-prologue in ~/.config/dask/jobqueue.yaml: "
            "a sweep file runs no shell",
            ("job_script_prologue",),
        )
    return {"kind": "address" if "address" in value else "local", **value}


_SECURITY = "sweeps.cluster.security"
_LOCAL, _REMOTE = "sweeps.cluster.local", "sweeps.cluster.remote"

KINDS = (
    ClusterKind("auto", AutoCluster, f"{_LOCAL}:start_for_unknown_work", choose="sweeps.cluster.choice:choose_cluster"),
    ClusterKind("in_process", InProcessCluster, f"{_LOCAL}:start_in_process", in_process=True),
    ClusterKind("local", LocalCluster, f"{_LOCAL}:start_workers", f"{_SECURITY}:exposed_host"),
    ClusterKind("address", RunningCluster, f"{_REMOTE}:connect", f"{_SECURITY}:exposed_address"),
    ClusterKind(
        "slurm",
        SlurmCluster,
        "sweeps.cluster.jobqueue:start_slurm",
        f"{_SECURITY}:exposed_scheduler",
        ("dask_jobqueue", "dask-jobqueue"),
    ),
    ClusterKind("ssh", SshCluster, f"{_REMOTE}:start_ssh", f"{_SECURITY}:exposed_scheduler", ("asyncssh", "asyncssh")),
    ClusterKind(
        "kubernetes",
        KubernetesCluster,
        f"{_REMOTE}:start_kubernetes",
        needs=("dask_kubernetes.operator", "dask-kubernetes"),
    ),
    ClusterKind("gpu", GpuCluster, f"{_LOCAL}:start_gpus", f"{_SECURITY}:exposed_host", ("dask_cuda", "dask-cuda")),
)

Cluster = Annotated[ClusterBlock, BlockOf(CLUSTERS), BeforeValidator(_default_kind)]
