"""The jump network: a frame is read once, then its change after any lengths of time up to the network's reach.

A trunk reads the frame and the dimensionless groups once; a light head turns its features and a step length into the
increment, so that frames between two steps cost a few per cent of a step. All of it is convolutional with circular
padding: trained on 64 x 64 cells it runs on any box whose sides are multiples of the patch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from surrogate.networks import encoder_decoder
from surrogate.networks.depthwise import depthwise_convolution
from surrogate.networks.periodic import wrap


@dataclass(frozen=True)
class JumpSettings:
    """The shape of a :class:`JumpNet`.

    Attributes:
        groups: dimensionless groups that condition it.
        width: channels at a ``patch``-fold coarser grid.
        blocks: residual blocks; each sees ``kernel // 2`` coarse cells further.
        expansion: inner width of a block, in units of ``width``.
        kernel: side of the depthwise convolution, odd.
        reach: longest step, in the process's scaled time.
        conserve: whether the mean of an increment is exactly zero.
    """

    groups: int
    width: int = 64
    blocks: int = 6
    expansion: int = 2
    kernel: int = 3
    patch: int = 4
    reach: float = 20.0
    conserve: bool = False


class Pointwise(nn.Linear):
    """A linear layer over channels at every cell, (..., channel) to (..., channel).

    As a product of matrices it takes a sixth of the time of a 1 x 1 convolution on a CPU; and some optimisers need to
    know which weights are matrices.
    """


class _Block(nn.Module):
    """Depthwise convolution, modulation by the groups, two pointwise layers, shortcut (after Liu et al. 2022,
    "A ConvNet for the 2020s", doi:10.1109/CVPR52688.2022.01167, without its normalisation)."""

    def __init__(self, settings: JumpSettings, condition: int) -> None:
        super().__init__()
        width, inner = settings.width, settings.width * settings.expansion
        self.spread = nn.Conv2d(width, width, settings.kernel, groups=width)
        self.modulate = nn.Linear(condition, 2 * width)
        self.expand = Pointwise(width, inner)
        self.contract = Pointwise(inner, width)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)
        # Near identity at first: deep stacks without normalisation need it.
        nn.init.normal_(self.contract.weight, std=0.02)
        nn.init.zeros_(self.contract.bias)

    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """(batch, y, x, width) and (batch, condition) to (batch, y, x, width)."""
        scale, shift = self.modulate(condition).chunk(2, 1)
        assert self.spread.bias is not None
        y = depthwise_convolution(x, self.spread.weight, self.spread.bias, 1.0 + scale, shift)
        # Biases added afterwards: given one, a product first copies it to every cell of its result.
        y = F.silu(F.linear(y, self.expand.weight).add_(self.expand.bias), inplace=not self.training)
        return torch.add(x, F.linear(y, self.contract.weight)).add_(self.contract.bias)


class JumpNet(nn.Module):
    """See the module's text."""

    def __init__(self, settings: JumpSettings) -> None:
        super().__init__()
        self.settings = settings
        width, cells, condition = settings.width, settings.patch**2, 32
        self.embed = nn.Sequential(nn.Linear(settings.groups, condition), nn.SiLU(), nn.Linear(condition, condition))
        self.stem = nn.Conv2d(cells, width, 3)
        self.blocks = nn.ModuleList(_Block(settings, condition) for _ in range(settings.blocks))
        self.length = nn.Sequential(nn.Linear(2, condition), nn.SiLU(), nn.Linear(condition, 2 * width))
        self.mix = Pointwise(width, width)
        self.head = nn.Conv2d(width, cells, 3)
        nn.init.normal_(self.head.weight, std=1e-3)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def features(self, field: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
        """(batch, y, x) scaled field and (batch, group) to (batch, y / patch, x / patch, width)."""
        condition = self.embed(groups)
        if encoder_decoder.runs_here(field):
            x = encoder_decoder.stem(field, self.stem, self.settings.patch)
        else:
            x = F.pixel_unshuffle(field[:, None], self.settings.patch)
            if field.device.type == "cpu":
                x = x.contiguous(memory_format=torch.channels_last)
            # The shortcuts keep full precision, whatever the layers compute in.
            x = self.stem(wrap(x, 1)).permute(0, 2, 3, 1).to(field.dtype)
        for block in self.blocks:
            x = block(x, condition)
        return x

    def increments(self, features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Changes of the field after step lengths (batch, step) in (0, reach], scaled time: (batch, step, y, x).

        ``features`` are those of :meth:`features`, (batch, y / patch, x / patch, width).
        """
        owners = torch.arange(len(features), device=features.device).repeat_interleave(lengths.shape[1])
        return self.changes(features, owners, lengths.reshape(-1)).unflatten(0, lengths.shape)

    def changes(self, features: torch.Tensor, owners: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The same frame by frame, each of a sample in ``owners`` (frame,): lengths (frame,) to (frame, y, x)."""
        share = (lengths / self.settings.reach)[:, None]
        scale, shift = self.length(torch.cat([share, share.sqrt()], 1)).chunk(2, 1)
        if encoder_decoder.runs_here(features):
            modulation = (1.0 + scale, shift)
            x = encoder_decoder.head(
                features, owners, modulation, share[:, 0], self.mix, self.head, self.settings.patch
            )
        else:
            scale, shift = scale[:, None, None].to(features), shift[:, None, None].to(features)
            x = F.silu(self.mix(torch.addcmul(shift, features[owners], 1.0 + scale)))
            x = self.head(wrap(x.permute(0, 3, 1, 2), 1)).to(lengths.dtype)
            x = F.pixel_shuffle(x, self.settings.patch)[:, 0] * share[:, :, None]
        return x - x.mean((1, 2), keepdim=True) if self.settings.conserve else x

    def forward(self, field: torch.Tensor, groups: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The field after each step length: (batch, y, x), (batch, group), (batch, step) to (batch, step, y, x)."""
        return field[:, None] + self.increments(self.features(field, groups), lengths)


@torch.no_grad()
def with_reach(weights: dict[str, torch.Tensor], factor: float) -> dict[str, torch.Tensor]:
    """The weights of the same function for a network whose ``reach`` is ``factor`` times as long.

    Its inputs are a length's share of the reach and that share's root; its output is multiplied by the share.
    """
    inputs = torch.tensor([factor, factor**0.5])
    scaled = {name: weights[name] * factor for name in ("head.weight", "head.bias")}
    return weights | scaled | {"length.0.weight": weights["length.0.weight"] * inputs}
