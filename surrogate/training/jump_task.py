"""What a jump network learns: the change of a frame after several lengths of time at once, and its own rollouts."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from solvers.errors import InputError
from surrogate.networks.jump import JumpNet, JumpSettings
from surrogate.processes import learned_process
from surrogate.rollout.stepping import StepSchedule, jump_rollout
from surrogate.training.data import TrajectorySet, load_trajectories
from surrogate.training.loop import Trainable

if TYPE_CHECKING:
    from surrogate.training.blocks import JumpNetwork, RecipeBlocks

Batch = tuple[torch.Tensor, torch.Tensor, list[torch.Tensor], list[torch.Tensor], torch.Tensor]

#: Share of the samples that begin within a step of the first frame: there most happens, and every rollout starts there.
YOUNG = 0.15


@dataclass(frozen=True)
class JumpTask:
    """Batches and losses for a :class:`JumpNet`.

    Attributes:
        schedule: step lengths the model will take.
        targets: step lengths that each sample is asked for, the longest included.
        noise: standard deviation of the noise on the input: a rollout sees its own errors.
        unroll: steps of a rollout at the end of the curriculum.
        curriculum: whether rollouts grow to that length, over the second half of the training; or have it throughout.
        bfloat16: multiply matrices in bfloat16; weights, shortcuts and the loss keep float32.
        validation_start: scaled age from which validation rollouts start.
    """

    train: TrajectorySet
    validation: TrajectorySet
    schedule: StepSchedule
    batch_size: int = 16
    targets: int = 3
    noise: float = 0.01
    unroll: int = 3
    curriculum: bool = True
    bfloat16: bool = False
    validation_start: float = 20.0

    def __post_init__(self) -> None:
        if not len(self._validation_starts()[0]):
            raise InputError(
                f"training.validation_start: found {self.validation_start:g}, but no validation trajectory "
                f"has a usable frame from there on with {self._leads()[-1]:g} more of scaled age after it"
            )

    def depth(self, progress: float) -> int:
        """Steps of a rollout in training: one at first, then two, then ``unroll``."""
        if not self.curriculum:
            return self.unroll
        if progress < 0.5:
            return 1
        return min(2 if progress < 0.75 else self.unroll, self.unroll)

    def batch(self, rng: np.random.Generator, progress: float = 0.0) -> Batch:
        """Start fields (b, y, x), groups (b, g), then for each step of the rollout the lengths (b, k) and the true
        fields after them (b, k, y, x), the last of which is the next step's start; and weights (b,)."""
        data, depth = self.train, self.depth(progress)
        # For each stored age, the position of the last one within a step of it.
        reach = (data.ages + self.schedule.at(data.ages)) * (1 + 1e-6)
        last = np.searchsorted(data.ages, reach, side="right") - 1
        stages = self._stages()
        chains: list[list[int]] = []
        rows: list[int] = []
        while len(rows) < self.batch_size:
            row = int(rng.integers(len(data.fields)))
            stage = 0 if rng.random() < YOUNG else int(rng.integers(1, len(stages)))
            index = int(rng.integers(*stages[stage]))
            chain = [index]
            while len(chain) <= depth and last[chain[-1]] > chain[-1]:
                chain.append(int(last[chain[-1]]))
            if data.usable[row, index] and len(chain) > depth:
                rows.append(row)
                chains.append(chain)
        known = learned_process(data.process)
        turn = _augmentation(rng, known.swaps_phases)
        which = np.array(rows)
        nodes = np.array(chains)
        start = turn(data.fields[which, nodes[:, 0]])
        lengths, truths = [], []
        for step in range(depth):
            low, high = nodes[:, step], nodes[:, step + 1]
            between = [np.sort(rng.integers(a + 1, b + 1, self.targets - 1)) for a, b in zip(low, high, strict=True)]
            asked = np.concatenate([np.array(between, dtype=np.int64), high[:, None]], axis=1)
            lengths.append(torch.from_numpy((data.ages[asked] - data.ages[low][:, None]).astype(np.float32)))
            truths.append(turn(data.fields[which[:, None], asked]))
        groups = data.inputs()[torch.from_numpy(which)].clone()
        if known.swaps_phases:
            groups[:, known.groups.index("composition")] = start.mean((1, 2))
        moved = (truths[0][:, -1] - start).square().mean((1, 2))
        return start, groups, lengths, truths, 1.0 / (moved + 1e-3).sqrt()

    def _stages(self) -> list[tuple[int, int]]:
        """Ranges of stored ages to start from: within a step of the first, then those of each step length.

        Rollouts make about as many steps of one length as of another, but more frames are stored at late ages.
        """
        ages, count = self.train.ages, len(self.train.ages)
        bounds = np.searchsorted(ages, [*self.schedule.ages, np.inf]).clip(max=count - 1)
        stages = [(int(a), int(b)) for a, b in itertools.pairwise(bounds) if a < b]
        return [(0, int(np.searchsorted(ages, ages[0] + self.schedule.lengths[0]))), *stages]

    def loss(self, net: JumpNet, batch: Batch) -> torch.Tensor:
        """Mean square error over the rollout, samples weighted against the size of what happens in them."""
        state, groups, lengths, truths, weights = batch
        if self.noise:
            disturbance = self.noise * torch.randn_like(state)
            state = state + disturbance - disturbance.mean((1, 2), keepdim=True)
        total = state.new_zeros(())
        for asked, truth in zip(lengths, truths, strict=True):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bfloat16):
                frames = net(state, groups, asked)
            total = total + ((frames - truth).square().mean((1, 2, 3)) * weights).mean()
            state = frames[:, -1]
        return total / len(lengths)

    @torch.inference_mode()
    def validate(self, net: JumpNet) -> dict[str, float]:
        """Root mean square errors over all validation rollouts at growing leads; ``score`` is what training watches."""
        data = self.validation
        rows, first = self._validation_starts()
        start = data.ages[first]
        fields = torch.from_numpy(np.stack([data.fields[r, i] for r, i in zip(rows, first, strict=True)])).float()
        groups = data.inputs()[torch.from_numpy(rows)]
        leads = self._leads()
        errors = np.zeros((len(rows), len(leads)))
        targets = [np.searchsorted(data.ages, s + leads, side="right") - 1 for s in start]
        ages = np.stack([data.ages[t] for t in targets])
        for reached in jump_rollout(net, fields, start, ages, groups, self.schedule):
            for sample, time, field in zip(reached.samples, reached.times, reached.fields, strict=True):
                truth = torch.from_numpy(data.fields[rows[sample], targets[sample][time]]).float()
                errors[sample, time] = (field - truth).square().mean().item()
        mean = np.sqrt(errors.mean(0))
        found = {f"rmse+{lead:g}": float(e) for lead, e in zip(leads, mean, strict=True)}
        return {"score": float(mean.mean()), **found}

    def _validation_starts(self) -> tuple[np.ndarray, np.ndarray]:
        """Trajectories (m,) and the positions (m,) at which their rollouts start."""
        data = self.validation
        late = data.ages >= self.validation_start * (1 - 1e-6)
        fit = data.usable & late & (data.ages + self._leads()[-1] <= data.ages[-1] * (1 + 1e-6))
        rows = np.flatnonzero(fit.any(1))
        return rows, fit[rows].argmax(1)

    def _leads(self) -> np.ndarray:
        """Scaled ages ahead at which validation looks: 1, 2, 5 and 10 times the first step, or a quarter of the longest
        where that is more; as far as the data go."""
        room = self.validation.ages[-1] * (1 + 1e-6) - self.validation_start
        leads = max(self.schedule.lengths[0], max(self.schedule.lengths) / 4.0) * np.array([1, 2, 5, 10])
        return leads[: max(1, int((leads <= room).sum()))]


