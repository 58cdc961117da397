"""Readers of frames: one object for each format of files that hold fields or pictures of them.

Starts of sweeps, frames of twins and target images go through them. A format of your own is a :class:`FrameReader`
handed to :func:`register_reader`, or the entry point of an installed package in the group ``phasetwin.readers``.
Nothing here unpickles: files may come from anybody.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np

from solvers.errors import InputError
from solvers.registries import Reference, Registry, resolve

if TYPE_CHECKING:
    import tifffile
    import xarray as xr
    from PIL import Image


@dataclass(frozen=True)
class StoredArray:
    """An array as it is in a file; ``dims`` and ``coordinates`` name its axes and their values, where the file does."""

    values: np.ndarray
    dims: tuple[str, ...] = ()
    coordinates: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class FrameReader:
    """A format.

    Attributes:
        name: of the format.
        suffixes: of its files, in lower case.
        read: (path, variable) -> :class:`StoredArray`. Raises what it likes for files that it cannot read.
        variables: path -> the dims of each variable by name; None for files of one array, whose variable is None.
        marker: file whose presence in a folder makes it one of this format whatever its suffix.
        pictures: whether values are grey values or colours rather than those of a field.
    """

    name: str
    suffixes: tuple[str, ...]
    read: Reference
    variables: Reference | None = None
    marker: str | None = None
    pictures: bool = False

    def stored(self, path: Path, variable: str | None = None) -> StoredArray:
        """What :attr:`read` returns."""
        found: StoredArray = resolve(self.read)(path, variable)
        return found

    def dims_by_variable(self, path: Path) -> dict[str, tuple[str, ...]]:
        """What :attr:`variables` returns; empty for files of one array."""
        return {} if self.variables is None else dict(resolve(self.variables)(path))


def read_npy(path: Path, variable: str | None = None) -> StoredArray:
    """A ``.npy`` file; raises ValueError for pickled objects or an archive of several arrays."""
    del variable
    with path.open("rb") as raw:
        values = np.load(raw, allow_pickle=False)
        if not isinstance(values, np.ndarray):
            raise ValueError("an archive of several arrays")
    return StoredArray(values)


def read_dataset(path: Path, variable: str | None) -> StoredArray:
    """A variable of a NetCDF file or Zarr store."""
    with _opened(path) as dataset:
        array = dataset[variable]
        dims = tuple(map(str, array.dims))
        return StoredArray(array.to_numpy(), dims, {d: array[d].to_numpy() for d in dims if d in array.coords})


def dataset_variables(path: Path) -> dict[str, tuple[str, ...]]:
    """The dims of each variable of a NetCDF file or Zarr store."""
    with _opened(path) as dataset:
        return {str(name): tuple(map(str, array.dims)) for name, array in dataset.data_vars.items()}


def _opened(path: Path) -> xr.Dataset:
    import xarray as xr

    if not path.is_dir():
        return xr.open_dataset(path, engine="h5netcdf")
    _refuse_pickles(path)
    return xr.open_dataset(path, engine="zarr", consolidated=False)


def _refuse_pickles(store: Path) -> None:
    """Raises InputError for a Zarr store of the second format with a codec that unpickles: which runs code."""
    for name in (".zarray", ".zmetadata"):
        for about in sorted(store.rglob(name)):
            if _names_pickle(json.loads(about.read_bytes())):
                raise InputError(f"{store}: numbers expected, but it holds pickled objects and was not opened")


def _names_pickle(value: object) -> bool:
    if isinstance(value, dict):
        return "pickle" in str(value.get("id", "")).lower() or any(_names_pickle(v) for v in value.values())
    return isinstance(value, list) and any(_names_pickle(v) for v in value)


def read_picture(path: Path, variable: str | None = None) -> StoredArray:
    """A PNG or JPEG picture: ``y``, ``x``, after ``time`` for several pages, before ``channel`` for several.

    Raises ValueError for pages of several sizes.
    """
    from PIL import Image, ImageSequence

    del variable
    with Image.open(path) as image:
        pages = [_pixels(page) for page in ImageSequence.Iterator(image)]
    if len({page.shape for page in pages}) > 1:
        raise ValueError("found pages of several sizes, allowed one")
    dims = ("y", "x", "channel")[: pages[0].ndim]
    return StoredArray(pages[0], dims) if len(pages) == 1 else StoredArray(np.stack(pages), ("time", *dims))


def read_tiff(path: Path, variable: str | None = None) -> StoredArray:
    """A TIFF file, plain, BigTIFF, OME or of ImageJ: dims as :func:`read_picture`'s.

    Numbers of a palette become colours, MinIsWhite is turned over, and a time step that OME or ImageJ noted gives
    ``time`` its values.

    Raises:
        ValueError: for several images of different sizes, or axes that no series of pictures has.
    """
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what cannot be read is raised, and said once
    with tifffile.TiffFile(path) as file:
        if not all(_readable(page.compression) for page in file.pages[:1]):
            return read_picture(path, variable)
        found = [series for series in file.series if len(series.shape) >= 2]
        if len(found) > 1:
            sizes = ", ".join(" x ".join(map(str, series.shape)) for series in found)
            raise ValueError(f"found {len(found)} images ({sizes}), allowed one: save the one that holds the frames")
        values, axes = found[0].asarray(), found[0].axes
        page = found[0].keyframe
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE and page.colormap is not None:
            values, axes = np.moveaxis(page.colormap[:, values], 0, -1), axes + "S"
        elif page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            values = (np.iinfo(values.dtype).max if values.dtype.kind == "u" else 0) - values
        step = _time_step(file)
    stack = axes.removesuffix("S").removesuffix("YX")
    if len(stack) > 1 or "YX" not in axes:
        raise ValueError(f"found axes {axes}, allowed one of time (T, Z or unnamed) before Y and X")
    dims = (*(["time"] if stack else []), "y", "x", *(["channel"] if axes.endswith("S") else []))
    known = {"time": step * np.arange(len(values))} if stack and step is not None else {}
    return StoredArray(values, dims, known)


def _readable(compression: int) -> bool:
    """Whether tifffile decodes it by itself."""
    from tifffile import COMPRESSION

    return compression in (COMPRESSION.NONE, COMPRESSION.ADOBE_DEFLATE, COMPRESSION.PACKBITS, COMPRESSION.DEFLATE)


def _time_step(file: tifffile.TiffFile) -> float | None:
    """Of an OME or ImageJ series, in the unit that it is written in; None where there is none."""
    if file.is_imagej:
        step = (file.imagej_metadata or {}).get("finterval")
    elif file.is_ome and file.ome_metadata:
        pixels = ElementTree.fromstring(file.ome_metadata).find(".//{*}Pixels")
        step = None if pixels is None else pixels.get("TimeIncrement")
    else:
        return None
    return float(step) if step is not None and float(step) > 0.0 else None


def _pixels(page: Image.Image) -> np.ndarray:
    # The pixels of a picture with a palette are numbers of colours.
    return np.asarray(page.convert("RGBA") if page.mode == "P" else page)


#: Those of this project.
OWN = (
    FrameReader("npy", (".npy",), read_npy),
    FrameReader("netcdf", (".nc", ".netcdf", ".h5"), read_dataset, dataset_variables),
    FrameReader("zarr", (".zarr",), read_dataset, dataset_variables, marker="zarr.json"),
    FrameReader("tiff", (".tif", ".tiff"), read_tiff, pictures=True),
    FrameReader("picture", (".png", ".jpg", ".jpeg"), read_picture, pictures=True),
)
#: Every reader known here.
READERS: Registry[FrameReader] = Registry("reader", "phasetwin.readers", ("solvers.frame_readers:OWN",))


def register_reader(reader: FrameReader) -> FrameReader:
    """Make a format known; raises InputError for a name that another reader has."""
    return READERS.register(reader)


def reader_of(path: Path) -> FrameReader | None:
    """The reader of a file or folder, by its suffix or by what lies in it; None where there is none."""
    for reader in READERS.values():
        if path.suffix.lower() in reader.suffixes or (reader.marker is not None and (path / reader.marker).exists()):
            return reader
    return None
