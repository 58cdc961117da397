"""A killed driver loses seconds of work and nothing else; a changed file recomputes what changed."""

from __future__ import annotations

import json
import signal

import numpy as np
import pytest

from solvers.errors import InputError
from sweeps import Sweep, open_sweep
from sweeps.monitoring.status import describe_status, status
from sweeps.store.layout import DONE
from sweeps.store.store import Store

# Runs a sweep in its own process and kills its own process group at the moment asked for.
DRIVER = """
import json, os, signal
from sweeps import Sweep
from sweeps.execution import prepare as resume, task as tasks, trajectories as rollouts
from sweeps.store import group as groups, status_table as table, store

config, moment = json.loads(ARGUMENTS[0]), ARGUMENTS[1]
calls = {"n": 0}

def die_at(module, name, number, after):
    original = getattr(module, name)
    def wrapped(*args, **kwargs):
        calls["n"] += 1
        if calls["n"] == number and not after:
            os.killpg(os.getpgid(0), signal.SIGKILL)
        result = original(*args, **kwargs)
        if calls["n"] == number:
            os.killpg(os.getpgid(0), signal.SIGKILL)
        return result
    setattr(module, name, wrapped)

if moment == "template":
    die_at(groups.PointGroup, "write_coordinate", 4, after=False)
elif moment == "computing":
    die_at(rollouts, "_simulate", 3, after=False)
elif moment == "half a shard":
    def torn(url, start, shard, group="", whole=store.write_shard):
        if start < 6:
            return whole(url, start, shard, group)
        whole(url, start, dict(list(shard.items())[:2]), group)
        os.killpg(os.getpgid(0), signal.SIGKILL)
    tasks.write_shard = torn
elif moment == "shard without status":
    table.FLUSH_SECONDS = 0
    die_at(table.StatusTable, "record", 3, after=False)
elif moment == "half the table":
    table.FLUSH_SECONDS = 0
    table.NAMES = ("error", "wall_s", "engine", "status")
    die_at(table.StatusTable, "flush", 3, after=False)
elif moment == "verify":
    def torn(url, start, shard, group="", whole=store.write_shard):
        whole(url, start, shard, group)
        if group and start > 0:
            os.killpg(os.getpgid(0), signal.SIGKILL)
    tasks.write_shard = torn

cluster = {"kind": "in_process", "dashboard_address": None}
Sweep.from_config({**config, "cluster": cluster}).run(progress=False)
"""
MOMENTS = ("template", "computing", "half a shard", "shard without status", "half the table", "verify")


def _config(sweep: Sweep) -> str:
    return sweep.config.model_dump_json()


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_run_again_equals_run_once(moment, tiny, client, finished, run_script, same_store) -> None:
    sweep = tiny("killed.zarr", verify={"count": 3})
    process = run_script(DRIVER, _config(sweep), moment)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    # Half of them go on in this process, half on a cluster.
    again = tiny("killed.zarr", verify={"count": 3}, cluster={"kind": "in_process"})
    own = MOMENTS.index(moment) % 2 == 0
    result = again.run(progress=False) if own else sweep.run(client, progress=False)
    assert not result.failed
    assert result.verified == 3
    same_store(str(finished(3)), sweep.store)
    assert sweep.run(client, progress=False).computed == 0


def test_what_is_done_is_not_computed_again(tiny, client, run_script) -> None:
    sweep = tiny()
    process = run_script(DRIVER, _config(sweep), "shard without status")
    process.join(60)
    result = sweep.run(client, progress=False)
    # Two batches of three points were in the status table when the driver died.
    assert result.computed == 6


def test_after_an_abrupt_end_worker_processes_go_on(tiny, finished, run_script, same_store, caplog) -> None:
    """What ended the process that computed by itself may do so again: it shall end a worker, not the run."""
    sweep = tiny("killed.zarr", verify={"count": 3})
    run_script(DRIVER, _config(sweep), "computing").join(60)
    caplog.set_level("INFO", "phasetwin")
    result = sweep.run(check=False)
    assert (result.failed, result.verified) == ((), 3)
    same_store(str(finished(3)), sweep.store)
    assert "the last run, in a process of its own, ended abruptly" in caplog.text
    chosen = status(sweep.store)["cluster_choice"]
    assert chosen["cluster"]["kind"] == "local"
    assert "ended abruptly" in describe_status(status(sweep.store))
    # That run ended in order: the next one, of a point more, computes in this process again.
    changed = tiny("killed.zarr", parameters={"mobility": [0.5, 1.0, 2.0], "kappa": [0.7, 1.0, 1.3, 2.0]})
    assert changed.run(progress=False).computed == 3
    assert status(sweep.store)["cluster_choice"]["cluster"]["kind"] == "in_process"


def test_a_changed_value_recomputes_its_points_only(tiny, stored, client, same_store) -> None:
    kappa = {"mobility": [0.5, 1.0, 2.0], "kappa": [0.7, 1.1, 1.3, 1.9]}
    changed = tiny(parameters=kappa)
    assert changed.run(client, progress=False).computed == 3
    fresh = tiny("fresh.zarr", parameters=kappa)
    fresh.run(client, progress=False)
    same_store(fresh.store, changed.store)
    assert json.loads(open_sweep(changed.store).attrs["config"])["parameters"]["kappa"][1] == 1.1


def test_a_changed_point_in_a_batch_leaves_the_rest_of_it(tiny, client) -> None:
    first = tiny(batch={"rollouts": 4})
    first.run(client, progress=False)
    before = open_sweep(first.store).load()
    changed = tiny(batch={"rollouts": 4}, parameters={"mobility": [0.5, 1.0, 2.0], "kappa": [0.7, 1.1, 1.3, 1.9]})
    assert changed.run(client, progress=False).computed == 3
    after = open_sweep(changed.store).load()
    same = before.kappa != 1.0
    np.testing.assert_array_equal(before.field[same], after.field[same])
    assert not np.array_equal(before.field[~same], after.field[~same])


def test_a_deleted_object_is_computed_again(stored, client) -> None:
    sweep = stored
    whole = open_sweep(sweep.store).free_energy.load()
    array = Store.open(sweep.store).array("free_energy")
    (array.store.root / "free_energy" / "c.1.0.0").unlink()
    assert sweep.run(client, progress=False).computed == 3
    np.testing.assert_array_equal(open_sweep(sweep.store).free_energy, whole)


def test_reuse_takes_points_from_other_stores(tiny, client, stored) -> None:
    more = {"mobility": [0.5, 1.0, 2.0, 4.0], "kappa": [0.7, 1.0, 1.9]}
    sweep = tiny("more.zarr", parameters=more, reuse=[stored.store])
    result = sweep.run(client, progress=False)
    assert (result.computed, result.reused) == (3, 9)
    fresh = tiny("fresh.zarr", parameters=more)
    fresh.run(client, progress=False)
    np.testing.assert_allclose(open_sweep(sweep.store).field, open_sweep(fresh.store).field, atol=2e-5)
    assert (open_sweep(sweep.store).status == DONE).all()


def test_reuse_must_name_stores(tiny, client, tmp_path) -> None:
    (tmp_path / "no.zarr").mkdir()
    with pytest.raises(InputError, match=r"no\.zarr"):
        tiny(reuse=[str(tmp_path / "no.zarr")]).run(client, progress=False)
