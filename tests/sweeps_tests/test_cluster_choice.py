"""Where a sweep computes that leaves it open: the rule, what is said of it, and what it leaves as it was."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
import torch

from sweeps.cluster import choice
from sweeps.cluster.choice import Work, choose_cluster
from sweeps.config.cluster import AutoCluster, InProcessCluster, LocalCluster
from sweeps.execution.prepare import prepare
from sweeps.monitoring.status import describe_status, status
from sweeps.plan.description import describe_plan, plan_summary
from sweeps.plan.remaining_work import work_of

GIGABYTE = 10**9


@pytest.fixture
def machine(monkeypatch):
    """A function that makes this a machine of so many cores, with 8 GB of free memory."""

    def of(cores: int) -> None:
        monkeypatch.setattr(choice, "cores", lambda: cores)
        free = SimpleNamespace(available=8 * GIGABYTE)
        monkeypatch.setattr(choice.psutil, "virtual_memory", lambda: free)

    return of


@pytest.mark.parametrize(
    ("cores", "seconds", "tasks", "workers"),
    [
        (2, 0.1, 1, 0),
        (2, 2.0, 16, 0),
        (2, 30.0, 16, 2),
        (2, 30.0, 1, 0),  # one batch is not divided
        (1, 1e4, 16, 0),  # one core computes no faster for a second process
        (64, 2.0, 16, 0),
        (64, 20.0, 16, 16),
        (64, 20.0, 160, 20),  # ends within a tenth of the end of 64
        (64, 1e5, 4096, 59),
        (64, 1e5, 4, 4),
    ],
)
def test_as_many_worker_processes_as_pay(machine, cores, seconds, tasks, workers) -> None:
    machine(cores)
    found = choose_cluster(AutoCluster(), Work(seconds, tasks))
    if workers:
        assert found.cluster == LocalCluster(workers=workers)
        assert found.reason.startswith(f"on {workers} worker process")
    else:
        assert found.cluster == InProcessCluster()
        assert found.reason.startswith("in this process: about")


def test_not_in_this_process_where_that_is_at_risk(machine) -> None:
    machine(2)
    large = choose_cluster(AutoCluster(), Work(0.1, 4, batch_bytes=3 * GIGABYTE))
    assert isinstance(large.cluster, LocalCluster)
    assert "a batch takes about 3 GB of 8 GB of free memory" in large.reason
    ended = choose_cluster(AutoCluster(dashboard_address=None), Work(0.1, 4, interrupted=True))
    assert ended.cluster == LocalCluster(workers=1, dashboard_address=None)
    assert "ended abruptly" in ended.reason


def test_what_is_left_counts_alone(tiny) -> None:
    plan = tiny().plan()
    pending = (plan.rollout == 0) | (plan.rollout == 3)
    assert work_of(plan).tasks == 4
    assert work_of(plan, pending).tasks == 2
    assert work_of(plan, pending).seconds == pytest.approx(work_of(plan).seconds / 2)


def test_the_choice_is_planned_said_and_stored(tiny, capsys) -> None:
    sweep = tiny()
    assert isinstance(sweep.config.cluster, AutoCluster)
    assert "auto, in this process: about" in describe_plan(sweep.plan())
    assert plan_summary(sweep.plan())["cluster_choice"]["cluster"]["kind"] == "in_process"
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert sweep.run().computed == 12
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    said = capsys.readouterr().err
    assert said.count("computing in this process: about") == 1
    assert "dashboard: http://127.0.0.1:" in said
    found = status(sweep.store)
    assert found["cluster_choice"]["requested"]["kind"] == "auto"
    assert "computed in this process: about" in describe_status(found)
    # A run with nothing to do chooses nothing.
    assert sweep.run().computed == 0
    assert status(sweep.store)["cluster_choice"] == found["cluster_choice"]


def test_workers_start_while_the_store_is_prepared(tiny, monkeypatch, same_store, stored) -> None:
    """Where they pay; here each is taken to start at once."""
    monkeypatch.setattr(choice, "START_SECONDS", 0.0)
    sweep = tiny("processes.zarr", cluster={"kind": "auto", "dashboard_address": None})
    seen = []
    monkeypatch.setattr(
        "sweeps.execution.run.prepare",
        lambda *arguments: seen.append("cluster-start" in str(threading.enumerate())) or prepare(*arguments),
    )
    assert sweep.run(progress=False).computed == 12
    assert seen == [True]
    assert status(sweep.store)["cluster_choice"]["cluster"]["kind"] == "local"
    same_store(stored.store, sweep.store)
