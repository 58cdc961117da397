"""The kinds of networks: what ``kind`` in a recipe and in ``model.json`` stands for. Nothing here loads torch.

A kind of your own is a :class:`NetworkKind` named by the entry point of an installed package in the group
``phasetwin.networks``.
"""

from __future__ import annotations

from dataclasses import dataclass

from solvers.registries import Reference, Registry


@dataclass(frozen=True)
class NetworkKind:
    """A kind of network.

    Attributes:
        name: the word after ``kind:``.
        block: class of the recipe's ``network:``, see :class:`surrogate.training.blocks.NetworkBlock`.
        model: class of its models, see :class:`surrogate.models.protocol.Surrogate`; called with ``model.json``, the
            weights by name and the device.
        rollouts: whether its models run from a start, as :class:`surrogate.models.protocol.RolloutSurrogate`.
        check_cells: raises InputError for a grid that it cannot take, without torch, as
            :func:`surrogate.models.files.check_cells`; None takes any.
    """

    name: str
    block: Reference
    model: Reference
    rollouts: bool = False
    check_cells: Reference | None = None


OWN = (
    NetworkKind(
        "jump",
        "surrogate.training.blocks:JumpNetwork",
        "surrogate.models.jump:JumpSurrogate",
        rollouts=True,
        check_cells="surrogate.models.files:check_cells",
    ),
    NetworkKind("gsta", "surrogate.training.blocks:GstaNetwork", "surrogate.models.gsta:GstaSurrogate"),
)
#: Every kind known here.
NETWORKS: Registry[NetworkKind] = Registry("network kind", "phasetwin.networks", ("surrogate.networks.registry:OWN",))
