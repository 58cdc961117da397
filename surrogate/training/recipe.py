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
from surrogate.models.files import folder_of, read_about, read_tensors
from surrogate.networks.gsta import GstaNet, GstaSettings
from surrogate.networks.jump import JumpNet, JumpSettings, with_reach
from surrogate.rollout.dimensionless import CAHN_HILLIARD, GROUPS
from surrogate.rollout.stepping import StepSchedule
from surrogate.training.data import TrajectorySet, load_trajectories
from surrogate.training.gsta_task import gsta_task
from surrogate.training.jump_task import JumpTask
from surrogate.training.loop import LoopSettings, Task
from sweeps.inputs.strict_model import Count, NotNegative, Positive, Seed, StrictModel, problem

Stores = Annotated[list[str], Field(min_length=1)]


class JumpNetwork(StrictModel):
    """A jump network, see :class:`surrogate.networks.jump.JumpSettings`."""

    kind: Literal["jump"] = "jump"
    width: Count = 64
    blocks: Count = 6
    expansion: Count = 2
    kernel: Literal[3, 5, 7] = 3
    patch: Literal[2, 4, 8] = 4


class GstaNetwork(StrictModel):
    """The paper's network, see :class:`surrogate.networks.gsta.GstaSettings`."""

    kind: Literal["gsta"]
    hid_s: Count = 64
    hid_t: Count = 256
    blocks_temporal: Count = 8
    mlp_ratio: Count = 8


Network = Annotated[JumpNetwork | GstaNetwork, Field(discriminator="kind")]


class Clips(StrictModel):
    """The frames that the paper's network sees: scaled ages of the first, and between them; more ``lean`` than 1
    draws clips of early frames more often."""

    start_age: Positive
    spacing: Positive
    lean: Positive = 1.0


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


class HandOver(StrictModel):
    """Of grains, from the solver to the model, see :class:`surrogate.rollout.solver_stage.GrainHandOver`."""

    age: Positive = 12.5
    tolerance: Annotated[float, Field(gt=0, le=0.5)] = 0.03


class Data(StrictModel):
    """Stores of finished sweeps; those for validation share no seed with those for training.

    The paper's network holds a tenth of its trajectories back instead.
    """

    train: Stores
    validation: list[str] = Field(default_factory=list)


class Training(StrictModel):
    """See :class:`surrogate.training.loop.LoopSettings` and :class:`surrogate.training.jump_task.JumpTask`."""

    minutes: Positive = 60.0
    batch: Count = 16
    learning_rate: Positive = 2e-3
    targets: Count = 3
    noise: NotNegative = 0.01
    unroll: Count = 3
    curriculum: bool = True
    optimiser: Literal["adamw", "muon"] = "adamw"
    precision: Literal["float32", "bfloat16"] = "float32"
    averaging: Annotated[float, Field(ge=0, lt=1)] = 0.998
    seed: Seed = 0
    validation_start: NotNegative = 20.0


class Recipe(StrictModel):
    """A training recipe."""

    schema_version: Literal[1]
    name: Annotated[str, Field(min_length=1, pattern=r"^[a-z0-9][a-z0-9-]*$")]
    process: Literal["cahn_hilliard", "grain_growth"]
    network: Network
    schedule: Schedule = Field(default_factory=Schedule)
    clips: Clips | None = None
    handover: HandOver | None = None
    data: Data
    training: Training = Field(default_factory=Training)

    @model_validator(mode="after")
    def _complete(self) -> Recipe:
        if self.network.kind == "gsta" and self.clips is None:
            raise problem("no clips", "{start_age: ..., spacing: ...} for this kind of network", ("clips",))
        if self.network.kind == "jump" and not self.data.validation:
            raise problem("no validation stores", "at least one store", ("data", "validation"))
        return self


