"""The training loop: any task, a budget in minutes, and a checkpoint to go on from."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from solvers.errors import InputError
from surrogate.training.checkpoint import Progress, load_state, save_state
from surrogate.training.optimiser import Kind, Optimisers

logger = logging.getLogger("phasetwin")

Tensors = list[torch.Tensor] | tuple[torch.Tensor, ...]


class Task(Protocol):
    """What is learned."""

    def batch(self, rng: np.random.Generator, progress: float) -> Any:
        """A batch, by a share of the training from 0 to 1."""

    def loss(self, net: Any, batch: Any) -> torch.Tensor:
        """Scalar loss."""

    def validate(self, net: Any) -> dict[str, float]:
        """Figures on held-out trajectories; ``score`` is the one to lower."""


@dataclass(frozen=True)
class Trainable:
    """A network to train, initialised; its shape (``settings``), its task, and further entries of ``model.json``."""

    network: nn.Module
    task: Task
    settings: dict[str, float]
    about: Mapping[str, object]


@dataclass(frozen=True)
class LoopSettings:
    """How a network is trained.

    Attributes:
        minutes: whole budget of training time, validation included.
        learning_rate: its peak; warmed up over the first 2 %, then along a cosine to 1 %.
        averaging: decay of the averaged weights, which are validated and shipped.
        optimiser: ``"adamw"``, or ``"muon"`` for weights that are matrices.
        clip: largest norm of a gradient.
        validate_seconds, checkpoint_seconds: how often.
    """

    minutes: float
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    averaging: float = 0.998
    optimiser: Kind = "adamw"
    clip: float = 1.0
    seed: int = 0
    threads: int = 1
    validate_seconds: float = 60.0
    checkpoint_seconds: float = 60.0


def learning_rate(progress: float, peak: float) -> float:
    """Warm-up and cosine, over shares of a budget of time, where torch's schedules count steps."""
    warm = min(1.0, progress / 0.02 + 1e-3)
    return peak * warm * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0))))


def train(
    net: nn.Module,
    task: Task,
    settings: LoopSettings,
    folder: Path,
    identity: str,
) -> Progress:
    """Trains ``net`` until the budget is spent, leaving it as the best average; run again, it goes on where it was.

    Checkpoints are in ``folder``; ``identity`` hashes whatever they must have been made with (network, data).

    Raises:
        InputError: for a checkpoint of something else.
    """
    torch.set_num_threads(settings.threads)
    folder.mkdir(parents=True, exist_ok=True)
    run = _Run(net, settings)
    run.resume(folder, identity)
    progress = run.progress
    budget = 60.0 * settings.minutes
    mark = validated = saved = time.monotonic()
    losses: list[float] = []
    net.train()
    while progress.elapsed < budget:
        share = progress.elapsed / budget
        losses.append(run.step(task, share))
        now = time.monotonic()
        progress.elapsed += now - mark
        mark = now
        over = progress.elapsed >= budget
        if over or now - validated > settings.validate_seconds:
            run.validate(task, float(np.mean(losses)), budget)
            losses, validated = [], time.monotonic()
            progress.elapsed += validated - mark
            mark = validated
        if over or now - saved > settings.checkpoint_seconds:
            run.save(folder, identity)
            saved = time.monotonic()
    net.load_state_dict(run.best)
    net.eval()
    return progress


class _Run:
    """Everything that changes during a training; ``best`` are the weights of the best ``average`` so far."""

    def __init__(self, net: nn.Module, settings: LoopSettings) -> None:
        self.net, self.settings = net, settings
        self.progress = Progress()
        self.rng = np.random.default_rng(settings.seed)
        torch.manual_seed(settings.seed)
        self.optimiser = Optimisers(net, settings.optimiser, settings.learning_rate, settings.weight_decay)
        self.average = AveragedModel(net, multi_avg_fn=self._average, use_buffers=True).eval()
        self.average.update_parameters(net)
        self.best = _copied(self.average.module)

    @torch.no_grad()
    def _average(self, averages: Tensors, values: Tensors, count: torch.Tensor | int) -> None:
        if not averages[0].is_floating_point():
            torch._foreach_copy_(averages, values)
            return
        # Young averages forget faster, or they would still hold the initial weights.
        decay = min(self.settings.averaging, int(count) / (int(count) + 10.0))
        torch._foreach_lerp_(averages, values, 1.0 - decay)

    def step(self, task: Task, share: float) -> float:
        self.optimiser.rate(learning_rate(share, self.settings.learning_rate))
        loss = task.loss(self.net, task.batch(self.rng, share))
        self.optimiser.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.net.parameters(), self.settings.clip)
        if torch.isfinite(norm):  # a rollout that blew up teaches nothing
            self.optimiser.step()
        self.progress.step += 1
        self.average.update_parameters(self.net)
        return float(loss.detach())

    def validate(self, task: Task, loss: float, budget: float) -> None:
        """Judges the averaged weights, and keeps them where they are the best so far."""
        figures = task.validate(self.average.module)
        progress = self.progress
        better = figures["score"] < progress.best
        if better:
            progress.best = figures["score"]
            self.best = _copied(self.average.module)
        progress.history.append({"elapsed": progress.elapsed, "step": progress.step, "loss": loss, **figures})
        shown = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
        left = max(0.0, budget - progress.elapsed) / 60.0
        logger.info(f"step {progress.step}, loss {loss:.4f}, {shown}{' *' if better else ''}, {left:.1f} min left")

    def save(self, folder: Path, identity: str) -> None:
        parts = {
            "net": self.net.state_dict(),
            "average": self.average.module.state_dict(),
            "best": self.best,
            "optimiser": self.optimiser.tensors(),
        }
        tensors = {f"{part}.{name}": value for part, values in parts.items() for name, value in values.items()}
        tensors["generator"] = torch.get_rng_state()
        save_state(folder, tensors, self.progress, {"identity": identity, "rng": self.rng.bit_generator.state})

    def resume(self, folder: Path, identity: str) -> None:
        found = load_state(folder)
        if found is None:
            return
        tensors, progress, extra = found
        if extra["identity"] != identity:
            raise InputError(f"{folder}: holds a training of another network or other data; choose another folder")

        def part(prefix: str) -> dict[str, torch.Tensor]:
            return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}

        self.net.load_state_dict(part("net."))
        self.average.module.load_state_dict(part("average."))
        self.average.n_averaged.fill_(progress.step + 1)
        self.best = part("best.")
        self.optimiser.load(part("optimiser."))
        torch.set_rng_state(tensors["generator"])
        self.rng.bit_generator.state = extra["rng"]
        self.progress = progress
        logger.info(
            f"resumed after {progress.elapsed / 60:.1f} min, step {progress.step}, best score {progress.best:.4f}"
        )


def _copied(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in net.state_dict().items()}
