"""Loops compiled for the CPU: the one place that sets numba's options.

A kernel is compiled when it is first called with arguments of some types, and kept on disk
(:mod:`solvers.kernel_cache`); numba itself is imported then. Compiling costs a tenth of a second at least, and
everybody waits for it once, so write kernels that are cheap to compile (``python benchmarks/cold_start.py --kernels``
lists them):

- one layout (C contiguous), one integer type (int64), and float32 beside float64 only in arrays over cells or modes;
  what is one number a sample is float64 always;
- none where numpy does it as well once a frame;
- no assignment of an array to a slice (``total[:] = bias``): numba compiles the text of its error message, 3 s. Write
  the loop. No ``np.empty_like`` and other functions that numba compiles first: take arrays for work as arguments;
- loops of a fixed number of turns are unrolled, with all that is inside them: where the innermost loop is a
  vectorised one, take the number from an array's shape;
- rows of arrays, ``row = u[b, g]``, outside loops; ``u[b, g, i]`` inside costs more, to compile and to run;
- a kernel that calls others is compiled with them: put what several kernels share into one of their arguments.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from solvers.registries import resolve

F = TypeVar("F", bound=Callable[..., object])


class Compiled:
    """A function that numba compiles at its first call. Compiled functions can call it too."""

    def __init__(self, function: Callable[..., object], options: dict[str, object]) -> None:
        self.options = options
        self.py_func = function
        functools.update_wrapper(self, function)

    def __call__(self, *args: object) -> object:
        return self.kernel(*args)

    @functools.cached_property
    def kernel(self) -> Any:
        """Numba's own object, a :class:`~solvers.kernel_cache.Kernel`."""
        return resolve("solvers.kernel_cache:kernel")(self.py_func, self.options)

    @property
    def _numba_type_(self) -> object:
        """How numba recognises it inside another compiled function."""
        return self.kernel._numba_type_


def compiled(function: F) -> F:
    """Compiles a function of arrays and numbers at its first call, and keeps the machine code on disk."""
    return Compiled(function, {})  # type: ignore[return-value]


def compiled_sums(function: F) -> F:
    """As :func:`compiled`, where sums may be reordered and products fused, so that loops vectorise.

    Infinities and NaN keep their meaning. The order does not depend on the batch, so neither does an answer.
    """
    return Compiled(function, {"fastmath": {"reassoc", "contract", "nsz"}})  # type: ignore[return-value]
