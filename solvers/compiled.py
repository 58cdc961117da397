"""Loops compiled for the CPU: the one place that sets numba's options."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numba

F = TypeVar("F", bound=Callable[..., object])


def compiled(function: F) -> F:
    """Compiles a function of arrays and numbers at its first call, and keeps the machine code on disk."""
    return numba.njit(cache=True, nogil=True, error_model="numpy")(function)  # type: ignore[return-value]


def compiled_sums(function: F) -> F:
    """As :func:`compiled`, where sums may be reordered and products fused, so that loops vectorise.

    Infinities and NaN keep their meaning. The order does not depend on the batch, so neither does an answer.
    """
    options = {"reassoc", "contract", "nsz"}
    return numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=options)(function)  # type: ignore[return-value]
