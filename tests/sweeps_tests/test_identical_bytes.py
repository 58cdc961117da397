"""Same file, same bytes, whatever the number of workers and restarts."""

from __future__ import annotations

import pytest
from distributed import Client

from sweeps.execution import execute
from sweeps.execution.batch_task import BatchTask
from sweeps.execution.task import compute_batch, probe_batch

GRAINS = {
    "process": "grain_growth",
    "initial": {"kind": "voronoi", "grains": 5},
    "parameters": {"mobility": [1.0, 2.0], "kappa": [1.0, 1.5]},
}


def test_two_worker_processes_and_two_threads(tiny, finished, same_store) -> None:
    sweep = tiny("processes.zarr", cluster={"kind": "local", "workers": 2}, verify={"count": 3})
    assert sweep.run(progress=False).computed == 12
    same_store(str(finished(3)), sweep.store)


@pytest.mark.parametrize("blocks", [{}, GRAINS], ids=["cahn_hilliard", "grain_growth"])
def test_in_this_process_and_in_a_worker_process(tiny, same_store, blocks) -> None:
    stores = []
    for cluster in ({"kind": "in_process"}, {"kind": "in_process", "threads": 2}, {"kind": "local", "workers": 1}):
        sweep = tiny(f"{len(stores)}.zarr", cluster=cluster, verify={"count": 2}, **blocks)
        assert not sweep.run(progress=False).failed
        stores.append(sweep.store)
    same_store(stores[0], stores[1])
    same_store(stores[0], stores[2])


def test_one_worker_and_two_workers(tiny, same_store) -> None:
    stores = []
    for workers in (1, 2):
        options = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": ":0"}
        with Client(processes=False, **options) as client:
            sweep = tiny(f"{workers}.zarr", **GRAINS)
            assert not sweep.run(client, progress=False).failed
            stores.append(sweep.store)
    same_store(*stores)


def test_twice_computed_is_written_twice_the_same(tiny, stored, client, same_store, monkeypatch) -> None:
    def twice(task: BatchTask):
        compute_batch(task)
        return compute_batch(task)

    monkeypatch.setattr(execute.run_batches, "__defaults__", (twice, probe_batch))
    sweep = tiny("twice.zarr")
    sweep.run(client, progress=False)
    same_store(stored.store, sweep.store)
