"""Training state on disk: one safetensors file, numbers and history as JSON in its header, replaced whole."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from solvers.errors import InputError
from sweeps.files import write_bytes

STATE = "checkpoint.safetensors"


@dataclass
class Progress:
    """How far a training is: batches seen, seconds over all sessions, lowest validation score, and a row for each
    validation (elapsed, step, loss, and what the task reports)."""

    step: int = 0
    elapsed: float = 0.0
    best: float = float("inf")
    history: list[dict[str, float]] = field(default_factory=list)


def save_state(folder: Path, tensors: dict[str, torch.Tensor], progress: Progress, extra: dict[str, Any]) -> None:
    """Writes the state; a kill leaves the old file or the new one."""
    contiguous = {name: t.detach().contiguous().clone() for name, t in tensors.items()}
    write_bytes(folder / STATE, save(contiguous, metadata={"state": json.dumps({**vars(progress), **extra})}))


def load_state(folder: Path) -> tuple[dict[str, torch.Tensor], Progress, dict[str, Any]] | None:
    """Tensors, progress and extras of an earlier session, None where there is none; InputError if it cannot be read."""
    path = folder / STATE
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:  # type: ignore[no-untyped-call]
            data = json.loads((file.metadata() or {})["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 not a mapping
        known = {name: data.pop(name) for name in vars(Progress())}
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise InputError(f"{path}: not a readable checkpoint ({error}); delete it to start afresh") from None
    return tensors, Progress(**known), data
