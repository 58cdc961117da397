"""The blocks of a training recipe, those of the networks among them. Loads no torch."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PlainValidator, WithJsonSchema, model_validator

from sweeps.inputs.strict_model import Count, NotNegative, Positive, Seed, StrictModel, problem

if TYPE_CHECKING:
    import torch

    from surrogate.training.data import TrajectorySet
    from surrogate.training.loop import Trainable

Stores = Annotated[list[str], Field(min_length=1)]
#: Those of this project's learned processes, known without loading them.
OWN_PROCESSES = ("cahn_hilliard", "grain_growth")


def _learned(name: str) -> str:
    if name not in OWN_PROCESSES:
        from surrogate.processes import LEARNED_PROCESSES

        known = list(LEARNED_PROCESSES)
        if name not in known:
            raise problem(repr(name), " or ".join(map(repr, known)), options=known)
    return name


ProcessName = Annotated[str, PlainValidator(_learned), WithJsonSchema({"enum": list(OWN_PROCESSES), "type": "string"})]


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


class JumpNetwork(NetworkBlock):
    """A jump network, see :class:`surrogate.networks.jump.JumpSettings`."""

    kind: Literal["jump"] = "jump"
    width: Count = 64
    blocks: Count = 6
    expansion: Count = 2
    kernel: Literal[3, 5, 7] = 3
    patch: Literal[2, 4, 8] = 4

    def check(self, recipe: RecipeBlocks) -> None:
        if not recipe.data.validation:
            raise problem("no validation stores", "at least one store", ("data", "validation"))

    def prepare(self, recipe: RecipeBlocks, data: TrajectorySet) -> Trainable:
        from surrogate.training.jump_task import jump_trainable

        return jump_trainable(self, recipe, data)

    def adapted(
        self, weights: dict[str, torch.Tensor], found: dict[str, float], own: dict[str, float]
    ) -> dict[str, torch.Tensor] | None:
        """The reach may differ."""
        from surrogate.networks.jump import with_reach

        if {**found, "reach": 0.0} != {**own, "reach": 0.0}:
            return None
        same = own["reach"] == found["reach"]
        return weights if same else with_reach(weights, own["reach"] / found["reach"])


class GstaNetwork(NetworkBlock):
    """The paper's network, see :class:`surrogate.networks.gsta.GstaSettings`."""

    kind: Literal["gsta"]
    hid_s: Count = 64
    hid_t: Count = 256
    blocks_temporal: Count = 8
    mlp_ratio: Count = 8

    def check(self, recipe: RecipeBlocks) -> None:
        if recipe.clips is None:
            raise problem("no clips", "{start_age: ..., spacing: ...} for this kind of network", ("clips",))

    def prepare(self, recipe: RecipeBlocks, data: TrajectorySet) -> Trainable:
        from surrogate.training.gsta_task import gsta_trainable

        return gsta_trainable(self, recipe, data)
