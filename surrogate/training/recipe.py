"""Training recipes: ``phasetwin train RECIPE``. What is learned, from which data, in what time."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from solvers.errors import InputError
from solvers.inputs.strict import Count, NotNegative, Positive, Seed, StrictModel, problem
from surrogate.networks.jump import JumpNet, JumpSettings
from surrogate.scales import CAHN_HILLIARD, GROUPS
from surrogate.stepping import StepSchedule
from surrogate.training.data import TrajectorySet, load_trajectories
from surrogate.training.jump_task import JumpTask
from surrogate.training.loop import LoopSettings, Task

Stores = Annotated[list[str], Field(min_length=1)]


class JumpNetwork(StrictModel):
    """A jump network, see :class:`surrogate.networks.jump.JumpSettings`."""

    kind: Literal["jump"] = "jump"
    width: Count = 64
    blocks: Count = 6
    expansion: Count = 2
    kernel: Literal[3, 5, 7] = 5
    patch: Literal[2, 4, 8] = 4


class Schedule(StrictModel):
    """Step lengths by scaled age: ``lengths[i]`` from ``ages[i]`` on."""

    ages: list[NotNegative] = Field(default_factory=lambda: [0.0])
    lengths: list[Positive] = Field(default_factory=lambda: [20.0])

    @model_validator(mode="after")
    def _match(self) -> Schedule:
        if len(self.ages) != len(self.lengths) or self.ages[0] != 0.0 or sorted(set(self.ages)) != self.ages:
            raise problem(
                f"{len(self.ages)} ages, {len(self.lengths)} lengths",
                "one length an age, ages 0 first and increasing",
                ("ages",),
            )
        return self


class Data(StrictModel):
    """Stores of finished sweeps; those for validation share no seed with those for training."""

    train: Stores
    validation: Stores


class Training(StrictModel):
    """See :class:`surrogate.training.loop.LoopSettings` and :class:`surrogate.training.jump_task.JumpTask`."""

    minutes: Positive = 60.0
    batch: Count = 16
    learning_rate: Positive = 2e-3
    targets: Count = 3
    noise: NotNegative = 0.01
    unroll: Count = 3
    seed: Seed = 0
    validation_start: NotNegative = 20.0


class Recipe(StrictModel):
    """A training recipe."""

    schema_version: Literal[1]
    name: Annotated[str, Field(min_length=1, pattern=r"^[a-z0-9][a-z0-9-]*$")]
    process: Literal["cahn_hilliard", "grain_growth"]
    network: JumpNetwork = Field(default_factory=JumpNetwork)
    schedule: Schedule = Field(default_factory=Schedule)
    data: Data
    training: Training = Field(default_factory=Training)


class Prepared:
    """A recipe with its data loaded and its network made.

    Attributes:
        network, task, settings: what :func:`surrogate.training.loop.train` takes.
        data: the training trajectories.
        identity: hash of the network's shape and of the data.
    """

    network: nn.Module
    task: Task

    def __init__(self, recipe: Recipe, minutes: float | None, threads: int) -> None:
        self.recipe = recipe
        chosen = recipe.training
        self.data = load_trajectories(recipe.data.train, recipe.process)
        self.validation = load_trajectories(recipe.data.validation, recipe.process)
        if self.data.digest == self.validation.digest:
            raise InputError("data.validation: the same trajectories as data.train")
        self.schedule = StepSchedule(tuple(recipe.schedule.ages), tuple(recipe.schedule.lengths))
        torch.manual_seed(chosen.seed)
        self.jump = jump_settings(recipe)
        network = JumpNet(self.jump)
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.task = JumpTask(
            self.data,
            self.validation,
            self.schedule,
            batch_size=chosen.batch,
            targets=chosen.targets,
            noise=chosen.noise,
            unroll=chosen.unroll,
            validation_start=chosen.validation_start,
        )
        self.settings = LoopSettings(
            minutes or chosen.minutes, learning_rate=chosen.learning_rate, seed=chosen.seed, threads=threads
        )
        self.identity = _hash([self.jump.as_dict(), self.schedule.as_dict(), self.data.digest])

    def about(self) -> dict[str, Any]:
        """What the model file says of its making."""
        return {
            "process": self.recipe.process,
            "kind": self.recipe.network.kind,
            "settings": self.jump.as_dict(),
            "recipe": self.recipe.model_dump(),
            "schedule": self.schedule.as_dict(),
            "data_sha256": self.data.digest,
            "validation_sha256": self.validation.digest,
            "trajectories": len(self.data.fields),
            "domain": ranges(self.data),
        }


def jump_settings(recipe: Recipe) -> JumpSettings:
    """The network's shape."""
    shape = recipe.network
    return JumpSettings(
        groups=len(GROUPS[recipe.process]),
        width=shape.width,
        blocks=shape.blocks,
        expansion=shape.expansion,
        kernel=shape.kernel,
        patch=shape.patch,
        reach=max(recipe.schedule.lengths),
        conserve=recipe.process == CAHN_HILLIARD,
    )


def ranges(data: TrajectorySet) -> dict[str, list[float]]:
    """The box of groups and ages that the trajectories span, symmetric in composition as training is."""
    box = {name: [float(values.min()), float(values.max())] for name, values in data.groups.items()}
    if "composition" in box:
        most = max(abs(c) for c in box["composition"])
        box["composition"] = [-most, most]
    usable = data.ages[data.usable.any(0)]
    return box | {"age": [float(usable.min()), float(usable.max())]}


def _hash(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def checkpoint_folder(recipe: Recipe) -> Path:
    """Where a training keeps its state."""
    return Path("runs") / "training" / recipe.name
