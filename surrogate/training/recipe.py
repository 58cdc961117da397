"""Training recipes: what is learned, from which data, in what time."""

from __future__ import annotations

from typing import Annotated

from pydantic import model_validator

from surrogate.networks.registry import NETWORKS
from surrogate.training.blocks import NetworkBlock, RecipeBlocks
from sweeps.inputs.strict_model import BlockOf


class Recipe(RecipeBlocks):
    """A training recipe."""

    network: Annotated[NetworkBlock, BlockOf(NETWORKS)]

    @model_validator(mode="after")
    def _complete(self) -> Recipe:
        self.network.check(self)
        return self
