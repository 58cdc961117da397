"""The solver's trajectories of a protocol: computed once, one file for each, so that an interrupted run resumes."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch

from solvers.errors import InputError
from solvers.frames import Frames
from solvers.simulation import simulate_frames
from surrogate.evaluation.protocol import Protocol
from sweeps.files import replacing

logger = logging.getLogger("phasetwin")

CACHE = Path("runs/surrogate/evaluation")


@dataclass(frozen=True)
class Trajectories:
    """Some reference trajectories.

    Attributes:
        frames: as the solver returned them, at all of the protocol's times; field float32, energies float64.
        wall_s: (n,) seconds that the solver took for each, from time 0 to the last frame, and on how many threads.
        threads: (n,).
    """

    frames: Frames
    wall_s: np.ndarray
    threads: np.ndarray


class References:
    """The reference trajectories of a protocol in a folder, ``FOLDER/KEY/NN.npz``.

    Args:
        protocol: which.
        folder: where files are kept; a trajectory is computed when it is first asked for.
    """

    def __init__(self, protocol: Protocol, folder: Path | str = CACHE) -> None:
        self.protocol = protocol
        self.folder = Path(folder) / protocol.key

    def path(self, trajectory: int) -> Path:
        """The file of a trajectory."""
        return self.folder / f"{trajectory:02d}.npz"

    def compute(self, trajectories: int) -> None:
        """Makes sure that the first ``trajectories`` are there."""
        for i in range(trajectories):
            if not self.path(i).exists():
                self._compute(i)
                logger.info(
                    f"{self.protocol.name}: reference {i + 1} of {trajectories}, {self._load(i).wall_s[0]:.1f} s"
                )

    def load(self, trajectories: list[int]) -> Trajectories:
        """Some trajectories, computed where they are missing.

        Raises:
            InputError: for a file that cannot be read or holds something else.
        """
        for i in trajectories:
            if not self.path(i).exists():
                self._compute(i)
        parts = [self._load(i) for i in trajectories]
        grain_ids = [part.frames.grain_id for part in parts]
        return Trajectories(
            Frames(
                torch.cat([part.frames.field for part in parts]),
                torch.cat([part.frames.free_energy for part in parts]),
                None if grain_ids[0] is None else torch.cat([g for g in grain_ids if g is not None]),
            ),
            np.concatenate([part.wall_s for part in parts]),
            np.concatenate([part.threads for part in parts]),
        )

    def _compute(self, trajectory: int) -> None:
        protocol = self.protocol
        problem, initial = protocol.problem([trajectory]), protocol.initial([trajectory])
        started = time.perf_counter()
        frames = simulate_frames(problem, initial, protocol.times, tolerance=protocol.tolerance, dtype=torch.float32)
        wall = time.perf_counter() - started
        if not bool(torch.isfinite(frames.field).all()):
            raise InputError(f"{protocol.name}: the solver failed on reference {trajectory}; report this")
        arrays: dict[str, Any] = {"wall_s": wall, "threads": torch.get_num_threads()}
        arrays |= {"field": frames.field[0].numpy(), "free_energy": frames.free_energy[0].double().numpy()}
        if frames.grain_id is not None:
            arrays["grain_id"] = frames.grain_id[0].to(torch.int16).numpy()
        with replacing(self.path(trajectory), shared=True) as file:
            np.savez(file, **arrays)

    def _load(self, trajectory: int) -> Trajectories:
        path, protocol = self.path(trajectory), self.protocol
        try:
            # Opened here, for numpy leaves a file that is no archive open.
            with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except (OSError, EOFError, ValueError, BadZipFile) as error:
            raise InputError(f"{path}: cannot be read ({str(error).splitlines()[0]}); delete it") from error
        expected = (len(protocol.times), *protocol.shape)
        found = arrays["field"].shape if "field" in arrays else None
        if found != expected or not {"free_energy", "wall_s", "threads"} <= set(arrays):
            raise InputError(f"{path}: a field of shape {expected} expected, but found {found}; delete it")
        grains = arrays.get("grain_id")
        return Trajectories(
            Frames(
                torch.from_numpy(arrays["field"])[None],
                torch.from_numpy(arrays["free_energy"])[None],
                None if grains is None else torch.from_numpy(grains.astype(np.int32))[None],
            ),
            np.atleast_1d(arrays["wall_s"]),
            np.atleast_1d(arrays["threads"]),
        )
