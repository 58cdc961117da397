"""What the dashboard, Prometheus and status say of a sweep while it runs: all of it true, all of it the same."""

from __future__ import annotations

import json
import threading
import time
from urllib.request import urlopen

import numpy as np
import pytest
from bokeh.document import Document

from sweeps.execution import trajectories as rollouts
from sweeps.monitoring.dashboard_page import draw, failure_table, head
from sweeps.monitoring.facts import MAP_POINTS, count_states, parameter_map, point_states, time_left
from sweeps.monitoring.scheduler_plugin import NAME
from sweeps.monitoring.status import status
from sweeps.store.layout import DIVERGED, DONE, FAILED, PENDING, VERIFIED


@pytest.fixture
def halfway(tiny, client, monkeypatch):
    """A sweep of 12 points that stops after 6 of them, one of which fails, until it is told to go on."""
    go, seen = threading.Event(), threading.Event()
    real = rollouts._simulate

    def slow(batch, wanted):
        if batch.task.start >= 6:
            seen.set()
            assert go.wait(60)
        if batch.task.start == 3:
            raise FloatingPointError("<b>no luck</b>")
        real(batch, wanted)

    monkeypatch.setattr(rollouts, "_simulate", slow)
    monkeypatch.setattr("sweeps.monitoring.watcher.REPORT_SECONDS", 0.0)
    sweep = tiny("watched.zarr", verify={"count": 2})
    run = threading.Thread(target=sweep.run, args=(client, False))
    run.start()
    assert seen.wait(60)
    yield sweep, client, go, run
    go.set()
    run.join()


def _facts(client, store, finished: int) -> dict:
    """The facts at the dashboard, once so many points are finished."""
    address = f"{client.dashboard_link.removesuffix('/status')}/phasetwin.json"
    until = time.monotonic() + 60
    while time.monotonic() < until:
        sweeps = [s for s in json.loads(urlopen(address, timeout=10).read())["sweeps"] if s["store"] == store]
        if sweeps and sweeps[0]["points"] - sweeps[0]["states"]["pending"] >= finished:
            return sweeps[0]
        time.sleep(0.05)
    raise AssertionError("no facts")


def test_what_is_shown_during_a_run(halfway) -> None:
    sweep, client, go, run = halfway
    facts = _facts(client, sweep.store, 6)
    assert facts["states"] == {"pending": 6, "done": 3, "failed": 3, "diverged": 0, "verified": 0}
    assert facts["phase"] == "computing"
    assert facts["workers"] == 1
    assert facts["failure_count"] == 6
    assert facts["failures"][0]["error"] == "FloatingPointError: <b>no luck</b>"
    assert facts["rate_points_per_s"] > 0
    placed = facts["map"]
    assert placed["axes"] == ["mobility", "kappa"]
    shown = dict(zip(zip(placed["x"], placed["y"], strict=True), placed["state"], strict=True))
    assert shown[1.0, 0.7] == "done"
    assert shown[1.0, 1.0] == "failed"
    assert shown[1.0, 1.9] == "pending"
    assert len(facts["curves"]["domain_size"]) == len(facts["curves"]["rows"]) == 3
    # The page itself.
    plugin = client.cluster.scheduler.plugins[NAME]
    doc = Document()
    draw(plugin, doc)
    text = head({**facts, **plugin.machines()})
    assert "6 of 12 points x 2 realizations, computing" in text
    assert "3 failed" in text
    served = urlopen(client.dashboard_link.replace("/status", "/phasetwin"), timeout=10).read().decode()
    assert "<title>phasetwin</title>" in served
    sources = [s for s in doc.select({"type": _source_type()}) if "state" in s.data]
    assert sorted(sources[0].data["state"]) == sorted(placed["state"])
    # For Prometheus.
    metrics = urlopen(client.dashboard_link.replace("/status", "/metrics"), timeout=10).read().decode()
    assert 'phasetwin_points{state="failed",sweep="tiny"} 3.0' in metrics
    # From the store and its lock.
    found = status(sweep.store)
    assert found["phase"] == "computing"
    assert found["rate_points_per_s"] > 0
    assert found["running"]["owner"]
    go.set()
    run.join()
    after, told = _facts(client, sweep.store, 12), status(sweep.store)
    assert after["phase"] == "finished"
    assert after["verification"] == told["verification"]
    assert after["verification"]["points"] == 2
    for name in ("states", "map", "failures", "failure_count", "points"):
        assert after[name] == told[name], name
    assert after["curves"]["time"] == told["curves"]["time"]
    assert told["phase"] is None


def _source_type():
    from bokeh.models.sources import ColumnDataSource

    return ColumnDataSource


def test_trouble_with_watching_ends_no_run(tiny, client, monkeypatch, caplog) -> None:
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("sweeps.monitoring.watcher.parameter_map", broken)
    assert tiny().run(client, progress=False).computed == 12
    assert caplog.text.count("cannot be watched: ZeroDivisionError") == 1


def test_texts_of_a_store_are_escaped() -> None:
    facts = {
        "name": "<script>",
        "store": "<img>",
        "points": 1,
        "realizations": 1,
        "phase": "computing",
        "states": {"pending": 1},
        "rate_points_per_s": 0.0,
        "seconds_left": None,
        "workers": 1,
        "threads": 1,
        "workers_lost": 0,
        "updated": 0.0,
        "verification": {"judged_by": "bands", "within": 1, "points": 2},
        "trust": {"samples": 3, "trusted": 2, "reasons": ["<i>"]},
    }
    text = head(facts)
    assert not [word for word in ("<script>", "<img>", "<i>") if word in text]
    assert "1 of 2 inside the bands" in text
    assert failure_table({"failures": []})["point"] == []


def test_states_of_points() -> None:
    values = np.array([[DONE, VERIFIED], [VERIFIED, VERIFIED], [DIVERGED, DONE], [FAILED, DIVERGED], [PENDING, FAILED]])
    state = point_states(values.astype(np.int8))
    assert state.tolist() == [DONE, VERIFIED, DIVERGED, FAILED, PENDING]
    assert count_states(state) == {"pending": 1, "done": 1, "failed": 1, "diverged": 1, "verified": 1}


def test_large_maps_are_thinned() -> None:
    points = 10 * MAP_POINTS + 1
    placed = parameter_map({"mobility": np.ones(points), "kappa": np.arange(points) + 1.0}, np.zeros(points, np.int8))
    assert placed["axes"] == ["kappa"]
    assert placed["every"] == 11
    assert len(placed["x"]) == len(placed["state"]) <= MAP_POINTS


def test_time_left() -> None:
    assert time_left(100, 100, 5.0) == 0.0
    assert time_left(100, 50, 5.0) == 10.0
    assert time_left(100, 50, 0.0) is None