class Prepared:
    """A recipe with its data loaded and its network made.

    Attributes:
        network, task, settings: what :func:`surrogate.training.loop.train` takes.
        data: all trajectories for training.
        identity: hash of the network's shape and of the data.
    """

    network: nn.Module
    task: Task

    def __init__(self, recipe: Recipe, minutes: float | None, threads: int) -> None:
        self.recipe = recipe
        chosen = recipe.training
        self.data = load_trajectories(recipe.data.train, recipe.process)
        torch.manual_seed(chosen.seed)
        self._about = self._gsta() if isinstance(recipe.network, GstaNetwork) else self._jump()
        self.network = self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.settings = LoopSettings(
            minutes or chosen.minutes,
            learning_rate=chosen.learning_rate,
            averaging=chosen.averaging,
            optimiser=chosen.optimiser,
            seed=chosen.seed,
            threads=threads,
        )
        self.identity = _hash([self._about, self.data.digest, chosen.optimiser])

    def _jump(self) -> dict[str, Any]:
        recipe, chosen = self.recipe, self.recipe.training
        validation = load_trajectories(recipe.data.validation, recipe.process)
        if self.data.digest == validation.digest:
            raise InputError("data.validation: the same trajectories as data.train")
        schedule = StepSchedule(tuple(recipe.schedule.ages), tuple(recipe.schedule.lengths))
        settings = jump_settings(recipe)
        self.network = JumpNet(settings)
        self.task = JumpTask(
            self.data,
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
        return {
            "settings": settings.as_dict(),
            "schedule": schedule.as_dict(),
            "validation_sha256": validation.digest,
        }

    def _gsta(self) -> dict[str, Any]:
        recipe, chosen = self.recipe, self.recipe.training
        shape, clips = recipe.network, recipe.clips
        assert isinstance(shape, GstaNetwork) and clips is not None  # noqa: PT018 the recipe has been checked
        settings = GstaSettings(
            hid_s=shape.hid_s, hid_t=shape.hid_t, blocks_temporal=shape.blocks_temporal, mlp_ratio=shape.mlp_ratio
        )
        self.network = GstaNet(settings)
        self.task = gsta_task(
            self.data,
            clips.start_age,
            clips.spacing,
            seed=chosen.seed,
            batch_size=chosen.batch,
            noise=chosen.noise,
            bfloat16=chosen.precision == "bfloat16",
            lean=clips.lean,
        )
        return {"settings": settings.as_dict(), "clips": clips.model_dump()}

    def begin_with(self, model: str) -> dict[str, Any]:
        """Take over the weights of a model; a checkpoint, where there is one, still goes before them. A jump network
        of another reach begins as the same function.

        Returns:
            What the model file says of it.

        Raises:
            InputError: for a model that cannot be read, or of another network.
        """
        folder = folder_of(model)
        about = read_about(folder)
        found, own = dict(about["settings"]), dict(self._about["settings"])
        reaches = [settings.pop("reach", 1.0) for settings in (own, found)]
        if found != own:
            raise InputError(f"--start: found a model of another network, {folder}, allowed one of the recipe's")
        weights = read_tensors(folder, about)
        if reaches[0] != reaches[1]:
            weights = with_reach(weights, reaches[0] / reaches[1])
        self.network.load_state_dict(weights)
        minutes = about.get("training", {}).get("minutes", 0.0)
        return {"started_from": {"sha256": about["weights_sha256"], "minutes": minutes}}

    def about(self) -> dict[str, Any]:
        """What the model file says of its making."""
        return {
            "process": self.recipe.process,
            "kind": self.recipe.network.kind,
            **self._about,
            **({"handover": self.recipe.handover.model_dump()} if self.recipe.handover else {}),
            "recipe": self.recipe.model_dump(),
            "data_sha256": self.data.digest,
            "trajectories": len(self.data.fields),
            "domain": ranges(self.data),
        }


def jump_settings(recipe: Recipe) -> JumpSettings:
    """The network's shape."""
    shape = recipe.network
    assert isinstance(shape, JumpNetwork)
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
