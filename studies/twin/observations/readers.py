"""Frames from files: Zarr, NetCDF, npy, a TIFF stack, a folder of TIFF or PNG images with ``times.csv``."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from solvers.errors import InputError
from studies.twin.config import Observations
from studies.twin.observations.frames import ObservedFrames, make_frames

IMAGES = (".png", ".tif", ".tiff")
TIMES_FILE = "times.csv"


def read_frames(wanted: Observations) -> ObservedFrames:
    """The frames that the ``observations`` block names, in the order of their times.

    Raises:
        InputError: for files that are not there, damaged, of another kind, or without times.
    """
    path = Path(wanted.path)
    try:
        times, grey = _read(path, wanted)
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001 readers of image files raise whatever they like
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"observations.path: {path}: cannot be read: {reason}") from None
    frames = make_frames(times, grey, str(path))
    if wanted.frames is None:
        return frames
    return ObservedFrames(frames.times[: wanted.frames], frames.grey[: wanted.frames])


def _read(path: Path, wanted: Observations) -> tuple[np.ndarray, np.ndarray]:
    if path.suffix == ".zarr" or (path.is_dir() and (path / "zarr.json").exists()):
        return _from_dataset(path, wanted, "zarr")
    if path.is_dir():
        return _from_folder(path)
    suffix = path.suffix.lower()
    if suffix in (".nc", ".netcdf", ".h5"):
        return _from_dataset(path, wanted, "h5netcdf")
    if suffix == ".npy":
        grey = np.load(path, allow_pickle=False)
    elif suffix in (".tif", ".tiff"):
        grey = read_image(path)
    else:
        raise InputError(
            f"observations.path: {path}: found {suffix or 'no suffix'}, allowed .zarr, .nc, .npy, .tif or a folder"
        )
    grey = grey[None] if grey.ndim == 2 else grey
    return _given_times(path, wanted, len(grey)), grey


def _given_times(path: Path, wanted: Observations, count: int) -> np.ndarray:
    """Times from the YAML, or from a ``times.csv`` beside the file."""
    if wanted.times is not None:
        if len(wanted.times) != count:
            raise InputError(f"observations.times: found {len(wanted.times)}, allowed {count}, one a frame of {path}")
        return np.asarray(wanted.times, dtype=np.float64)
    if wanted.interval is not None:
        return wanted.interval * np.arange(count)
    raise InputError(f"observations.times: found no times for {path}, allowed `times: [...]` or `interval: 1.0`")


def _from_dataset(path: Path, wanted: Observations, engine: str) -> tuple[np.ndarray, np.ndarray]:
    import xarray as xr

    options: dict[str, Any] = {"consolidated": False} if engine == "zarr" else {}
    with xr.open_dataset(path, engine=engine, **options) as dataset:  # type: ignore[arg-type]
        name = _variable(dataset, wanted.variable, path)
        array = dataset[name]
        missing = [d for d in ("time", "y", "x") if d not in array.dims]
        extra = [d for d in array.dims if d not in ("time", "y", "x") and array.sizes[d] != 1]
        if missing or extra:
            raise InputError(
                f"observations.path: {path}: found dims {', '.join(map(str, array.dims))} of {name}, allowed time, y, x"
            )
        array = array.squeeze([d for d in array.dims if d not in ("time", "y", "x")], drop=True)
        grey = array.transpose("time", "y", "x").to_numpy().astype(np.float64)
        if wanted.mask is not None:
            grey = np.where(_mask(dataset, wanted.mask, path, grey.shape), grey, np.nan)
        if "time" not in array.coords:
            return _given_times(path, wanted, len(grey)), grey
        times = np.asarray(array["time"].to_numpy())
    if times.dtype.kind not in "fiu":
        raise InputError(f"observations.path: {path}: found times of type {times.dtype}, allowed numbers")
    return times.astype(np.float64), grey


def _variable(dataset: Any, name: str | None, path: Path) -> str:
    names = [str(n) for n in dataset.data_vars if {"time", "y", "x"} <= set(dataset[n].dims)]
    if name is None and len(names) == 1:
        return names[0]
    if name is None or name not in dataset.data_vars:
        raise InputError(
            f"observations.variable: found {name!r}, allowed one of {', '.join(names) or 'none'} in {path}"
        )
    return name


def _mask(dataset: Any, name: str, path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """True where a pixel counts; a mask of one frame holds for all."""
    if name not in dataset.data_vars:
        raise InputError(f"observations.mask: found {name!r}, allowed a variable of {path}")
    mask = dataset[name].to_numpy()
    if mask.shape not in (shape, shape[1:]):
        raise InputError(f"observations.mask: found shape {mask.shape}, allowed {shape} or {shape[1:]}")
    return np.asarray(np.broadcast_to(np.nan_to_num(mask) > 0, shape))


def _from_folder(path: Path) -> tuple[np.ndarray, np.ndarray]:
    rows = read_times(path / TIMES_FILE)
    frames = [read_image(path / name) for name, _ in rows]
    sizes = {frame.shape for frame in frames}
    if len(sizes) > 1:
        raise InputError(f"observations.path: {path}: found images of {len(sizes)} sizes, allowed one")
    return np.array([time for _, time in rows]), np.stack(frames)


def read_times(path: Path) -> list[tuple[str, float]]:
    """The rows ``file,time`` of a ``times.csv``; a last line without its end is still being written and is left out.

    Raises:
        InputError: for a missing file, a missing column, or a time that is not a number.
    """
    if not path.exists():
        raise InputError(f"observations.path: {path.parent}: found no {TIMES_FILE}, allowed one with columns file,time")
    text = path.read_text(encoding="utf-8-sig")
    lines = text.splitlines()
    whole = lines if text.endswith("\n") else lines[:-1]
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

    Raises:
        InputError: for a missing or damaged file, or a coloured image.
    """
    from PIL import Image, ImageSequence

    if not path.exists():
        raise InputError(f"observations.path: found no file {path}, allowed those that {TIMES_FILE} names")
    with Image.open(path) as image:
        frames = [_grey(np.asarray(frame), path) for frame in ImageSequence.Iterator(image)]
    if len({frame.shape for frame in frames}) > 1:
        raise InputError(f"observations.path: {path}: found pages of several sizes, allowed one")
    return frames[0] if len(frames) == 1 else np.stack(frames)


def _grey(values: np.ndarray, path: Path) -> np.ndarray:
    if values.ndim == 2:
        return values.astype(np.float64)
    if values.shape[2] in (2, 4):
        grey, alpha = _grey(values[..., :-1] if values.shape[2] == 4 else values[..., 0], path), values[..., -1]
        return np.where(alpha > 0, grey, np.nan)
    channels = values[..., :3].astype(np.float64)
    if np.ptp(channels, axis=2).max() > 0:
        raise InputError(f"observations.path: {path}: found colours, allowed grey images")
    return channels[..., 0]
