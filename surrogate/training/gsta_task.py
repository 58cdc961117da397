"""What the paper's network learns: the next ten frames of a clip; near the end, also the ten after its own."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from surrogate.networks.gsta import GstaNet, GstaSettings, frames_after
from surrogate.training.clips import ClipSet, equally_spaced, split
from surrogate.training.data import TrajectorySet
from surrogate.training.loop import Trainable

if TYPE_CHECKING:
    from surrogate.training.blocks import GstaNetwork, RecipeBlocks

#: Frames in, frames out, and the weight of the second ten.
Batch = tuple[torch.Tensor, torch.Tensor, float]
#: Forecast frames at which validation looks.
LEADS = (1, 10, 20, 50, 90)
# Share of the training after which a clip's second ten frames count too, and until which their weight grows to one:
# at once, it makes the loss leap.
_SECOND = (2.0 / 3.0, 5.0 / 6.0)


@dataclass(frozen=True)
class GstaTask:
    """Batches and losses for a :class:`~surrogate.networks.gsta.GstaNet`; made by :func:`gsta_task`.

    Attributes:
        frames: frames in, and frames out.
        noise: standard deviation of the noise on what goes in, in image units: a forecast sees its own errors.
        bfloat16: whether training multiplies in bfloat16, where the processor can; weights and sums stay float32.
    """

    train: ClipSet
    validation: ClipSet
    frames: int = 10
    batch_size: int = 16
    noise: float = 0.01
    bfloat16: bool = False

    def second_weight(self, progress: float) -> float:
        """Weight of the second ten frames, 0 to 1, by a share of the training; 0 where clips are too short."""
        if self.train.fields.shape[1] < 3 * self.frames:
            return 0.0
        begin, end = _SECOND
        return min(1.0, max(0.0, (progress - begin) / (end - begin)))

    def batch(self, rng: np.random.Generator, progress: float = 0.0) -> Batch:
        """Inputs (b, frames, y, x), targets (b, frames or 2 frames, y, x), and the weight of the latter half."""
        weight = self.second_weight(progress)
        clips = self.train.sample(rng, self.batch_size, (3 if weight else 2) * self.frames)
        start, targets = clips[:, : self.frames], clips[:, self.frames :]
        if self.noise:
            disturbance = rng.standard_normal(start.shape, dtype=np.float32)
            start = start + self.noise * torch.from_numpy(disturbance)
        return start, targets, weight

    def loss(self, net: GstaNet, batch: Batch) -> torch.Tensor:
        """Mean square error, scalar; that of the second ten frames flows back through the first."""
        state, targets, weight = batch
        total, weights = state.new_zeros(()), 0.0
        for truth, share in zip(targets.split(self.frames, 1), (1.0, weight), strict=False):
            with torch.autocast(state.device.type, torch.bfloat16, enabled=self.bfloat16):
                state = net(state).float()
            total = total + share * (state - truth).square().mean()
            weights += share
        return total / weights

    @torch.inference_mode()
    def validate(self, net: GstaNet) -> dict[str, float]:
        """RMSE of images, mean over the held-out trajectories, at the forecast frames of ``LEADS`` that they reach.

        ``score``, their mean, is what training lowers; ``persistence`` is that of no change at the last of them.
        """
        known = self.validation.opening(self.frames + LEADS[-1])
        later = known[:, self.frames :]
        leads = [lead for lead in LEADS if lead <= later.shape[1]]
        found = {}
        forecast = frames_after(net, known[:, : self.frames])
        for lead, image in enumerate(forecast, start=1):
            if lead in leads:
                found[f"rmse_{lead}"] = _rmse(image, later[:, lead - 1])
            if lead >= leads[-1]:
                break
        last = _rmse(known[:, self.frames - 1], later[:, leads[-1] - 1])
        return {"score": float(np.mean(list(found.values()))), **found, "persistence": last}


def gsta_task(
    data: TrajectorySet,
    start_age: float,
    spacing: float,
    *,
    held_out: float = 0.1,
    seed: int = 0,
    batch_size: int = 16,
    noise: float = 0.01,
    bfloat16: bool = False,
    lean: float = 1.0,
) -> GstaTask:
    """The task on clips of ``data``, a share ``held_out`` of its trajectories, drawn by ``seed``, for validation.

    The other arguments are those of :class:`GstaTask` and of :class:`~surrogate.training.clips.ClipSet`, whose ages are
    those of the evaluation.

    Raises:
        InputError: for ages that are not stored, fewer than ``2 frames`` of them, or a share that leaves none.
    """
    clips = equally_spaced(data, start_age, spacing, lean)
    train, validation = split(clips, held_out, seed)
    task = GstaTask(train, validation, batch_size=batch_size, noise=noise, bfloat16=bfloat16)
    train.sample(np.random.default_rng(0), 1, 2 * task.frames)  # so that short data fail here, not in the first batch
    return task


def _rmse(found: torch.Tensor, truth: torch.Tensor) -> float:
    """Mean over images (b, y, x) of the root mean square error of each."""
    return float((found - truth).square().mean((1, 2)).sqrt().mean())


def gsta_trainable(block: GstaNetwork, recipe: RecipeBlocks, data: TrajectorySet) -> Trainable:
    chosen, clips = recipe.training, recipe.clips
    assert clips is not None
    settings = GstaSettings(**block.model_dump(exclude={"kind"}))
    task = gsta_task(
        data,
        clips.start_age,
        clips.spacing,
        seed=chosen.seed,
        batch_size=chosen.batch,
        noise=chosen.noise,
        bfloat16=chosen.precision == "bfloat16",
        lean=clips.lean,
    )
    return Trainable(GstaNet(settings), task, asdict(settings), {"clips": clips.model_dump()})
