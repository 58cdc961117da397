"""From frame to frame with a jump network: long steps on a schedule of its own, and any times between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch

#: Cells that go through a network together: beyond it its activations leave the cache.
CELLS_TOGETHER = 64 * 64 * 32


@dataclass(frozen=True)
class StepSchedule:
    """Step lengths by scaled age, as structures slow down: ``lengths[i]`` from ``ages[i]`` on, the first 0."""

    ages: tuple[float, ...]
    lengths: tuple[float, ...]

    def at(self, age: np.ndarray) -> np.ndarray:
        """Step length (batch,) at scaled ages (batch,)."""
        index = np.searchsorted(np.asarray(self.ages), age, side="right") - 1
        return np.asarray(self.lengths)[np.maximum(index, 0)]


@dataclass(frozen=True)
class Reached:
    """Frames ``fields`` (m, y, x), each of one sample at one of its row of requested ages; indices (m,) each.

    ``energies`` (m,) are known where a guard has looked at the frames, else NaN.
    """

    samples: np.ndarray
    times: np.ndarray
    fields: torch.Tensor
    energies: np.ndarray


class Stepper(Protocol):
    """A network that steps, see :class:`surrogate.networks.jump.JumpNet`."""

    def features(self, field: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
        """What it reads off fields (batch, y, x) and groups (batch, group)."""

    def changes(self, features: torch.Tensor, owners: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """(frame, y, x) changes of the samples ``owners`` (frame,) after ``lengths`` (frame,)."""


class Guard(Protocol):
    """Looks at all frames of a step, and may replace them; ``replaced`` (batch,) counts the steps in which it did."""

    replaced: np.ndarray

    def __call__(
        self,
        samples: np.ndarray,
        before: torch.Tensor,
        owners: np.ndarray,
        lengths: np.ndarray,
        frames: torch.Tensor,
    ) -> tuple[torch.Tensor, np.ndarray]:
        """The frames (m, y, x) to go on with, after a step that ``samples`` (k,) of the batch make from ``before`` (k,
        y, x), and their free energies (m,), NaN where it did not compute them.

        Each frame has the position of its sample in ``samples`` in ``owners`` (m,), and its scaled age from there in
        ``lengths`` (m,).
        """


@torch.inference_mode()
def jump_rollout(
    net: Stepper,
    fields: torch.Tensor,
    start: np.ndarray,
    ages: np.ndarray,
    groups: torch.Tensor,
    schedule: StepSchedule,
    guard: Guard | None = None,
) -> Iterator[Reached]:
    """Yields every sample's frame at every one of its ages, from network fields (batch, y, x) at the ages ``start``
    (batch,).

    Steps depend on where a sample starts, not on the ages asked for: what lies between two steps is an increment from
    the earlier one. So an answer does not change with the times that are asked for beside it. ``ages`` (batch, time)
    are non-decreasing, none below ``start``; ``groups`` (batch, group) are network inputs.
    """
    size = max(1, CELLS_TOGETHER // int(np.prod(fields.shape[1:])))
    for low in range(0, len(fields), size):
        part = slice(low, low + size)
        for reached in _rollout(net, fields[part], start[part], ages[part], groups[part], schedule, guard, low):
            yield replace(reached, samples=reached.samples + low)


def _rollout(
    net: Stepper,
    fields: torch.Tensor,
    start: np.ndarray,
    ages: np.ndarray,
    groups: torch.Tensor,
    schedule: StepSchedule,
    guard: Guard | None,
    offset: int,
) -> Iterator[Reached]:
    active, age = np.arange(len(fields)), start.astype(np.float64).copy()
    at_start = ages <= age[:, None]
    if at_start.any():
        samples, times = np.nonzero(at_start)
        yield Reached(samples, times, fields[torch.from_numpy(samples)], np.full(len(samples), np.nan))
    while True:
        going = age < ages[active, -1]
        if not going.any():
            return
        if not going.all():
            keep = torch.from_numpy(np.flatnonzero(going))
            active, age, fields, groups = active[going], age[going], fields[keep], groups[keep]
        length = schedule.at(age)
        features = net.features(fields, groups)
        wanted = (ages[active] > age[:, None]) & (ages[active] <= (age + length)[:, None])
        rows, times = np.nonzero(wanted)
        lengths = ages[active[rows], times] - age[rows]
        onward = np.flatnonzero(age + length < ages[active, -1])
        owners = np.concatenate([rows, onward])
        steps = np.concatenate([lengths, length[onward]])
        frames = _advanced(net, fields, features, owners, torch.from_numpy(steps).to(fields))
        energies = np.full(len(owners), np.nan)
        if guard is not None:
            frames, energies = guard(active + offset, fields, owners, steps, frames)
        if len(rows):
            yield Reached(active[rows], times, frames[: len(rows)], energies[: len(rows)])
        fields = fields.clone()
        fields[torch.from_numpy(onward)] = frames[len(rows) :]
        age = age + length


def _advanced(
    net: Stepper, fields: torch.Tensor, features: torch.Tensor, owners: np.ndarray, steps: torch.Tensor
) -> torch.Tensor:
    """(m, y, x): the frames of ``owners`` (m,) after ``steps`` (m,)."""
    size = max(1, 2 * CELLS_TOGETHER // int(np.prod(fields.shape[1:])))
    parts = []
    for low in range(0, len(owners), size):
        index = torch.from_numpy(owners[low : low + size])
        parts.append(net.changes(features, index, steps[low : low + size]).add_(fields[index]))
    return torch.cat(parts) if parts else fields[:0]
