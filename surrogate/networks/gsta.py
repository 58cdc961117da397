"""The network of the paper this project starts from: SimVPv2 with gated attention, ten frames in, ten out.

*Fully Convolutional Spatiotemporal Learning for Microstructure Evolution Prediction* (arXiv:2602.19915) does not print
its layers; its published operation count is met by the ``SimVP`` / ``gSTA`` model of OpenSTL (Tan et al., "SimVPv2",
arXiv:2211.12509, doi:10.48550/arXiv.2211.12509), which is what stands here. One thing differs: padding is circular, not
zero, for the boxes are periodic. So the network commutes with shifts by multiples of four cells and runs on any box
whose sides are multiples of four.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from solvers.errors import InputError
from surrogate.networks.periodic import wrap

# Two of the four spatial layers halve the grid.
PATCH = 4


@dataclass(frozen=True)
class GstaSettings:
    """The shape of a :class:`GstaNet`; the defaults are the paper's.

    Attributes:
        hid_s: channels of a frame's features, even.
        hid_t: channels of the translator.
        blocks_spatial: convolutions of the encoder and of the decoder; the second and the fourth change the grid.
        blocks_temporal: attention blocks of the translator, at least 2.
        mlp_ratio: inner width of a block's second half, in units of its own.
        frames: frames in, and frames out.
    """

    hid_s: int = 64
    hid_t: int = 256
    blocks_spatial: int = 4
    blocks_temporal: int = 8
    mlp_ratio: int = 8
    frames: int = 10

    def __post_init__(self) -> None:
        if self.blocks_spatial != 4:
            raise InputError(f"blocks_spatial: 4, which makes the patch of {PATCH}, but found {self.blocks_spatial}")
        if self.hid_s < 2 or self.hid_s % 2:
            raise InputError(f"hid_s: an even number, for two groups of channels, but found {self.hid_s}")
        for name, least in (("hid_t", 1), ("blocks_temporal", 2), ("mlp_ratio", 1), ("frames", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name}: at least {least}, but found {getattr(self, name)}")


class _Conv(nn.Conv2d):
    """A convolution on the periodic continuation of its input."""

    def __init__(
        self, inputs: int, outputs: int, side: int = 1, *, stride: int = 1, dilation: int = 1, groups: int = 1
    ) -> None:
        super().__init__(inputs, outputs, side, stride=stride, dilation=dilation, groups=groups)
        self.margin = dilation * (side // 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(wrap(x, self.margin) if self.margin else x)


class _Spatial(nn.Module):
    """3 x 3 convolution, two groups normalised, SiLU; to half the grid (``down``), to twice (``up``) or neither."""

    def __init__(self, inputs: int, outputs: int, *, down: bool = False, up: bool = False) -> None:
        super().__init__()
        self.up = up
        self.conv = _Conv(inputs, 4 * outputs if up else outputs, 3, stride=2 if down else 1)
        self.norm = nn.GroupNorm(2, outputs)
        nn.init.trunc_normal_(self.conv.weight, std=0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        return F.silu(self.norm(F.pixel_shuffle(x, 2) if self.up else x))


class _Attention(nn.Module):
    """Gated large-kernel attention: 1 x 1, GELU, depthwise 5 x 5 and dilated 7 x 7, gate, 1 x 1, shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter = _Conv(width, width)
        self.near = _Conv(width, width, 5, groups=width)
        self.far = _Conv(width, width, 7, dilation=3, groups=width)
        self.gate = _Conv(width, 2 * width)
        self.leave = _Conv(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value, gate = self.gate(self.far(self.near(F.gelu(self.enter(x))))).chunk(2, 1)
        return x + self.leave(torch.sigmoid(gate) * value)


class _Temporal(nn.Module):
    """A block of the translator: attention, then a mixing perceptron, each normalised and scaled; then a new width."""

    def __init__(self, inputs: int, outputs: int, mlp_ratio: int) -> None:
        super().__init__()
        inner = inputs * mlp_ratio
        self.norm_attention = nn.BatchNorm2d(inputs)
        self.attention = _Attention(inputs)
        self.norm_mix = nn.BatchNorm2d(inputs)
        self.expand = _Conv(inputs, inner)
        self.spread = _Conv(inner, inner, 3, groups=inner)
        self.contract = _Conv(inner, inputs)
        self.scale_attention = nn.Parameter(torch.full((inputs, 1, 1), 1e-2))
        self.scale_mix = nn.Parameter(torch.full((inputs, 1, 1), 1e-2))
        self.change = _Conv(inputs, outputs) if inputs != outputs else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
                nn.init.normal_(module.weight, std=math.sqrt(2.0 / fan_out))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.addcmul(x, self.scale_attention, self.attention(self.norm_attention(x)))
        mixed = self.contract(F.gelu(self.spread(self.expand(self.norm_mix(x)))))
        return self.change(torch.addcmul(x, self.scale_mix, mixed))


class GstaNet(nn.Module):
    """See the module's text. Images are about [0, 1]; nothing clips them."""

    def __init__(self, settings: GstaSettings) -> None:
        super().__init__()
        self.settings = settings
        space, time = settings.hid_s, settings.hid_t
        stack, blocks = space * settings.frames, settings.blocks_temporal
        self.first = _Spatial(1, space)
        self.encoder = nn.Sequential(
            _Spatial(space, space, down=True), _Spatial(space, space), _Spatial(space, space, down=True)
        )
        widths = [stack, *[time] * (blocks - 1), stack]
        self.translator = nn.Sequential(
            *(_Temporal(widths[i], widths[i + 1], settings.mlp_ratio) for i in range(blocks))
        )
        self.decoder = nn.Sequential(
            _Spatial(space, space, up=True), _Spatial(space, space), _Spatial(space, space, up=True)
        )
        self.last = _Spatial(space, space)
        self.readout = _Conv(space, 1)
        # With its features laid out alike, a quarter to a third less time in training on a CPU. The price: torch's
        # GroupNorm takes variances as differences on this layout, and float32 forecasts are off by 1e-5, not 1e-6.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """The next frames: (batch, frames, y, x) to the same shape, equally spaced on.

        Raises:
            InputError: for another number of frames, or a box whose sides are not multiples of 4.
        """
        _check(self.settings, tuple(frames.shape))
        batch, count = frames.shape[:2]
        x = frames.flatten(0, 1)[:, None]
        if x.device.type == "cpu":
            x = x.contiguous(memory_format=torch.channels_last)
        skip = self.first(x)
        x = self.encoder(skip)
        # Frames become channels, so that the translator mixes times.
        stack = x.reshape(batch, count * x.shape[1], *x.shape[2:])
        if x.device.type == "cpu":
            stack = stack.contiguous(memory_format=torch.channels_last)
        x = self.translator(stack).reshape(x.shape)
        x = self.last(self.decoder(x) + skip)
        return self.readout(x).reshape(frames.shape)


def frames_after(net: GstaNet, frames: torch.Tensor) -> Iterator[torch.Tensor]:
    """Forecast frames (b, y, x), one after the other without end, from the last (b, frames, y, x) images."""
    while True:
        frames = net(frames)
        yield from frames.unbind(1)


def _check(settings: GstaSettings, shape: tuple[int, ...]) -> None:
    if len(shape) != 4 or shape[1] != settings.frames:
        raise InputError(f"frames: (batch, {settings.frames}, y, x) expected, but found shape {shape}")
    if any(cells < PATCH or cells % PATCH for cells in shape[2:]):
        raise InputError(f"frames: a box whose sides are multiples of {PATCH} expected, but found {shape[2:]}")
