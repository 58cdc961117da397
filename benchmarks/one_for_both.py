"""Does one set of weights for both processes cost accuracy?

``PYTHONPATH=. python benchmarks/one_for_both.py --minutes 5``

Three networks of the same shape are trained on the same data: one for each process with ``--minutes`` each, and one for
both, which is told the process, with twice that, batches taking turns. So the total cost is equal, and each process
sees about as many batches either way. Needs the training sweeps (``make training-data``). Prints validation errors.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import nn

from surrogate.networks.jump import JumpNet, JumpSettings
from surrogate.training.jump_task import JumpTask
from surrogate.training.loop import LoopSettings, train
from surrogate.training.recipe import Prepared, Recipe
from sweeps.inputs.yaml_source import load_yaml

RECIPES = ("surrogate/recipes/gg-jump.yaml", "surrogate/recipes/ch-jump.yaml")
Batch = tuple[int, Any]


class Part(nn.Module):
    """A joint network seen as that of one process: its groups in their places, steps as shares of its own reach.

    Args:
        net: for ``sum(groups) + len(groups)`` inputs and a reach of 1, without conservation.
        groups: numbers of groups of the processes.
        which: of the processes.
        reach: its longest step.
        conserve: whether its increments have a mean of zero.
    """

    def __init__(self, net: JumpNet, groups: tuple[int, ...], which: int, reach: float, conserve: bool) -> None:
        super().__init__()
        self.net, self.groups, self.which, self.reach, self.conserve = net, groups, which, reach, conserve

    def features(self, field: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
        """See :meth:`JumpNet.features`."""
        inputs = groups.new_zeros(len(groups), sum(self.groups) + len(self.groups))
        first = sum(self.groups[: self.which])
        inputs[:, first : first + groups.shape[1]] = groups
        inputs[:, sum(self.groups) + self.which] = 1.0
        return self.net.features(field, inputs)

    def increments(self, features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """See :meth:`JumpNet.increments`."""
        change = self.net.increments(features, lengths / self.reach)
        return change - change.mean((2, 3), keepdim=True) if self.conserve else change

    def changes(self, features: torch.Tensor, owners: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """See :meth:`JumpNet.changes`."""
        return self.increments(features[owners], lengths[:, None])[:, 0]

    def forward(self, field: torch.Tensor, groups: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """See :meth:`JumpNet.forward`."""
        return field[:, None] + self.increments(self.features(field, groups), lengths)


class Both(nn.Module):
    """A network for both processes.

    Args:
        settings: of the networks of the processes, of one width and depth.
    """

    def __init__(self, settings: list[JumpSettings]) -> None:
        super().__init__()
        groups = tuple(s.groups for s in settings)
        shape = replace(settings[0], groups=sum(groups) + len(groups), reach=1.0, conserve=False)
        self.net = JumpNet(shape).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # Views hold no weights of their own, so they stay out of the module's children.
        self.parts = [Part(self.net, groups, i, s.reach, s.conserve) for i, s in enumerate(settings)]

    def train(self, mode: bool = True) -> Both:
        """See torch; the views follow."""
        for part in self.parts:
            part.training = mode
        return super().train(mode)  # type: ignore[return-value]


class Turns:
    """The tasks of both processes, batches taking turns; the score is the mean of theirs."""

    def __init__(self, tasks: list[JumpTask]) -> None:
        self.tasks, self.turn = tasks, 0

    def batch(self, rng: np.random.Generator, progress: float) -> Batch:
        """The next task's."""
        self.turn = (self.turn + 1) % len(self.tasks)
        return self.turn, self.tasks[self.turn].batch(rng, progress)

    def loss(self, net: Both, batch: Batch) -> torch.Tensor:
        """Of the task whose batch it is."""
        which, content = batch
        return self.tasks[which].loss(net.parts[which], content)  # type: ignore[arg-type]

    def validate(self, net: Both) -> dict[str, float]:
        """All figures, by process."""
        found: dict[str, float] = {}
        for task, part in zip(self.tasks, net.parts, strict=True):
            found |= {f"{task.train.process} {n}": v for n, v in task.validate(part).items()}  # type: ignore[arg-type]
        return {"score": float(np.mean([v for n, v in found.items() if n.endswith(" score")])), **found}


def main() -> None:
    """Train the three and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--minutes", type=float, default=5.0, help="for each process; the joint network gets twice that"
    )
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    same = ["network={kind: jump, width: 48, blocks: 6, expansion: 2, kernel: 3}"]
    prepared = [Prepared(load_yaml(Path(r), Recipe, same), chosen.minutes, chosen.threads) for r in RECIPES]
    rows: dict[str, list[float]] = {}
    for one in prepared:
        figures = _trained(one.network, one.task, one.settings)
        rows |= {f"{one.recipe.process} {name}": [value] for name, value in figures.items()}
    tasks = [one.task for one in prepared]
    torch.manual_seed(0)
    both = Both([one.network.settings for one in prepared])  # type: ignore[misc]
    settings = LoopSettings(2 * chosen.minutes, threads=chosen.threads)
    figures = _trained(both, Turns(tasks), settings)  # type: ignore[arg-type]
    for name in rows:
        rows[name].append(figures[name])
    print("| validation RMSE | one network each | one for both | ratio |\n|---|---|---|---|")
    for name, (own, joint) in rows.items():
        print(f"| {name} | {own:.4f} | {joint:.4f} | {joint / own:.2f} |")


def _trained(net: nn.Module, task: Any, settings: LoopSettings) -> dict[str, float]:
    """Validation figures of the best averaged weights."""
    with TemporaryDirectory() as folder:
        train(net, task, settings, Path(folder), "trial")
    figures: dict[str, float] = task.validate(net)
    return figures


if __name__ == "__main__":
    main()
