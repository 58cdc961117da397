"""A flipped bit anywhere in a store is found, and the next run computes again what it hit and nothing else."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from solvers.errors import InputError
from sweeps.monitoring.status import check_store
from sweeps.store.store import Store

RESULTS = (
    "field",
    "free_energy",
    "mean",
    "domain_size",
    "domain_size_interface",
    "interface_density",
    "structure_factor",
)


def flip(path: Path, bit: int) -> None:
    """Flip one bit of a file."""
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << (bit % 8)
    path.write_bytes(content)


def found(store: str) -> bool:
    """Whether a check sees damage: as an entry, or because it cannot even open the store."""
    try:
        return bool(check_store(store))
    except InputError:
        return True


def points_hit(store: str, path: Path) -> int:
    """Points whose results are in an object."""
    variable = path.relative_to(store).parts[0]
    return 3 if variable in RESULTS and path.name != "zarr.json" else 0


def test_flips_at_random_places_are_found(finished, tmp_path) -> None:
    store = tmp_path / "tiny.zarr"
    shutil.copytree(finished(3), store)
    assert check_store(str(store)) == []
    files = sorted(p for p in store.rglob("*") if p.is_file())
    sizes = np.cumsum([p.stat().st_size for p in files])
    rng = random.Random(0)
    # Half of them uniform over all bytes, which is mostly fields; half over files, so that small ones are hit too.
    for i in range(24):
        place = int(np.searchsorted(sizes, rng.randrange(sizes[-1]), side="right"))
        path = files[place] if i % 2 else rng.choice(files)
        bit = rng.randrange(8 * path.stat().st_size)
        flip(path, bit)
        assert found(str(store)), (path, bit)
        flip(path, bit)
    assert check_store(str(store)) == []


@pytest.mark.parametrize(
    ("place", "points"),
    [
        ("field/c.1.0.0.0.0", 3),
        ("structure_factor/c.3.0.0.0", 3),
        ("kappa/c.0", 0),
        ("key/c.0", 0),
        ("time/c.0", 0),
        ("status/c.0.0", 0),
        ("engine/c.0.0", 0),
        ("wall_s/c.0.0", 0),
        ("zarr.json", 0),
        ("field/zarr.json", 0),
        ("reference/zarr.json", 0),
        ("reference/status/c.0.0", 0),
        ("reference/field/c.1.0.0.0.0", 0),
        ("verification/passed/c.0", 0),
    ],
)
def test_the_next_run_mends_what_was_hit(place, points, finished, tiny, client, same_store) -> None:
    sweep = tiny(verify={"count": 3})
    shutil.copytree(finished(3), sweep.store)
    path = Path(sweep.store, place)
    flip(path, 8 * (path.stat().st_size * 2 // 3) + 1)
    assert found(sweep.store)
    result = sweep.run(client, progress=False)
    assert result.computed == points
    assert len(result.damaged) == 1
    assert check_store(sweep.store) == []
    assert result.verified == 3
    same_store(str(finished(3)), sweep.store)


@pytest.mark.parametrize("name", ["field/c.1.0.0.0.0", "structure_factor/c.1.0.0.0", "kappa/c.0", "status/c.0.0"])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_objects_cut_short_or_emptied(name, share, stored, client, finished, same_store) -> None:
    """Zarr reads a shard of no bytes as one that was never written: NaN, and no error."""
    path = Path(stored.store, name)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert [item["object"] for item in check_store(stored.store)] == [name]
    assert stored.run(client, progress=False).computed == (3 if name.startswith(("field", "structure")) else 0)
    same_store(str(finished(0)), stored.store)


def test_emptied_shards_are_not_copied(stored, tiny, client, finished, same_store) -> None:
    """Neither from another store nor, without a check, beside points of the same batch that are computed."""
    Path(stored.store, "field/c.1.0.0.0.0").write_bytes(b"")
    taken = tiny("taken.zarr", reuse=[stored.store])
    result = taken.run(client, progress=False)
    assert (result.reused, result.computed) == (9, 3)
    same_store(str(finished(0)), taken.store)
    Store.open(stored.store, mode="r+").array("status")[3] = 0  # one of the three points of that batch
    assert stored.run(client, progress=False, check=False).computed == 3
    same_store(str(finished(0)), stored.store)


@pytest.mark.parametrize("own", [False, True], ids=["on a cluster", "in this process"])
def test_all_at_once(own, finished, tiny, client, same_store) -> None:
    sweep = tiny(verify={"count": 3}, **({"cluster": {"kind": "in_process"}} if own else {}))
    shutil.copytree(finished(3), sweep.store)
    for place in ("status/c.0.0", "engine/c.0.0", "field/c.1.0.0.0.0", "mobility/c.0", "mean/zarr.json"):
        flip(Path(sweep.store, place), 99)
    result = sweep.run(None if own else client, progress=False)
    # Without status and engine nothing tells what was computed.
    assert (result.computed, len(result.damaged)) == (12, 5)
    same_store(str(finished(3)), sweep.store)


def test_keys_lost_and_another_file(stored, tiny, client) -> None:
    flip(Path(stored.store, "key/c.0"), 99)
    with pytest.raises(InputError, match="run the unchanged file first"):
        tiny(parameters={"mobility": [0.5, 1.0, 2.0], "kappa": [0.7, 1.1, 1.3, 1.9]}).run(client, progress=False)
    assert stored.run(client, progress=False).computed == 0


def test_without_a_check_nothing_is_read(stored, client) -> None:
    flip(Path(stored.store, "field/c.1.0.0.0.0"), 99)
    assert stored.run(client, progress=False, check=False).damaged == ()
    assert len(check_store(stored.store)) == 1


def test_metadata_of_a_killed_writer_are_no_damage(stored) -> None:
    Store.open(stored.store, mode="r+").group.update_attributes({"metadata_crc32c": ""})
    assert check_store(stored.store) == []


def test_every_byte_of_the_root_counts(stored) -> None:
    """Also the name of the checksum, and the case of a digit."""
    path = Path(stored.store, "zarr.json")
    whole = path.read_bytes()
    start = whole.index(b'"metadata_crc32c"')
    for place in (*range(start, start + 30), *range(0, len(whole), 997)):
        for bit in (0, 5):
            flip(path, 8 * place + bit)
            assert found(stored.store), (place, bit)
            path.write_bytes(whole)
    assert check_store(stored.store) == []
