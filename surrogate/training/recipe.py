"""Training recipes: what is learned, from which data, in what time."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator

from solvers.registries import resolve
from surrogate.networks.registry import NETWORKS
from surrogate.training.blocks import NetworkBlock, RecipeBlocks

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
