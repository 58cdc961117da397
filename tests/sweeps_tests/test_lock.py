"""One driver to a store; a dead driver holds nothing."""

from __future__ import annotations

import time

import pytest

from solvers.errors import InputError
from sweeps import open_sweep
from sweeps.monitoring.status import status
from sweeps.store import lease
from sweeps.store.lock import lock_holder, store_lock

HOLDER = """
import time
from pathlib import Path
from sweeps.store.lock import store_lock
with store_lock(ARGUMENTS[0]) as hold:
    hold.record({"phase": "computing"})
    Path(ARGUMENTS[1]).touch()
    time.sleep(60)
"""


def test_second_driver_is_refused_and_touches_nothing(tiny, client, tmp_path) -> None:
    sweep = tiny()
    with store_lock(sweep.store):
        before = sorted(p.name for p in tmp_path.rglob("*"))
        with pytest.raises(InputError, match=r"process \d+ has been writing to it since 20\d\d") as caught:
            sweep.run(client, progress=False)
        assert "\n" not in str(caught.value)
        assert sorted(p.name for p in tmp_path.rglob("*")) == before
    assert not list(tmp_path.iterdir())


def test_a_killed_driver_leaves_no_lock(tiny, tmp_path, run_script) -> None:
    url = tiny().store
    held = tmp_path / "held"
    process = run_script(HOLDER, url, str(held))
    while not held.exists() and process.is_alive():
        time.sleep(0.02)
    assert str(process.pid) in lock_holder(url)["owner"]
    with pytest.raises(InputError, match="has been writing"), store_lock(url):
        pass
    process.kill()
    process.join()
    assert lock_holder(url) is None
    with store_lock(url) as hold:
        assert lock_holder(url) is not None
        assert hold.before["phase"] == "computing"  # what its holder said before it was killed
        hold.record({"phase": "finished"})
    with store_lock(url) as hold:
        assert hold.before == {}


def test_status_reads_a_store_in_use(stored) -> None:
    sweep = stored
    assert status(sweep.store)["running"] is None
    with store_lock(sweep.store):
        assert status(sweep.store)["running"]["owner"]
        assert open_sweep(sweep.store).sizes["point"] == 12


def test_lease_where_there_are_no_locks(monkeypatch) -> None:
    url = "memory://leases/a.zarr"
    with store_lock(url):
        assert lock_holder(url) is not None
        with pytest.raises(InputError, match="has been writing"), store_lock(url):
            pass
    assert lock_holder(url) is None
    there = lease.lease_object(url)
    there.write({"owner": "a dead driver", "since": "long ago", "heartbeat": 0.0}, there.read()[1])
    monkeypatch.setattr(lease, "LOOK_SECONDS", 0.1)
    with store_lock(url) as hold:
        assert lock_holder(url)["owner"] != "a dead driver"
        assert hold.before["owner"] == "a dead driver"
        hold.record({"phase": "computing"})
        assert lock_holder(url)["phase"] == "computing"
    with store_lock(url) as hold:
        assert hold.before == {}
