"""Many machines: all alike or the run does not start; jobs, hosts and GPUs through their own cluster classes."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Literal

import pytest
import torch
from distributed import LocalCluster as DaskLocalCluster

from solvers.errors import InputError
from sweeps.cluster import client as cluster
from sweeps.cluster.client import open_client
from sweeps.cluster.dask_settings import dashboard_address, worker_settings
from sweeps.cluster.security import exposure
from sweeps.config.cluster import Adaptive, GpuCluster, KubernetesCluster, SlurmCluster, SshCluster
from sweeps.config.cluster import ClusterBlock as ClusterBlockBase
from sweeps.config.cluster import LocalCluster as ClusterBlock
from sweeps.config.cluster_kinds import CLUSTERS, ClusterKind, register_cluster
from sweeps.execution import trajectories as rollouts
from sweeps.execution import worker_environment as machines
from sweeps.execution.prepare import make_tasks, prepare
from sweeps.execution.task import compute_batch
from sweeps.execution.worker_environment import environment, refuse_other
from sweeps.inputs.strict_model import rebuild_models
from sweeps.store.layout import layout_of


def test_a_worker_with_another_version_stops_the_run_before_it_begins(tiny, client, monkeypatch) -> None:
    here = threading.get_ident()

    def there(engine):
        found = environment(engine)
        return found if threading.get_ident() == here else {**found, "torch": "1.0", "source": "another"}

    monkeypatch.setattr(machines, "environment", there)
    sweep = tiny()
    with pytest.raises(
        InputError, match=r"worker \S+ runs something else .*torch 1\.0 there, .* here; source another"
    ) as e:
        sweep.run(client, progress=False)
    assert "\n" not in str(e.value)
    assert sweep.status()["states"]["pending"] == 12


def test_a_worker_without_the_program(tiny, client, monkeypatch) -> None:
    here = threading.get_ident()

    def missing(engine):
        if threading.get_ident() == here:
            return environment(engine)
        raise ModuleNotFoundError("No module named 'sweeps'")

    monkeypatch.setattr(machines, "environment", missing)
    with pytest.raises(InputError, match=r"cannot run this program .*No module named 'sweeps'"):
        tiny().run(client, progress=False)


def test_a_worker_that_joins_later_looks_itself(tiny) -> None:
    sweep = tiny()
    task = make_tasks(prepare(sweep.store, sweep.plan()))[0]
    expected = tuple(environment(sweep.config.engine).items())
    assert compute_batch(replace(task, environment=expected)).computed.all()
    other = tuple({**dict(expected), "numpy": "1.0"}.items())
    with pytest.raises(InputError, match=r"numpy \S+ there, 1\.0 here"):
        compute_batch(replace(task, environment=other))


def test_weights_are_part_of_it(tiny) -> None:
    solver = environment(tiny().config.engine)
    model = environment(tiny(engine={"kind": "surrogate", "model": "ch-jump"}).config.engine)
    assert solver["weights"] == ""
    assert len(model["weights"]) >= 32
    missing = environment(tiny(engine={"kind": "surrogate", "model": "nosuch"}).config.engine)
    with pytest.raises(InputError, match="weights not there"):
        refuse_other("a", model, missing)


def test_the_job_script_of_slurm() -> None:
    block = SlurmCluster(
        cores=2,
        memory="8GB",
        walltime="01:00:00",
        queue="short",
        adaptive=Adaptive(maximum=4),
        job_extra_directives=["--gres=gpu:1"],
    )
    with cluster._start(block, 1) as jobs:
        script = jobs.job_script()
        assert jobs.scheduler.http_server.address == "127.0.0.1"
    for line in ("#SBATCH -p short", "#SBATCH --gres=gpu:1", "#SBATCH -t 01:00:00"):
        assert line in script
    assert "--lifetime 3300s" in script


class _Recorder:
    """Stands for a cluster class that cannot run here; keeps what it was asked for."""

    def __init__(self, *arguments: object, **options: object) -> None:
        self.arguments, self.options = arguments, options


def test_options_of_clusters_that_cannot_run_here(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncssh", SimpleNamespace(connect=None))
    monkeypatch.setattr("distributed.SSHCluster", _Recorder)
    found = cluster._start(SshCluster(kind="ssh", hosts=["a", "b"], user="me", workers_per_host=2), 1)
    assert found.arguments == (["a", "a", "b"],)
    assert found.options["connect_options"] == {"username": "me"}
    assert found.options["worker_options"]["n_workers"] == 2
    assert found.options["scheduler_options"]["dashboard_address"].startswith("127.0.0.1:")
    monkeypatch.setitem(sys.modules, "dask_kubernetes.operator", SimpleNamespace(KubeCluster=_Recorder))
    found = cluster._start(KubernetesCluster(kind="kubernetes", image="lab/phasetwin:1", workers=3, cores=2), 1)
    assert found.options["n_workers"] == 3
    assert found.options["resources"]["limits"] == {"cpu": "2", "memory": "4Gi"}
    monkeypatch.setitem(sys.modules, "dask_cuda", SimpleNamespace(LocalCUDACluster=_Recorder))
    found = cluster._start(GpuCluster(kind="gpu"), 1)
    assert (found.options["threads_per_worker"], found.options["n_workers"]) == (1, None)
    assert found.options["host"] == "127.0.0.1"


@pytest.mark.parametrize("kind", ["kubernetes", "gpu"])
def test_a_missing_extra_is_named(kind) -> None:
    block = GpuCluster(kind="gpu") if kind == "gpu" else KubernetesCluster(kind="kubernetes", image="a")
    with pytest.raises(InputError, match=rf"pip install 'phasetwin\[{kind}\]'"):
        cluster._start(block, 1)


class _ThreadsBlock(ClusterBlockBase):
    """A kind of cluster of somebody else's."""

    kind: Literal["threads"]
    workers: int = 1


