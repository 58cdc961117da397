"""A store in a bucket: the same objects as in a folder, resumed, locked, checked and mended like one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import small_s3

import phasetwin
from solvers.errors import InputError
from sweeps import open_sweep
from sweeps.monitoring.status import check_store, status
from sweeps.store import lease
from sweeps.store.locations import bucket as obstore_bucket
from sweeps.store.lock import lock_holder, store_lock
from sweeps.store.store import Store

URL = "s3://lab/runs/tiny.zarr"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[small_s3.Bucket]:
    """A bucket, and the environment that leads there."""
    with small_s3.serve() as served:
        settings = {"ACCESS_KEY_ID": "k", "SECRET_ACCESS_KEY": "s", "REGION": "us-east-1", "ALLOW_HTTP": "true"}
        for name, value in {**settings, "ENDPOINT_URL": served.address}.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        obstore_bucket.cache_clear()
        yield served
    obstore_bucket.cache_clear()


def results(folder: Path) -> dict[str, bytes]:
    """Objects of a local store, what computing took and what tells of it apart."""
    files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return {k: v for k, v in files.items() if not k.endswith("zarr.json") and "wall_s" not in k}


def in_bucket(bucket: small_s3.Bucket) -> dict[str, bytes]:
    """The same of the store in the bucket."""
    mark = URL.removeprefix("s3://lab/") + "/"
    files = {k.removeprefix(mark): v for k, v in bucket.objects.items() if k.startswith(mark)}
    return {k: v for k, v in files.items() if not k.endswith("zarr.json") and "wall_s" not in k}


def test_the_same_objects_as_in_a_folder(tiny, client, bucket, finished) -> None:
    sweep = tiny(URL, verify={"count": 3})
    result = sweep.run(client, progress=False)
    assert (result.computed, result.verified) == (12, 3)
    assert in_bucket(bucket) == results(finished(3))
    assert sweep.run(client, progress=False).computed == 0
    found, local = open_sweep(URL), open_sweep(str(finished(3)))
    np.testing.assert_array_equal(found.field.values, local.field.values)
    assert status(URL)["states"]["verified"] == 3
    assert not check_store(URL)


def test_half_a_sweep_is_resumed_and_damage_mended(tiny, client, bucket, finished) -> None:
    sweep = tiny(URL)
    sweep.run(client, progress=False)
    Store.open(URL, mode="r+").array("status")[3:6] = 0
    hit = "runs/tiny.zarr/free_energy/c.2.0.0"
    bucket.objects[hit] = bucket.objects[hit][:-9] + b"x" + bucket.objects[hit][-8:]
    bucket.objects["runs/tiny.zarr/field/c.3.0.0.0.0"] = b""
    del bucket.objects["runs/tiny.zarr/mean/c.3.0.0"]
    assert len(check_store(URL)) == 3
    assert sweep.run(client, progress=False).computed == 9
    assert in_bucket(bucket) == results(finished(0))


def test_other_things_there_are_left_alone(tiny, client, bucket) -> None:
    bucket.objects["runs/tiny.zarr/thesis.txt"] = b"years of work"
    with pytest.raises(InputError, match="other things are there"):
        tiny(URL).run(client, progress=False)
    assert [k for k in bucket.objects if not k.endswith(".lease")] == ["runs/tiny.zarr/thesis.txt"]


def test_commands(tiny, client, bucket, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny(URL).run(client, progress=False)
    assert phasetwin.main(["status", "--check", URL]) == 0
    assert "12 done" in capsys.readouterr().out
    assert phasetwin.main(["report", URL]) == 0
    assert Path("tiny-report/index.html").exists()
    bucket.refuse = 403
    capsys.readouterr()
    with pytest.raises(InputError, match=r"s3://lab/runs/tiny.zarr: cannot be written: ") as caught:
        tiny(URL).run(client, progress=False)
    assert "\n" not in str(caught.value)


def test_of_two_drivers_one_is_refused(bucket) -> None:
    with store_lock(URL) as hold:
        assert lock_holder(URL)["owner"]
        with pytest.raises(InputError, match="has been writing to it since"), store_lock(URL):
            pass
        hold.check()
    assert lock_holder(URL) is None
    with store_lock(URL):
        pass


def test_of_many_that_come_at_once_one_gets_it(bucket) -> None:
    """The service decides: a lease is written only if nothing has changed since it was read."""
    got, barrier = [], threading.Barrier(6)

    def come(number: int) -> None:
        barrier.wait()
        try:
            with lease.leased(URL, {"owner": str(number)}):
                got.append(number)
                barrier.wait()
        except InputError:
            barrier.wait()

    threads = [threading.Thread(target=come, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1


def test_a_dead_holder_is_followed_and_a_silent_one_stops(bucket, monkeypatch) -> None:
    monkeypatch.setattr(lease, "HEARTBEAT_SECONDS", 60.0)
    monkeypatch.setattr(lease, "LOOK_SECONDS", 0.3)
    with store_lock(URL) as silent:
        monkeypatch.setattr(lease, "ABANDONED_SECONDS", 0.05)
        time.sleep(0.1)
        with store_lock(URL) as next_one:
            silent.beat()
            with pytest.raises(InputError, match="another driver has taken the store over"):
                silent.check()
            next_one.check()
        # What the silent one says on leaving changes nothing.
    with store_lock(URL):
        pass


def test_a_living_holder_with_another_clock_is_left_alone(bucket, monkeypatch) -> None:
    monkeypatch.setattr(lease, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(lease, "LOOK_SECONDS", 0.5)
    now = time.time
    with store_lock(URL):
        monkeypatch.setattr(lease.time, "time", lambda: now() + 3600.0)
        bystander = lease.lease_object(URL).read()[0]
        assert abs(bystander["heartbeat"] - now()) < 60
        monkeypatch.setattr(lease, "_is_fresh", lambda _: False)
        with pytest.raises(InputError, match="has been writing to it since"), store_lock(URL):
            pass


def test_a_holder_that_cannot_renew_stops(tiny, client, bucket, monkeypatch) -> None:
    monkeypatch.setattr(lease, "LOST_SECONDS", -1.0)
    with pytest.raises(InputError, match="its lease could not be renewed; the same command goes on"):
        tiny(URL).run(client, progress=False)
    monkeypatch.setattr(lease, "LOST_SECONDS", 45.0)
    assert tiny(URL).run(client, progress=False).points == 12
