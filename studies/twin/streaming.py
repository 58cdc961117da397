"""Whole runs, batch and streaming: update as frames arrive, store the state after every one, resume from it."""

from __future__ import annotations

import logging
import time as clock
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from solvers.errors import InputError
from studies.twin.diagnostics.identifiability import Determined
from studies.twin.diagnostics.model_check import ModelCheck
from studies.twin.forecast import check_engine
from studies.twin.observations.frames import ObservedFrames
from studies.twin.observations.readers import TIMES_FILE, read_frames, read_image, read_times
from studies.twin.quantiles import quantiles
from studies.twin.report import write_report
from studies.twin.store import folder_for, load_state, save_state, write_store
from studies.twin.twin import Forecast, Twin
from sweeps.inputs.yaml_source import located

logger = logging.getLogger("phasetwin")
POLL_SECONDS = 1.0


@dataclass(frozen=True)
class TwinRun:
    """What a run left: its folder and report, and what it found."""

    folder: Path
    page: Path
    check: ModelCheck
    known: list[Determined]
    forecast: Forecast


def run_twin(file: Path, overrides: Sequence[str], watch: Path | None, idle: float | None) -> TwinRun:
    """Assimilate, forecast, store and report what a file says; see :func:`run_batch` and :func:`run_watch`."""
    twin = Twin.from_yaml(file, overrides)
    with located(file, overrides):
        check_engine(twin.config.engine, twin.config.process)
        folder = run_batch(twin) if watch is None else run_watch(twin, watch, idle)
        check, known = twin.check(), twin.identifiability()
        forecast = twin.forecast()
    write_store(twin, folder, check, known, forecast)
    return TwinRun(folder, write_report(twin, check, known, forecast, folder), check, known, forecast)


def run_batch(twin: Twin) -> Path:
    """All frames that the file names; an existing store is continued, a finished one left as it is.

    Raises InputError for frames or a store that do not fit.
    """
    folder = folder_for(twin)
    frames = read_frames(twin.config.observations)
    for note in frames.notes:
        logger.warning("observations.path: %s", note)
    load_state(twin, folder)
    done = 0 if twin.frames is None else len(twin.frames.times)
    if twin.frames is not None and not _begins(frames, twin.frames):
        raise InputError(f"output.path: found a twin of other frames at {folder}, allowed a new path")
    whole = len(frames.times)
    # Estimates after 1, 2, 4, ... all frames record how the posterior narrows.
    for count in sorted({*(2**i for i in range(whole.bit_length())), whole}):
        if count > done:
            twin.assimilate(frames.first(count))
            save_state(twin, folder)
            logger.info(_line(twin))
    logger.info(_box_line(twin))
    return folder


def run_watch(twin: Twin, source: Path, idle: float | None) -> Path:
    """Frames of a folder as they arrive: every row of ``times.csv`` whose file is there, in the order of the rows.

    Ends after ``idle`` seconds without a new frame; None waits until interrupted. Raises InputError for files or a
    store that do not fit.
    """
    if not source.is_dir():
        raise InputError(f"--watch: found no folder {source}, allowed one with images and {TIMES_FILE}")
    folder = folder_for(twin)
    if load_state(twin, folder):
        logger.info(f"continues after {len(twin.frames.times) if twin.frames else 0} frames from {folder}")
    last = clock.monotonic()
    while True:
        arrived = _next(twin, source)
        if arrived is not None:
            before = len(twin.scores)
            twin.update(*arrived)
            save_state(twin, folder)
            for score in twin.scores[before:]:
                logger.info(score.line())
            logger.info(_line(twin))
            last = clock.monotonic()
        elif idle is not None and clock.monotonic() - last > idle:
            if twin.frames is None:
                raise InputError(f"--watch: found no frame in {source} within {idle:g} s")
            logger.info(_box_line(twin))
            return folder
        else:
            clock.sleep(POLL_SECONDS if idle is None else min(POLL_SECONDS, 0.2 * idle + 0.01))


def _next(twin: Twin, source: Path) -> tuple[np.ndarray, float] | None:
    """The first frame that the twin has not seen and that can be read; None if there is none yet."""
    if not (source / TIMES_FILE).exists():
        return None
    seen = set() if twin.frames is None else set(twin.frames.times.tolist())
    limit = twin.config.observations.frames
    if limit is not None and len(seen) >= limit:
        return None
    for name, time in read_times(source / TIMES_FILE):
        if time not in seen and (source / name).exists():
            return _whole_image(source / name), time
    return None


def _whole_image(path: Path) -> np.ndarray:
    """An image that may still be being written: read again until its size stays the same."""
    for _ in range(20):
        size = path.stat().st_size
        try:
            return read_image(path)
        except (OSError, SyntaxError, ValueError):
            clock.sleep(0.1)
            if path.stat().st_size == size and size > 0:
                break
    raise InputError(f"observations.path: {path}: cannot be read, allowed a whole TIFF or PNG image")


def _begins(frames: ObservedFrames, earlier: ObservedFrames) -> bool:
    """Whether frames begin with the earlier ones."""
    start = frames.first(len(earlier.times))
    same = np.array_equal(start.grey, earlier.grey, equal_nan=True)
    return same and np.array_equal(start.times, earlier.times)


def _line(twin: Twin) -> str:
    snapshot = twin.history[-1]
    values = ", ".join(
        "{} {:.4g} ({:.4g} to {:.4g})".format(name, *quantiles(v)[[1, 0, 2]])
        for name, v in snapshot.values.items()
        if not name.startswith("level") and np.ptp(v) > 0
    )
    return f"t = {snapshot.time:g}, {snapshot.frames} frames: {values}, {snapshot.wall_s:.1f} s"


def _box_line(twin: Twin) -> str:
    shape = twin.current()[1].camera.grid.shape
    return f"box of {shape[0]} x {shape[1]} cells: {twin.box()}"