def _start_threads(block: _ThreadsBlock, tasks: int):
    return DaskLocalCluster(n_workers=block.workers, processes=False, dashboard_address=None)


def test_a_kind_of_cluster_is_one_object(tiny) -> None:
    """It is read from the file with its own keys, and runs; nothing else is edited."""
    kind = ClusterKind("threads", _ThreadsBlock, _start_threads, lambda _: ["cluster.kind: anybody"])
    with pytest.raises(InputError, match=r"found 'threads', allowed .*local"):
        tiny(cluster={"kind": "threads", "workers": 1})
    register_cluster(kind)
    try:
        with pytest.raises(InputError, match="unknown key 'worker'"):
            tiny(cluster={"kind": "threads", "worker": 1})
        sweep = tiny(cluster={"kind": "threads", "workers": 2})
        assert exposure(sweep.config.cluster) == ["cluster.kind: anybody"]
        assert sweep.run(progress=False).computed == 12
    finally:
        CLUSTERS.unregister("threads")
        rebuild_models()


def test_batches_follow_the_free_memory_of_a_gpu(tiny, monkeypatch) -> None:
    """Only the question for free memory is answered by hand: there is no GPU here."""
    layout = layout_of(tiny().plan())
    samples = [(i, 0) for i in range(10_000)]
    sizes = []
    for free in (2**30, 2**28, 2**10):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free: (free, 2**34))
        sizes.append(len(next(rollouts._portions(layout, samples, 11, "cuda:0"))))
    sample = 8 * 16 * 16 * (rollouts.GPU_WORK + 11)
    assert sizes == [2**29 // sample, 2**27 // sample, 1]


def test_nothing_oversubscribes() -> None:
    settings = worker_settings()
    for name in ("OMP", "MKL", "OPENBLAS", "NUMBA"):
        assert settings[f"distributed.nanny.pre-spawn-environ.{name}_NUM_THREADS"] == 1


def test_addresses_of_dashboards() -> None:
    assert dashboard_address(None) is None
    assert dashboard_address(":4321") == "127.0.0.1:4321"
    assert dashboard_address("0.0.0.0:4321") == "0.0.0.0:4321"
    host, _, port = dashboard_address(":0").rpartition(":")
    assert host == "127.0.0.1"
    assert int(port) > 0


def test_workers_come_and_go_with_the_work(tiny, client, finished, same_store) -> None:
    """A real adaptive cluster: none at first, more while there is work, gone afterwards; the store is as ever."""
    block = ClusterBlock(workers=1, dashboard_address=None, adaptive=Adaptive(minimum=0, maximum=2))
    seen: list[int] = []
    with open_client(block, 4) as adaptive:
        _until(lambda: not adaptive.nthreads())
        sweep = tiny("adaptive.zarr", batch={"rollouts": 1})
        runner = threading.Thread(target=sweep.run, args=(adaptive, False))
        runner.start()
        while runner.is_alive():
            seen.append(len(adaptive.nthreads()))
            time.sleep(0.02)
        assert max(seen) >= 1
        _until(lambda: not adaptive.nthreads())
    same_store(str(finished(0)), sweep.store)


def _until(holds) -> None:
    limit = time.monotonic() + 60.0
    while not holds():
        assert time.monotonic() < limit
        time.sleep(0.1)


@pytest.mark.parametrize("failures", [2, 3])
def test_a_start_that_fails_is_tried_again(failures, monkeypatch) -> None:
    """Dask's nanny asserts where a worker hangs while it starts."""
    errors: list[Exception] = [AssertionError("Status.starting"), TimeoutError(), RuntimeError("died")][:failures]

    def start(block, tasks) -> str:
        if errors:
            raise errors.pop(0)
        return "started"

    monkeypatch.setattr(cluster, "_start", start)
    if failures == cluster.START_TRIES:
        with pytest.raises(InputError, match=r"could not be started \(died\); the same command tries again"):
            cluster._started(ClusterBlock(), 1)
    else:
        assert cluster._started(ClusterBlock(), 1) == "started"