def _augmentation(rng: np.random.Generator, odd: bool) -> Callable[[np.ndarray], torch.Tensor]:
    """One of the symmetries of the square, a shift, and where the process is ``odd`` a sign, for a whole batch.

    A network whose patch is four cells is equivariant under shifts by four, so less than four is enough.
    """
    turns, flip, sign = int(rng.integers(4)), bool(rng.integers(2)), -1.0 if odd and rng.integers(2) else 1.0
    shift = tuple(int(s) for s in rng.integers(0, 4, 2))

    def turn(fields: np.ndarray) -> torch.Tensor:
        moved = np.roll(np.rot90(fields, turns, (-2, -1)), shift, (-2, -1))
        moved = moved[..., ::-1] if flip else moved
        return torch.from_numpy(np.ascontiguousarray(moved)).float() * sign

    return turn


def jump_trainable(block: JumpNetwork, recipe: RecipeBlocks, data: TrajectorySet) -> Trainable:
    chosen, known = recipe.training, learned_process(recipe.process)
    schedule = StepSchedule(tuple(recipe.schedule.ages), tuple(recipe.schedule.lengths))
    settings = JumpSettings(
        groups=len(known.groups),
        reach=max(schedule.lengths),
        conserve=known.conserves_mean,
        **block.model_dump(exclude={"kind"}),
    )
    validation = load_trajectories(recipe.data.validation, recipe.process)
    if data.digest == validation.digest:
        raise InputError("data.validation: the same trajectories as data.train")
    task = JumpTask(
        data,
        validation,
        schedule,
        batch_size=chosen.batch,
        targets=chosen.targets,
        noise=chosen.noise,
        unroll=chosen.unroll,
        curriculum=chosen.curriculum,
        bfloat16=chosen.precision == "bfloat16",
        validation_start=chosen.validation_start,
    )
    about = {"schedule": asdict(schedule), "validation_sha256": validation.digest}
    return Trainable(JumpNet(settings), task, asdict(settings), about)
