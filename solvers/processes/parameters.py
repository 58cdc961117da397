"""Per-sample physical parameters: floats or one-dimensional tensors, checked once."""

from __future__ import annotations

import copy
from dataclasses import fields
from typing import TYPE_CHECKING, TypeVar

import torch

from solvers.errors import InputError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Parameter = float | torch.Tensor
D = TypeVar("D", bound="DataclassInstance")


def checked(value: Parameter, name: str, low: float, high: float, *, low_open: bool = False) -> Parameter:
    """``value`` as given, after checking that it is a finite number or (batch,) tensor in [low, high].

    Raises:
        InputError: with the name, what was expected and what was found.
    """
    tensor = torch.as_tensor(value, dtype=torch.float64)
    if tensor.ndim > 1:
        raise InputError(f"{name}: a number or a (batch,) tensor, but got shape {tuple(tensor.shape)}")
    above = tensor > low if low_open else tensor >= low
    good = torch.isfinite(tensor) & above & (tensor <= high)
    if not bool(good.all()):
        bad = tensor.reshape(-1)[~good.reshape(-1)][0].item()
        left = "(" if low_open else "["
        raise InputError(f"{name}: finite and in {left}{low:g}, {high:g}], but got {bad:g}")
    return tensor.to(torch.float64) if isinstance(value, torch.Tensor) else float(value)


def per_sample(value: Parameter, batch: int, name: str) -> torch.Tensor:
    """``value`` as a float64 CPU tensor (batch,); raises InputError for a tensor of neither 1 nor ``batch`` values."""
    tensor = torch.as_tensor(value, dtype=torch.float64).detach().cpu().reshape(-1)
    if tensor.numel() not in (1, batch):
        raise InputError(f"{name}: one value or {batch} (one per sample), but got {tensor.numel()}")
    return tensor.expand(batch).clone()


def taken(problem: D, samples: torch.Tensor) -> D:
    """The problem of some samples (indices) of a batch: its tensors of more than one value hold one for each sample."""
    of_samples = copy.copy(problem)  # what has been checked need not be again
    for name in (f.name for f in fields(problem)):
        value = getattr(problem, name)
        if isinstance(value, torch.Tensor) and value.numel() > 1:
            object.__setattr__(of_samples, name, value.reshape(-1)[samples.to(value.device)])
    return of_samples


def trailing(value: Parameter, field: torch.Tensor) -> torch.Tensor:
    """``value`` shaped to multiply ``field`` (batch, ...) along its first axis."""
    tensor = torch.as_tensor(value, dtype=field.dtype, device=field.device)
    return tensor.reshape([-1] + [1] * (field.ndim - 1)) if tensor.ndim else tensor
