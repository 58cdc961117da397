"""The blocks of a training recipe, and what a kind of network makes of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from surrogate.processes import LEARNED_PROCESSES, AnyProcess, learned_process
from surrogate.rollout.stepping import StepSchedule
from surrogate.training.data import TrajectorySet
from surrogate.training.loop import Task
from sweeps.inputs.strict_model import Count, NotNegative, Positive, Seed, StrictModel, problem

Stores = Annotated[list[str], Field(min_length=1)]
if TYPE_CHECKING:
    ProcessName = str
else:
    ProcessName = Literal[tuple(LEARNED_PROCESSES)]


class ClipsBlock(StrictModel):
    """The frames that the paper's network sees: scaled ages of the first, and between them; more ``lean`` than 1
    draws clips of early frames more often."""

    start_age: Positive
    spacing: Positive
    lean: Positive = 1.0


class StepsBlock(StrictModel):
    """Step lengths by scaled age: ``lengths[i]`` from ``ages[i]`` on."""

    ages: list[NotNegative] = Field(default_factory=lambda: [0.0])
    lengths: list[Positive] = Field(default_factory=lambda: [20.0])

    @model_validator(mode="after")
    def _match(self) -> StepsBlock:
        if len(self.ages) != len(self.lengths) or self.ages[0] != 0.0 or sorted(set(self.ages)) != self.ages:
            raise problem(
                f"{len(self.ages)} ages, {len(self.lengths)} lengths",
                "one length an age, ages 0 first and increasing",
                ("ages",),
            )
        return self

    def build(self) -> StepSchedule:
        """For rollouts."""
        return StepSchedule(tuple(self.ages), tuple(self.lengths))


class FirstStageBlock(StrictModel):
    """When a model of grains takes over from the solver, see :class:`surrogate.processes.FirstStage`."""

    age: Positive = 12.5
    tolerance: Annotated[float, Field(gt=0, le=0.5)] = 0.03


class DataBlock(StrictModel):
    """Stores of finished sweeps; those for validation share no seed with those for training.

    The paper's network holds a tenth of its trajectories back instead.
    """

    train: Stores
    validation: list[str] = Field(default_factory=list)


class TrainingBlock(StrictModel):
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


class RecipeBlocks(StrictModel):
    """All of a recipe but its network."""

    schema_version: Literal[1]
    name: Annotated[str, Field(min_length=1, pattern=r"^[a-z0-9][a-z0-9-]*$")]
    process: ProcessName
    schedule: StepsBlock = Field(default_factory=StepsBlock)
    clips: ClipsBlock | None = None
    handover: FirstStageBlock | None = None
    data: DataBlock
    training: TrainingBlock = Field(default_factory=TrainingBlock)

    @property
    def learned(self) -> AnyProcess:
        """What models know of the process."""
        return learned_process(self.process)


@dataclass(frozen=True)
class Trainable:
    """A network to train, and what its training decides.

    Attributes:
        network: initialised.
        task: what it learns.
        settings: shape of the network.
        about: further entries of ``model.json``; part of the identity of a training, like the settings.
    """

    network: nn.Module
    task: Task
    settings: dict[str, float]
    about: Mapping[str, object]


class NetworkBlock(StrictModel):
    """The ``network:`` of a recipe; a subclass for each kind, see :class:`surrogate.networks.registry.NetworkKind`."""

    kind: str

    @abstractmethod
    def check(self, recipe: RecipeBlocks) -> None:
        """Raises ``problem`` for what else this kind needs of a recipe."""

    @abstractmethod
    def prepare(self, recipe: RecipeBlocks, data: TrajectorySet) -> Trainable:
        """The network and its task on trajectories.

        Raises:
            InputError: for data that do not suit.
        """

    def adapted(
        self, weights: dict[str, torch.Tensor], found: dict[str, float], own: dict[str, float]
    ) -> dict[str, torch.Tensor] | None:
        """Weights of a network of settings ``found`` for one of ``own``; None where they cannot serve."""
        return weights if found == own else None
