"""The compiled depthwise convolution against torch's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from surrogate.networks.depthwise import depthwise_convolution

torch.set_num_threads(1)


def arguments(kernel: int, shape: tuple[int, int] = (6, 8)) -> tuple[torch.Tensor, ...]:
    """field, weight, bias, gain, shift, all of them in need of gradients."""
    rng = torch.Generator().manual_seed(kernel)
    shapes = [(2, *shape, 3), (3, 1, kernel, kernel), (3,), (2, 3), (2, 3)]
    return tuple(torch.randn(s, generator=rng, dtype=torch.float64).requires_grad_() for s in shapes)


def plain(field: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, gain: torch.Tensor, shift: torch.Tensor):
    """The formula of the module's text, by torch."""
    margin = weight.shape[-1] // 2
    padded = F.pad(field.permute(0, 3, 1, 2), (margin,) * 4, mode="circular")
    out = F.conv2d(padded, weight, bias, groups=len(weight)).permute(0, 2, 3, 1)
    return out * gain[:, None, None] + shift[:, None, None]


@pytest.mark.parametrize("kernel", [3, 5])
def test_values_and_gradients_are_torchs(kernel: int) -> None:
    given = arguments(kernel)
    found, expected = depthwise_convolution(*given), plain(*given)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)  # float64, another order of sums
    slope = torch.randn(found.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for mine, theirs in zip(
        torch.autograd.grad(found, given, slope), torch.autograd.grad(expected, given, slope), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


def test_layouts_do_not_matter() -> None:
    """A network hands over permuted views."""
    field, weight, bias, gain, shift = arguments(3)
    view = field.detach().permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    assert not view.is_contiguous()
    torch.testing.assert_close(
        depthwise_convolution(view, weight, bias, gain, shift), depthwise_convolution(field, weight, bias, gain, shift)
    )


def test_other_types_take_torchs_way() -> None:
    given = arguments(3)
    rounded = depthwise_convolution(*(t.detach().bfloat16() for t in given))
    assert rounded.dtype == torch.bfloat16
    # bfloat16 has 8 bits: sums of ten products of order one.
    torch.testing.assert_close(rounded.double(), plain(*given).detach(), rtol=0.05, atol=0.1)
