"""Optimisers of a training: AdamW for all weights, or Muon for matrices and AdamW for the rest."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

Kind = Literal["adamw", "muon"]


class Optimisers:
    """One or two optimisers seen as one; ``muon`` is for matrices, 1 x 1 convolutions among them, AdamW for the rest.

    Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) turns the gradient of a matrix into the nearest
    orthogonal one; its step is scaled to the size of AdamW's (Liu et al. 2025, arXiv:2502.16982), so one learning rate
    serves both.
    """

    def __init__(self, net: nn.Module, kind: Kind, learning_rate: float, weight_decay: float) -> None:
        chosen = [p for p in net.parameters() if kind == "muon" and _is_matrix(p)]
        rest = [p for p in net.parameters() if not (kind == "muon" and _is_matrix(p))]
        # Muon takes tensors of two axes only: it gets the same memory, seen so.
        matrices = [nn.Parameter(p.detach().flatten(1)) for p in chosen]
        self._matrices = list(zip(chosen, matrices, strict=True))
        self._all: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(rest, lr=learning_rate, weight_decay=weight_decay, betas=(0.9, 0.98))
        ]
        if matrices:
            self._all.append(
                torch.optim.Muon(matrices, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
            )

    def rate(self, value: float) -> None:
        for optimiser in self._all:
            for group in optimiser.param_groups:
                group["lr"] = value

    def zero_grad(self) -> None:
        for optimiser in self._all:
            optimiser.zero_grad(set_to_none=True)
        for parameter, _ in self._matrices:
            parameter.grad = None

    def step(self) -> None:
        for parameter, matrix in self._matrices:
            matrix.grad = None if parameter.grad is None else parameter.grad.flatten(1)
        for optimiser in self._all:
            optimiser.step()

    def tensors(self) -> dict[str, torch.Tensor]:
        """Their state, for a checkpoint."""
        return {
            f"{number}.{index}.{name}": torch.as_tensor(value)
            for number, optimiser in enumerate(self._all)
            for index, state in optimiser.state_dict()["state"].items()
            for name, value in state.items()
        }

    def load(self, tensors: dict[str, torch.Tensor]) -> None:
        for number, optimiser in enumerate(self._all):
            state = optimiser.state_dict()
            state["state"] = {}
            for key, value in tensors.items():
                own, index, name = key.split(".", 2)
                if int(own) == number:
                    state["state"].setdefault(int(index), {})[name] = value
            optimiser.load_state_dict(state)


def _is_matrix(parameter: nn.Parameter) -> bool:
    """Whether it maps channels to channels at every cell."""
    return parameter.ndim == 2 or (parameter.ndim == 4 and parameter.shape[1] > 1 and parameter.shape[2:] == (1, 1))
