"""The truth of a case: the solver's trajectories, each in a file of its own, so that an interrupted run resumes."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch

from solvers.errors import InputError
from solvers.frames import Frames
from solvers.simulation import simulate_frames
from surrogate.evaluation.candidates import timed
from surrogate.evaluation.cases import Indices, ReferenceCase
from surrogate.evaluation.statistics import joined
from sweeps.files import replacing

logger = logging.getLogger("phasetwin")

CACHE = Path("runs/surrogate/evaluation")


@dataclass(frozen=True)
class References:
    """The reference trajectories of a case, computed ``together`` so many as one batch: ``NN.npz`` in ``folder``."""

    case: ReferenceCase
    folder: Path
    tolerance: float
    dtype: torch.dtype
    together: int = 1

    def path(self, trajectory: int) -> Path:
        return self.folder / f"{trajectory:02d}.npz"

    def missing(self) -> list[int]:
        """Trajectories that are not there or cannot be read."""
        found = []
        for i in range(self.case.count):
            try:
                self._read(i)
            except InputError:
                if self.path(i).exists():
                    logger.info(f"{self.path(i)}: damaged, computed again")
                found.append(i)
        return found

    def compute(self) -> None:
        """Makes sure that all trajectories are there.

        Raises:
            InputError: where the solver fails.
        """
        missing, size = self.missing(), self.together
        for batch in (missing[low : low + size] for low in range(0, len(missing), size)):
            seconds = self._compute(batch)
            numbers = " to ".join(str(i + 1) for i in dict.fromkeys((batch[0], batch[-1])))
            which = f"reference{'s' * (len(batch) > 1)} {numbers} of {self.case.count}"
            logger.info(f"{self.case.name}: {which}, {seconds:.1f} s")

    def load(self, trajectories: Indices) -> tuple[Frames, np.ndarray]:
        """Frames of some trajectories at all times, field float32, energies float64, and the solver's seconds (n,) for
        each.

        Those that are missing are computed.

        Raises:
            InputError: for a file that cannot be read or holds something else, or where the solver fails.
        """
        for i in trajectories:
            if not self.path(i).exists():
                self._compute([i])
        return joined([self._read(i) for i in trajectories])

    def _compute(self, batch: list[int]) -> float:
        """Computes and writes some trajectories together; returns the seconds that took."""
        case, tolerance = self.case, self.tolerance
        inputs = case.inputs(batch)
        with torch.inference_mode():
            solve = partial(simulate_frames, *inputs, tolerance=tolerance, dtype=self.dtype)
            frames, seconds = timed(solve)
        if not bool(torch.isfinite(frames.field).all()):
            which = f"reference {', '.join(map(str, batch))} at a tolerance of {tolerance:g}"
            raise InputError(f"{case.name}: the solver failed on {which}; report this")
        for row, trajectory in enumerate(batch):
            arrays = {"wall_s": np.array(seconds / len(batch)), "threads": np.array(torch.get_num_threads())}
            arrays |= {"field": frames.field[row].float().numpy()}
            arrays |= {"free_energy": frames.free_energy[row].double().numpy()}
            if frames.grain_id is not None:
                labels = frames.grain_id[row].numpy()
                arrays["grain_id"] = labels.astype(np.int16 if labels.max() < 2**15 else np.int32)
            with replacing(self.path(trajectory), shared=True) as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
        return seconds

    def _read(self, trajectory: int) -> tuple[Frames, np.ndarray]:
        path = self.path(trajectory)
        try:
            # Opened here, for numpy leaves a file that is no archive open.
            with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except (OSError, EOFError, ValueError, BadZipFile) as error:
            raise InputError(f"{path}: cannot be read ({str(error).splitlines()[0]}); delete it") from error
        expected = (len(self.case.times), *self.case.grid.shape)
        found = arrays["field"].shape if "field" in arrays else None
        if found != expected or not {"free_energy", "wall_s"} <= set(arrays):
            raise InputError(f"{path}: a field of shape {expected} expected, but found {found}; delete it")
        labels = arrays.get("grain_id")
        grain_id = None if labels is None else torch.from_numpy(labels.astype(np.int32))[None]
        field, energy = (torch.from_numpy(arrays[name])[None] for name in ("field", "free_energy"))
        return Frames(field, energy, grain_id), np.atleast_1d(arrays["wall_s"])
