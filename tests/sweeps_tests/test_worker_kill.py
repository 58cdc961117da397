"""Workers that die: the run goes on; a batch that kills every worker is named and left."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import CancelledError
from types import SimpleNamespace

import dask
import numpy as np
import pytest
from distributed import Client, Future, KilledWorker, LocalCluster
from distributed.comm import CommClosedError

from solvers.errors import InputError
from sweeps import open_sweep
from sweeps.cluster.client import open_client
from sweeps.config.cluster import LocalCluster as LocalClusterBlock
from sweeps.execution import execute
from sweeps.execution.batch_task import BatchTask
from sweeps.execution.execute import run_batches
from sweeps.execution.prepare import make_tasks, prepare
from sweeps.execution.task import compute_batch, probe_batch
from sweeps.monitoring.status import status
from sweeps.store.layout import DONE, FAILED


def _dies_once(task: BatchTask):
    """Batch 1 kills its worker the first time."""
    mark = f"{task.url}.died"
    if task.number == 1 and not os.path.exists(mark):  # noqa: PTH110 runs on a worker
        open(mark, "w").close()  # noqa: PTH123
        os.kill(os.getpid(), signal.SIGKILL)
    return compute_batch(task)


def _always_dies(task: BatchTask):
    """Batch 2 kills every worker."""
    if task.number == 2:
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGKILL)
    return compute_batch(task)


def _deadly(task: BatchTask) -> None:
    """A trajectory that kills every worker, kappa 1.3: what Dask raises then."""
    if (task.parameters["kappa"][task.compute] == 1.3).any():
        raise KilledWorker("a task", SimpleNamespace(address="tcp://a"), 3)  # type: ignore[arg-type]


def _compute_deadly(task: BatchTask):
    _deadly(task)
    return compute_batch(task)


@pytest.fixture(scope="module")
def processes():
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _run(sweep, client, compute, probe=None) -> None:
    prepared = prepare(sweep.store, sweep.plan())
    run_batches(client, make_tasks(prepared), "tiny", prepared.store.table.record, compute, probe or probe_batch)
    prepared.store.table.flush()


def test_a_killed_worker_is_replaced_and_nothing_is_lost(tiny, stored, processes, same_store) -> None:
    sweep = tiny("killed.zarr")
    _run(sweep, processes, _dies_once)
    assert (open_sweep(sweep.store).status == DONE).all()
    same_store(stored.store, sweep.store)


def test_a_batch_that_kills_workers_is_named(tiny, client, processes) -> None:
    sweep = tiny("deadly.zarr")
    _run(sweep, processes, _always_dies)
    ds = open_sweep(sweep.store)
    np.testing.assert_array_equal(ds.status.values == FAILED, (ds.kappa.values == 1.3)[:, None].repeat(2, 1))
    failures = status(sweep.store)["failures"]
    assert len(failures) == 6
    assert "worker died" in failures[0]["error"]
    assert failures[0]["parameters"]["kappa"] == 1.3
    assert sweep.run(client, progress=False).computed == 3


def test_the_deadly_points_of_a_batch_are_told_apart(tiny, client, stored) -> None:
    """Twelve points in one batch; three share a trajectory that kills: these fail, the others are done."""
    sweep = tiny("poison.zarr", batch={"rollouts": 4})
    _run(sweep, client, _compute_deadly, _deadly)
    ds = open_sweep(sweep.store)
    np.testing.assert_array_equal(ds.status.values == FAILED, (ds.kappa.values == 1.3)[:, None].repeat(2, 1))
    good = ds.kappa.values != 1.3
    assert (ds.status.values[good] == DONE).all()
    expected = open_sweep(stored.store).free_energy.values[good]
    np.testing.assert_allclose(ds.free_energy.values[good], expected, rtol=2e-5)
    assert "worker died" in status(sweep.store)["failures"][0]["error"]
    assert sweep.run(client, progress=False).computed == 3


#: Runs a sweep in its own process, which a point ends that no process survives.
POISONED = """
import json, os, signal
from sweeps import Sweep
from sweeps.execution import trajectories

real = trajectories._simulate

def deadly(batch, wanted):
    if (batch.task.parameters["kappa"][wanted.any(axis=1)] == 1.3).any():
        os.kill(os.getpid(), signal.SIGKILL)
    real(batch, wanted)

trajectories._simulate = deadly
config = {**json.loads(ARGUMENTS[0]), "cluster": {"kind": "auto", "dashboard_address": None}}
Sweep.from_config(config).run(progress=False)
"""


def _dies_at_a_point(task: BatchTask):
    if (task.parameters["kappa"][task.compute] == 1.3).any():
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGKILL)
    return compute_batch(task)


def test_what_ends_this_process_is_found_by_worker_processes(tiny, run_script, monkeypatch, client) -> None:
    """In its own process a run ends with a deadly point; the same command then has workers, and tells it apart."""
    sweep = tiny("own.zarr", batch={"rollouts": 4})
    process = run_script(POISONED, sweep.config.model_dump_json())
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    monkeypatch.setattr(execute.run_batches, "__defaults__", (_dies_at_a_point, _dies_at_a_point))
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
        result = sweep.run(progress=False)
    assert len(result.failed) == 6
    assert all("kappa 1.3" in line and "worker died" in line for line in result.failed)
    assert "ended abruptly" in status(sweep.store)["cluster_choice"]["reason"]
    monkeypatch.undo()
    assert sweep.run(client, progress=False).computed == 3


def test_a_worker_that_hangs_is_replaced(tiny, stored, same_store, monkeypatch) -> None:
    monkeypatch.setattr("sweeps.cluster.hung_workers.PATIENCE_SECONDS", 1.0)
    sweep = tiny("stopped.zarr")
    with (
        dask.config.set({"distributed.scheduler.worker-ttl": "4s", "distributed.scheduler.allowed-failures": 3}),
        open_client(LocalClusterBlock(workers=1, dashboard_address=None), 1) as client,
    ):
        (pid,) = client.run(os.getpid).values()
        os.kill(pid, signal.SIGSTOP)
        assert sweep.run(client, progress=False).computed == 12
        assert pid not in client.run(os.getpid).values()
    same_store(stored.store, sweep.store)


@pytest.mark.parametrize(
    "error",
    [CommClosedError("closed"), CancelledError(), TimeoutError(), ConnectionRefusedError(111, "no"), OSError("slow")],
)
def test_a_scheduler_that_goes_away_is_one_line(error, tiny, client, monkeypatch) -> None:
    """Whatever the client is doing at that moment: here it fetches a result."""

    def gone(future) -> None:
        raise error

    monkeypatch.setattr(Future, "result", gone)
    with pytest.raises(InputError, match="connection to the Dask scheduler was lost; the same command resumes") as e:
        _run(tiny("gone.zarr"), client, compute_batch)
    assert "\n" not in str(e.value)
    monkeypatch.undo()
    assert tiny("gone.zarr").run(client, progress=False).points == 12
