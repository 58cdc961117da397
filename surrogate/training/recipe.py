"""Training recipes: ``phasetwin train RECIPE``. What is learned, from which data, in what time."""

from __future__ import annotations

import hashlib
import json
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import Field, model_validator

from solvers.errors import InputError
from solvers.registries import resolve
from surrogate.models.files import folder_of, read_about, read_tensors
from surrogate.networks.registry import NETWORKS
from surrogate.training.blocks import NetworkBlock, RecipeBlocks
from surrogate.training.data import TrajectorySet, load_trajectories
from surrogate.training.loop import LoopSettings

if TYPE_CHECKING:
    AnyNetworkBlock = NetworkBlock
else:
    _BLOCKS = reduce(or_, (resolve(kind.block) for kind in NETWORKS.values()))
    AnyNetworkBlock = Annotated[_BLOCKS, Field(discriminator="kind")]


class Recipe(RecipeBlocks):
    """A training recipe."""

    network: AnyNetworkBlock

    @model_validator(mode="after")
    def _complete(self) -> Recipe:
        self.network.check(self)
        return self


class PreparedTraining:
    """A recipe with its data loaded and its network made.

    Attributes:
        network, task, settings: what :func:`surrogate.training.loop.train` takes.
        data: all trajectories for training.
        identity: hash of the network's shape and of the data.
    """

    def __init__(self, recipe: Recipe, minutes: float | None, threads: int) -> None:
        self.recipe = recipe
        chosen = recipe.training
        self.data = load_trajectories(recipe.data.train, recipe.process)
        torch.manual_seed(chosen.seed)
        made = recipe.network.prepare(recipe, self.data)
        self._about, self.task = made.about, made.task
        self.network = made.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.settings = LoopSettings(
            minutes or chosen.minutes,
            learning_rate=chosen.learning_rate,
            averaging=chosen.averaging,
            optimiser=chosen.optimiser,
            seed=chosen.seed,
            threads=threads,
        )
        identity = json.dumps([made.about, self.data.digest, chosen.optimiser], sort_keys=True)
        self.identity = hashlib.sha256(identity.encode()).hexdigest()

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
        weights = None
        if about["kind"] == self.recipe.network.kind:
            weights = self.recipe.network.adapted(
                read_tensors(folder, about), dict(about["settings"]), dict(self._about["settings"])
            )
        if weights is None:
            raise InputError(f"--start: found a model of another network, {folder}, allowed one of the recipe's")
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


def ranges(data: TrajectorySet) -> dict[str, list[float]]:
    """The box of groups and ages that the trajectories span, symmetric in composition as training is."""
    box = {name: [float(values.min()), float(values.max())] for name, values in data.groups.items()}
    if "composition" in box:
        most = max(abs(c) for c in box["composition"])
        box["composition"] = [-most, most]
    usable = data.ages[data.usable.any(0)]
    return box | {"age": [float(usable.min()), float(usable.max())]}


def checkpoint_folder(recipe: Recipe) -> Path:
    """Where a training keeps its state."""
    return Path("runs") / "training" / recipe.name
