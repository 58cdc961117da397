"""Stores that are missing, foreign, damaged, another sweep's or not writable: one clear line, nothing overwritten."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr

from solvers.errors import InputError
from sweeps import open_sweep
from sweeps.monitoring.status import check_store, describe_status, status


def _snapshot(folder: str) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


def test_missing(tmp_path) -> None:
    for read in (open_sweep, status, check_store):
        with pytest.raises(InputError, match="nothing is there"):
            read(str(tmp_path / "no.zarr"))


def test_killed_before_the_first_object(tiny, client, tmp_path) -> None:
    """The metadata of the root still under their temporary name, and nothing else: a store that never began."""
    folder = tmp_path / "tiny.zarr"
    folder.mkdir()
    (folder / "zarr.e509bbee9d224c57b501ab2a942fa998.partial").write_text('{"zarr_for')
    result = tiny().run(client, progress=False)
    assert (result.computed, result.failed) == (12, ())
    assert not list(folder.glob("*.partial"))


def test_other_unfinished_files_are_left_alone(tiny, client, tmp_path) -> None:
    folder = tmp_path / "tiny.zarr"
    folder.mkdir()
    (folder / "thesis.partial").write_text("years of work")
    with pytest.raises(InputError, match="other things are there"):
        tiny().run(client, progress=False)
    assert (folder / "thesis.partial").read_text() == "years of work"


def test_foreign_things_are_left_alone(tiny, client, tmp_path) -> None:
    folder = tmp_path / "tiny.zarr"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="other things are there"):
        tiny().run(client, progress=False)
    with pytest.raises(InputError, match="other things are there"):
        open_sweep(str(folder))
    assert [p.name for p in folder.iterdir()] == ["thesis.txt"]
    shutil.rmtree(folder)
    zarr.open_group(folder, mode="w").create_array("a", shape=(3,), dtype="f8")
    before = _snapshot(str(folder))
    with pytest.raises(InputError, match="another Zarr group"):
        tiny().run(client, progress=False)
    assert _snapshot(str(folder)) == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "other"}, "another sweep .*'tiny' there, 'other'"),
        ({"grid": {"shape": [24, 24]}}, r"grid.shape: \[16, 16\] there, \[24, 24\]"),
        ({"parameters": {"mobility": [0.5, 1.0], "kappa": [0.7, 1.0]}}, "point of field: 12 there, 4 in the file"),
        ({"output": {"retain": "qoi"}}, "field"),
        ({"times": {"stop": 40, "count": 5}}, r"none of its 12 finished points .*times.stop: 20.0 there, 40"),
    ],
)
def test_another_sweeps_store_is_not_overwritten(tiny, client, stored, changes, words) -> None:
    before = _snapshot(stored.store)
    with pytest.raises(InputError, match=words) as caught:
        tiny(**changes).run(client, progress=False)
    assert "choose another output.path" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert _snapshot(stored.store) == before


def test_truncated_metadata(tiny, client, stored) -> None:
    path = Path(stored.store, "zarr.json")
    path.write_bytes(path.read_bytes()[:100])
    for attempt in (open_sweep, status):
        with pytest.raises(InputError, match="cannot be read"):
            attempt(stored.store)
    with pytest.raises(InputError, match="cannot be read"):
        stored.run(client, progress=False, check=False)
    # Its keys are those of the file: the metadata are made again, and nothing is computed.
    result = stored.run(client, progress=False)
    assert (result.computed, len(result.damaged)) == (0, 1)
    assert open_sweep(stored.store).sizes["point"] == 12


def test_truncated_metadata_of_another_sweep(tiny, client, stored) -> None:
    path = Path(stored.store, "zarr.json")
    path.write_bytes(path.read_bytes()[:100])
    before = _snapshot(stored.store)
    other = tiny(parameters={"mobility": [0.5, 1.0, 2.0], "kappa": [0.7, 1.0, 1.3, 1.8]})
    with pytest.raises(InputError, match="cannot be read"):
        other.run(client, progress=False)
    assert _snapshot(stored.store) == before


def test_a_missing_variable(stored) -> None:
    shutil.rmtree(Path(stored.store, "status"))
    Path(stored.store, "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": '
                                               '{"format": "phasetwin-sweep", "format_version": 1}}')  # fmt: skip
    with pytest.raises(InputError, match="status missing"):
        open_sweep(stored.store)


def test_flipped_bits_are_found(tiny, client, stored) -> None:
    assert check_store(stored.store) == []
    field = Path(stored.store, "field", "c.1.0.0.0.0")
    damaged = bytearray(field.read_bytes())
    damaged[len(damaged) // 3] ^= 1
    field.write_bytes(damaged)
    energy = Path(stored.store, "free_energy", "c.2.0.0")
    energy.write_bytes(energy.read_bytes()[:-7])
    Path(stored.store, "mean", "c.0.0.0").unlink()
    bad = check_store(stored.store)
    assert [b["object"] for b in bad] == ["field/c.1.0.0.0.0", "free_energy/c.2.0.0", "mean/c.0.0.0"]
    assert bad[-1]["error"] == "missing"
    with pytest.raises(ValueError, match="checksum"):
        open_sweep(stored.store).field.load()
    assert stored.run(client, progress=False).computed == 9
    assert check_store(stored.store) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_folder(tiny, client, tmp_path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(InputError, match="cannot be written"):
            tiny().run(client, progress=False)
    finally:
        tmp_path.chmod(0o700)


def test_unwritable_place(tiny, client, tmp_path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match="cannot be written"):
        tiny("file/tiny.zarr").run(client, progress=False)


def test_unknown_protocol(tiny, client) -> None:
    with pytest.raises(InputError, match="nosuch"):
        tiny("nosuch://a/b.zarr").run(client, progress=False)


def test_status_of_a_new_store(tiny, client, stored) -> None:
    found = status(stored.store)
    assert found["states"]["done"] == 12
    assert found["batches"] == {"total": 4, "done": 4}
    assert "12 done" in describe_status(found)
    assert np.isfinite(found["samples_per_core_s"])
