"""Readers of frames: every format by its object, starts and pictures through it, formats of one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from PIL import Image

from solvers import FrameReader, Grid, InputError, register_reader
from solvers.frame_readers import READERS, StoredArray, reader_of
from solvers.initial import from_file

FIELDS = np.random.default_rng(0).standard_normal((2, 6, 5))


def write(folder: Path, kind: str) -> Path:
    path = folder / f"start.{kind}"
    dataset = xr.Dataset({"c": (("sample", "y", "x"), FIELDS)}, {"sample": [3.0, 4.0]})
    if kind == "npy":
        np.save(path, FIELDS)
    elif kind == "zarr":
        dataset.to_zarr(path, consolidated=False)
    else:
        dataset.to_netcdf(path, engine="h5netcdf")
    return path


@pytest.mark.parametrize("kind", ["npy", "nc", "zarr"])
def test_starts_come_from_every_format_of_fields(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path, kind)
    assert torch.equal(from_file(path, None, Grid((6, 5))), torch.from_numpy(FIELDS))
    reader = reader_of(path)
    assert reader is not None
    if kind == "npy":
        assert reader.dims_by_variable(path) == {}
        return
    assert reader.dims_by_variable(path) == {"c": ("sample", "y", "x")}
    assert reader.stored(path, "c").coordinates["sample"].tolist() == [3.0, 4.0]
    with pytest.raises(InputError, match=r"variable 'd' not found; there are: c$"):
        from_file(path, "d", Grid((6, 5)))


def test_a_folder_is_a_store_by_what_lies_in_it(tmp_path: Path) -> None:
    path = write(tmp_path, "zarr").rename(tmp_path / "start")
    assert reader_of(path) is READERS["zarr"]
    assert reader_of(tmp_path) is None


def archive(path: Path) -> None:
    with path.open("wb") as raw:
        np.savez(raw, a=FIELDS)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: None, "no such file"),
        (lambda path: path.write_bytes(b"junk"), "cannot be read"),
        (archive, "cannot be read: an archive"),
        (lambda path: np.save(path, FIELDS[:, :4]), r"last axes \(6, 5\) expected"),
        (lambda path: np.save(path, np.full((6, 5), np.inf)), "finite values"),
        (lambda path: np.save(path, np.full((6, 5), "a")), "numbers expected"),
    ],
)
def test_bad_starts_are_refused_in_one_line(make, message: str, tmp_path: Path) -> None:
    path = tmp_path / "start.npy"
    make(path)
    with pytest.raises(InputError, match=message) as caught:
        from_file(path, None, Grid((6, 5)))
    assert "\n" not in str(caught.value)


def test_pictures_have_named_axes_and_are_no_starts(tmp_path: Path) -> None:
    grey = np.arange(30, dtype=np.uint8).reshape(6, 5)
    pages = [Image.fromarray(grey), Image.fromarray(grey + 1)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    stack = READERS["picture"].stored(tmp_path / "stack.tif")
    assert stack.dims == ("time", "y", "x")
    np.testing.assert_array_equal(stack.values, [grey, grey + 1])
    # A palette whose numbers are not grey values: colour 0 is white.
    palette = Image.fromarray(grey, mode="P")
    palette.putpalette([255 - i // 3 for i in range(768)])
    palette.save(tmp_path / "palette.png")
    colours = READERS["picture"].stored(tmp_path / "palette.png")
    assert colours.dims == ("y", "x", "channel")
    np.testing.assert_array_equal(colours.values[..., 0], 255 - grey)
    with pytest.raises(InputError, match="grey values are no field"):
        from_file(tmp_path / "palette.png", None, Grid((6, 5)))


def test_a_format_of_ones_own(tmp_path: Path) -> None:
    reader = FrameReader("text", (".txt",), lambda path, _: StoredArray(np.loadtxt(path)))
    register_reader(reader)
    try:
        np.savetxt(tmp_path / "start.TXT", FIELDS[0])
        assert torch.equal(from_file(tmp_path / "start.TXT", None, Grid((6, 5)))[0], torch.from_numpy(FIELDS[0]))
    finally:
        READERS.unregister("text")
