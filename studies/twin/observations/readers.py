"""Frames from files: Zarr, NetCDF, npy, a TIFF stack, a folder of TIFF or PNG images with ``times.csv``."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np

from solvers.errors import InputError
from solvers.frame_readers import READERS, FrameReader, StoredArray, reader_of
from studies.twin.config import Observations
from studies.twin.observations.alignment import aligned
from studies.twin.observations.frames import ObservedFrames, make_frames

AXES = ("time", "y", "x")
TIMES_FILE = "times.csv"


def read_frames(wanted: Observations) -> ObservedFrames:
    """The frames that the ``observations`` block names, in the order of their times.

    Raises InputError for files that are not there, damaged, of another kind, or without times.
    """
    path = Path(wanted.path)
    try:
        times, grey = _read(path, wanted)
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001 readers of image files raise whatever they like
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"observations.path: {path}: cannot be read: {reason}") from None
    frames = make_frames(times, grey, str(path), crop=wanted.crop == "auto").first(wanted.frames)
    return aligned(frames, wanted.registration == "auto", wanted.bad_frames == "auto")


def _read(path: Path, wanted: Observations) -> tuple[np.ndarray, np.ndarray]:
    reader = reader_of(path)
    if reader is not None and reader.variables is not None:
        return _from_dataset(reader, path, wanted)
    if path.is_dir():
        return _from_folder(path)
    if reader is None:
        raise InputError(
            f"observations.path: {path}: found {path.suffix.lower() or 'no suffix'}, "
            "allowed .zarr, .nc, .npy, .tif or a folder"
        )
    stored = reader.stored(path)
    if reader.pictures and (wanted.times is not None or wanted.interval is not None):
        stored = replace(stored, coordinates={})  # a time step in a picture's tags may have another unit
    grey = _grey(stored, path)
    grey = grey[None] if grey.ndim == 2 else grey
    return _times(stored, path, wanted, len(grey)), grey


def _times(stored: StoredArray, path: Path, wanted: Observations, count: int) -> np.ndarray:
    """Times from the file, or else from the YAML."""
    times = stored.coordinates.get("time")
    if times is not None:
        if times.dtype.kind not in "fiu":
            raise InputError(f"observations.path: {path}: found times of type {times.dtype}, allowed numbers")
        return times.astype(np.float64)
    if wanted.times is not None:
        if len(wanted.times) != count:
            raise InputError(f"observations.times: found {len(wanted.times)}, allowed {count}, one a frame of {path}")
        return np.asarray(wanted.times, dtype=np.float64)
    if wanted.interval is not None:
        return wanted.interval * np.arange(count)
    raise InputError(f"observations.times: found no times for {path}, allowed `times: [...]` or `interval: 1.0`")


def _from_dataset(reader: FrameReader, path: Path, wanted: Observations) -> tuple[np.ndarray, np.ndarray]:
    dims_of = reader.dims_by_variable(path)
    name = _variable(dims_of, wanted.variable, path)
    stored = reader.stored(path, name)
    missing = [d for d in AXES if d not in stored.dims]
    extra = [d for d, n in zip(stored.dims, stored.values.shape, strict=True) if d not in AXES and n != 1]
    if missing or extra:
        raise InputError(
            f"observations.path: {path}: found dims {', '.join(stored.dims)} of {name}, allowed time, y, x"
        )
    order = [stored.dims.index(d) for d in AXES]
    others = [i for i in range(len(stored.dims)) if i not in order]
    grey = stored.values.transpose(*others, *order).astype(np.float64).reshape([stored.values.shape[i] for i in order])
    if wanted.mask is not None:
        if wanted.mask not in dims_of:
            raise InputError(f"observations.mask: found {wanted.mask!r}, allowed a variable of {path}")
        grey = np.where(_mask(reader.stored(path, wanted.mask).values, grey.shape), grey, np.nan)
    return _times(stored, path, wanted, len(grey)), grey


def _variable(dims_of: dict[str, tuple[str, ...]], name: str | None, path: Path) -> str:
    names = [n for n, dims in dims_of.items() if set(AXES) <= set(dims)]
    if name is None and len(names) == 1:
        return names[0]
    if name is None or name not in dims_of:
        raise InputError(
            f"observations.variable: found {name!r}, allowed one of {', '.join(names) or 'none'} in {path}"
        )
    return name


def _mask(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """True where a pixel counts; a mask of one frame holds for all."""
    if mask.shape not in (shape, shape[1:]):
        raise InputError(f"observations.mask: found shape {mask.shape}, allowed {shape} or {shape[1:]}")
    return np.asarray(np.broadcast_to(np.nan_to_num(mask) > 0, shape))


def _from_folder(path: Path) -> tuple[np.ndarray, np.ndarray]:
    rows = read_times(path / TIMES_FILE, growing=False)
    frames = [read_image(path / name) for name, _ in rows]
    sizes = {frame.shape for frame in frames}
    if len(sizes) > 1:
        raise InputError(f"observations.path: {path}: found images of {len(sizes)} sizes, allowed one")
    return np.array([time for _, time in rows]), np.stack(frames)


def read_times(path: Path, growing: bool = True) -> list[tuple[str, float]]:
    """The rows ``file,time`` of a ``times.csv``; of a ``growing`` one without a last line that has no end yet.

    Raises InputError for a missing file, a missing column, or a time that is not a number.
    """
    if not path.exists():
        raise InputError(f"observations.path: {path.parent}: found no {TIMES_FILE}, allowed one with columns file,time")
    text = path.read_text(encoding="utf-8-sig")
    lines = text.splitlines()
    whole = lines[:-1] if growing and not text.endswith("\n") else lines
    reader = csv.DictReader(whole)
    if not {"file", "time"} <= set(reader.fieldnames or ()):
        raise InputError(f"{path}:1: found columns {', '.join(reader.fieldnames or ()) or 'none'}, allowed file,time")
    rows = []
    for number, row in enumerate(reader, start=2):
        try:
            rows.append((str(row["file"]).strip(), float(row["time"])))
        except (TypeError, ValueError):
            raise InputError(f"{path}:{number}: time: found {row['time']!r}, allowed a number") from None
    if not rows:
        raise InputError(f"{path}: found no frame, allowed at least one row")
    return rows


def read_image(path: Path) -> np.ndarray:
    """Grey values (y, x), or (frame, y, x) of a TIFF stack, float64; NaN and fully transparent pixels are not seen.

    Raises InputError for a missing file, pages of several sizes, or a coloured image.
    """
    if not path.exists():
        raise InputError(f"observations.path: found no file {path}, allowed those that {TIMES_FILE} names")
    return _grey((reader_of(path) or READERS["picture"]).stored(path), path)


def _grey(stored: StoredArray, path: Path) -> np.ndarray:
    """Grey values, float64, of an array that may be a picture with channels."""
    values = stored.values.astype(np.float64)
    if "channel" not in stored.dims:
        return values
    channels = values.shape[-1]
    colours = values[..., :3] if channels > 2 else values[..., :1]
    if np.ptp(colours, axis=-1).max() > 0:
        raise InputError(f"observations.path: {path}: found colours, allowed grey images")
    grey = colours[..., 0]
    return np.where(values[..., -1] > 0, grey, np.nan) if channels in (2, 4) else grey
