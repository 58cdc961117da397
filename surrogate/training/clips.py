"""Clips for the paper's network: frames equally spaced in scaled age, as images in about [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from solvers.errors import InputError
from surrogate.processes import learned_process
from surrogate.training.data import TrajectorySet


@dataclass(frozen=True)
class ClipSet:
    """Trajectories of equally spaced frames, fields (trajectory, frame, y, x) float16, composition scaled to [-1, 1] or
    phi.

    ``start_age`` and ``spacing`` are scaled ages of the first frame and from each to the next; a ``lean`` of 1 draws
    starts of clips evenly, more leans to early ones, which change most, as ``share ** lean``.
    """

    process: str
    fields: np.ndarray
    start_age: float
    spacing: float
    lean: float = 1.0

    def sample(self, rng: np.random.Generator, count: int, length: int) -> torch.Tensor:
        """Random clips (count, length, y, x) float32, each from its own trajectory and age, each turned and shifted its
        own way.

        All symmetries of the square, all shifts of the periodic box and exchange of phases that are alike; ``rng`` is
        the only source of chance.

        Raises:
            InputError: for a length that no trajectory has.
        """
        found = self.fields.shape[1]
        if not 1 <= length <= found:
            raise InputError(f"clips of {length} frames: trajectories hold {found} frames {self.spacing:g} apart")
        rows = rng.integers(len(self.fields), size=count)
        starts = (rng.random(count) ** self.lean * (found - length + 1)).astype(np.int64)
        drawn = [_moved(rng, self.fields[r, s : s + length]) for r, s in zip(rows, starts, strict=True)]
        known = learned_process(self.process)
        images = known.to_image(torch.from_numpy(np.stack(drawn)).float())
        if known.swaps_phases:
            swapped = torch.from_numpy(rng.integers(2, size=count).astype(bool))
            images = torch.where(swapped[:, None, None, None], 1.0 - images, images)
        return images

    def opening(self, length: int) -> torch.Tensor:
        """The first frames of every trajectory, as they are: (trajectory, up to length, y, x) float32."""
        return learned_process(self.process).to_image(torch.from_numpy(self.fields[:, :length]).float())


def _moved(rng: np.random.Generator, clip: np.ndarray) -> np.ndarray:
    """A clip (frame, y, x) under a random symmetry of its periodic box."""
    square = clip.shape[-1] == clip.shape[-2]
    # A quarter turn would change the shape of a box that is not square.
    turned = np.rot90(clip, int(rng.integers(4)) if square else 2 * int(rng.integers(2)), (-2, -1))
    turned = turned[..., ::-1] if rng.integers(2) else turned
    return np.roll(turned, tuple(int(rng.integers(n)) for n in turned.shape[-2:]), (-2, -1))


def equally_spaced(data: TrajectorySet, start_age: float, spacing: float, lean: float = 1.0) -> ClipSet:
    """The frames of ``data`` at ``start_age``, ``start_age + spacing`` and so on, as far as they are stored.

    Frames are taken, never interpolated: between two frames of a vanishing domain lies no average of them.

    Raises:
        InputError: for a spacing that is not positive, or ages of which fewer than two are stored.
    """
    if not spacing > 0.0:
        raise InputError(f"spacing: a positive scaled age, but found {spacing:g}")
    ages = data.ages
    wanted = start_age + spacing * np.arange(int(max(0.0, ages[-1] - start_age) / spacing + 1.01))
    nearest = np.abs(ages[None, :] - wanted[:, None]).argmin(1)
    missing = np.abs(ages[nearest] - wanted) > 1e-3 * spacing
    count = int(missing.argmax()) if missing.any() else len(wanted)
    if count < 2:
        raise InputError(
            f"start_age {start_age:g}, spacing {spacing:g}: {count} of such ages stored, at least two expected; "
            f"the data begin at {ages[0]:g}, {ages[1] - ages[0]:g} apart, and end at {ages[-1]:g}"
        )
    return ClipSet(data.process, data.fields[:, nearest[:count]], start_age, spacing, lean)


def split(clips: ClipSet, share: float, seed: int) -> tuple[ClipSet, ClipSet]:
    """Whole trajectories for training and, a ``share`` in (0, 1) of at least one, held out; InputError for too few of
    them."""
    total = len(clips.fields)
    held = max(1, round(share * total))
    if not 0.0 < share < 1.0 or held >= total:
        raise InputError(f"held_out: a share in (0, 1) that leaves some of {total} trajectories, but found {share:g}")
    order = np.random.default_rng(seed).permutation(total)
    chosen, rest = np.sort(order[:held]), np.sort(order[held:])
    return replace(clips, fields=clips.fields[rest]), replace(clips, fields=clips.fields[chosen])
