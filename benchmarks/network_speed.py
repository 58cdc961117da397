"""What do the parts of a jump network cost on this machine?

``PYTHONPATH=. python benchmarks/network_speed.py``

One thread; processor milliseconds for a batch of 16 frames of 64 x 64 cells, the median of some runs: a training step
(forward and backward, three step lengths) and a forward pass (eight lengths, as rollouts ask), in float32 and with
products in bfloat16. ``as convolutions`` is the same network of torch's own layers: padding, depthwise convolution,
1 x 1 convolutions; ``the same, torch.compile`` hands its forward pass to torch's compiler.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from unittest import mock

import torch
import torch.nn.functional as F

from surrogate.networks import encoder_decoder as ends
from surrogate.networks.jump import JumpNet, JumpSettings, circular_pad

SHAPES = ((48, 6), (64, 8), (96, 8), (128, 8))
BATCH, CELLS = 16, 64
# Name, whether of torch's convolutions, whether compiled by torch.
VARIANTS = (("as convolutions", True, False), ("the same, torch.compile", True, True), ("ours", False, False))


class AsConvolutions(torch.nn.Module):
    """A block with the weights of another, by torch's convolutions, channels last.

    Args:
        block: of a :class:`JumpNet`.
    """

    def __init__(self, block: torch.nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """(batch, y, x, width) to the same, as the block does it."""
        block = self.block
        scale, shift = block.modulate(condition)[:, :, None, None].chunk(2, 1)  # type: ignore[operator]
        y = circular_pad(x.permute(0, 3, 1, 2), 1)
        if self.training:  # channels first, torch's backward pass is three times faster
            y = block.spread(y.contiguous()).contiguous(memory_format=torch.channels_last)  # type: ignore[operator]
        else:
            y = block.spread(y)  # type: ignore[operator]
        y = torch.addcmul(shift, y, 1.0 + scale)
        for layer in ("expand", "contract"):
            part = getattr(block, layer)
            y = F.conv2d(y, part.weight[:, :, None, None], part.bias)
            y = F.silu(y) if layer == "expand" else y
        return x + y.permute(0, 2, 3, 1)


def milliseconds(run: Callable[[], object], rounds: int) -> float:
    """Processor time of one call, the median of ``rounds`` after two for warmth."""
    found = []
    for number in range(rounds + 2):
        started = time.process_time()
        run()
        if number > 1:
            found.append(1e3 * (time.process_time() - started))
    return statistics.median(found)


def measured(net: JumpNet, bfloat16: bool, rounds: int, compiled: bool) -> tuple[float, float]:
    """A training step (not where compiled) and a forward pass."""
    rng = torch.Generator().manual_seed(0)
    field = torch.rand(BATCH, CELLS, CELLS, generator=rng)
    groups = torch.rand(BATCH, net.settings.groups, generator=rng)
    lengths = 20.0 * torch.rand(BATCH, 8, generator=rng)
    run = torch.compile(net) if compiled else net

    def forward(steps: int) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            return run(field, groups, lengths[:, :steps])  # type: ignore[no-any-return]

    def training() -> None:
        net.zero_grad()
        forward(3).square().mean().backward()

    def running() -> None:
        with torch.no_grad():
            forward(8)

    net.train()
    first = float("nan") if compiled else milliseconds(training, rounds)
    net.eval()
    return first, milliseconds(running, rounds)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--width", type=int, help="only this width")
    options = parser.parse_args()
    rounds = options.rounds
    torch.set_num_threads(1)
    print("| width, blocks | layers | training float32 | bfloat16 | forward float32 | bfloat16 |")
    print("|---|---|---|---|---|---|")
    for width, blocks in SHAPES:
        if options.width not in (None, width):
            continue
        for name, plain, compiled in VARIANTS:
            torch.manual_seed(0)
            net = JumpNet(JumpSettings(groups=2, width=width, blocks=blocks)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            if plain:
                net.blocks = torch.nn.ModuleList(AsConvolutions(block) for block in net.blocks)
            with mock.patch.object(ends, "runs_here", return_value=False) if plain else nullcontext():
                exact, rounded = (measured(net, low, rounds, compiled) for low in (False, True))
            trained = "- | -" if compiled else f"{exact[0]:.0f} | {rounded[0]:.0f}"
            figures = f"{trained} | {exact[1]:.1f} | {rounded[1]:.1f}"
            print(f"| {width}, {blocks} | {name} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
