"""The truth of a case: the solver at a much tighter tolerance, computed once and kept."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch

from solvers import Frames, simulate_frames
from solvers.errors import InputError
from surrogate.evaluation.frontier.cases import FRAMES, Case
from surrogate.evaluation.frontier.machine import digest
from sweeps.files import replacing

logger = logging.getLogger("phasetwin")


def reference_path(case: Case, folder: Path) -> Path:
    """The file of a case's truth."""
    return folder / f"{case.name}-{digest(case.as_dict())}.npz"


def reference(case: Case, folder: Path) -> Frames:
    """The frames of a case's trajectories, (trajectory, time, y, x) float32, energies float64.

    They are read from ``folder``, or computed and written there; a damaged file is computed again.

    Raises:
        InputError: where the solver fails.
    """
    path = reference_path(case, folder)
    frames = _read(path, case) if path.exists() else None
    if frames is not None:
        return frames
    if path.exists():
        logger.info(f"{path}: damaged, computed again")
    logger.info(f"{case.name}: the truth, by the solver at a tolerance of {case.reference:g}")
    started = time.perf_counter()
    with torch.inference_mode():
        found = simulate_frames(
            case.problem(), case.initial(), case.times(), tolerance=case.reference, dtype=torch.float64
        )
    if not bool(torch.isfinite(found.field).all()):
        raise InputError(f"{case.name}: the solver failed at a tolerance of {case.reference:g}; report this")
    logger.info(f"{case.name}: the truth took {time.perf_counter() - started:.1f} s")
    frames = Frames(found.field.float(), found.free_energy.double(), found.grain_id)
    _write(path, frames)
    return frames


def _write(path: Path, frames: Frames) -> None:
    arrays: dict[str, Any] = {"field": frames.field.numpy(), "free_energy": frames.free_energy.numpy()}
    if frames.grain_id is not None:
        arrays["grain_id"] = frames.grain_id.to(torch.int32).numpy()
    with replacing(path, shared=True) as file:
        np.savez(file, **arrays)


def _read(path: Path, case: Case) -> Frames | None:
    """None for a file that cannot be read or holds something else."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: torch.from_numpy(file[name]) for name in file.files}
        frames = Frames(arrays["field"], arrays["free_energy"], arrays.get("grain_id"))
    except (OSError, EOFError, ValueError, KeyError, TypeError, BadZipFile):
        return None
    whole = (case.trajectories, FRAMES, case.cells, case.cells)
    return frames if tuple(frames.field.shape) == whole and tuple(frames.free_energy.shape) == whole[:2] else None
