"""Readers of frames: every format by its object, starts and pictures through it, formats of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
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


FRAMES = np.random.default_rng(0).integers(0, 255, (5, 24, 20)).astype("u1")


@pytest.mark.parametrize(
    ("name", "options", "values"),
    [
        ("float64.tif", {}, FRAMES / 255.0),
        ("int32.tif", {}, FRAMES.astype("i4") * 1000),
        ("tiled.tif", {"bigtiff": True, "tile": (16, 16), "compression": "zlib"}, FRAMES),
        ("plain.tiff", {"photometric": "minisblack"}, FRAMES),
    ],
)
def test_tiff_of_any_kind(tmp_path: Path, name: str, options: dict[str, Any], values: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / name, values, **options)
    found = stored(tmp_path / name)
    assert found.dims == ("time", "y", "x")
    np.testing.assert_array_equal(found.values, values)


def test_white_is_bright_whatever_the_numbers(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "white.tif", 255 - FRAMES, photometric="miniswhite")
    np.testing.assert_array_equal(stored(tmp_path / "white.tif").values, FRAMES)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.ome.tif", {"metadata": {"axes": "TYX", "TimeIncrement": 2.5}}),
        ("imagej.tif", {"imagej": True, "metadata": {"axes": "TYX", "finterval": 2.5}}),
    ],
)
def test_time_step_of_a_tiff(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    tifffile.imwrite(tmp_path / name, FRAMES.astype("u2"), **options)
    found = stored(tmp_path / name)
    assert found.values.shape == FRAMES.shape
    np.testing.assert_allclose(found.coordinates["time"], 2.5 * np.arange(5))


def test_palette_of_a_tiff_is_looked_up(tmp_path: Path) -> None:
    turned = np.repeat((255 - np.arange(256, dtype="u2"))[None] * 257, 3, axis=0)
    tifffile.imwrite(tmp_path / "palette.tif", FRAMES[0], photometric="palette", colormap=turned)
    found = stored(tmp_path / "palette.tif")
    assert found.dims == ("y", "x", "channel")
    np.testing.assert_array_equal(found.values[..., 0], (255 - FRAMES[0].astype("u2")) * 257)


def test_two_images_in_a_tiff_are_named(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "two.tif") as file:
        file.write(FRAMES[0, :8, :8])
        file.write(FRAMES)
    with pytest.raises(ValueError, match="found 2 images"):
        stored(tmp_path / "two.tif")


def stored(path: Path) -> StoredArray:
    reader = reader_of(path)
    assert reader is not None
    return reader.stored(path)
