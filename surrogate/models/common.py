"""What every kind of model checks when it is loaded and before it runs."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import nn

from solvers.errors import InputError
from surrogate.rollout.dimensionless import Problem, process_of


class Named(Protocol):
    """A model's name and process."""

    name: str
    process: str


def check_process(model: Named, problem: Problem) -> None:
    """Raises InputError where the model is for the other process."""
    found = process_of(problem)
    if found != model.process:
        raise InputError(f"model {model.name}: found a problem of {found}, allowed {model.process}")


def filled(net: Any, tensors: dict[str, torch.Tensor], name: str) -> Any:
    """The network with its weights, ready to run.

    Raises:
        InputError: for weights that do not fit.
    """
    try:
        net.load_state_dict(tensors)
    except RuntimeError:
        raise InputError(f"model {name}: the weights do not fit the network that its description names") from None
    assert isinstance(net, nn.Module)
    return net.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
