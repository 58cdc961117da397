"""The quantities of interest that sweeps store: one object each.

A quantity of your own is a :class:`Qoi` handed to :func:`register_qoi`, or the entry point of an installed package in
the group ``phasetwin.qois``. Nothing here loads torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from solvers.processes.registry import Options, Process, process_named
from solvers.registries import Reference, Registry, resolve

if TYPE_CHECKING:
    import torch

    from solvers.grids.grid import Grid


@dataclass(frozen=True)
class ExtraAxis:
    """The axis after time of a quantity that is not a number.

    Attributes:
        name: of the dimension.
        values: grid -> values along it, float64 (n,).
        length: cells -> n, without torch.
        units, long_name: of the coordinate.
        weights: grid -> weights of the values in a mean along the axis, float64 (n,); None for equal ones.
        resolved: grid -> largest coordinate at which the grid resolves the quantity; None for all.
    """

    name: str
    values: Reference
    length: Callable[[tuple[int, ...]], int]
    units: str = "1"
    long_name: str = ""
    weights: Reference | None = None
    resolved: Callable[[Grid], float] | None = None


class Limits(Protocol):
    """The range of a quantity where it depends on the sweep."""

    def __call__(self, process: Process, grid: Grid, blocks: Options) -> tuple[float, float]:
        """Lowest and highest possible value; ``blocks`` are those of the sweep's file by name, such as ``initial``."""


@dataclass(frozen=True)
class Qoi:
    """A quantity of interest.

    Attributes:
        name: of the variable in stores and the word after ``qoi:``.
        units: CF style; model units are written as powers of ``length`` and ``energy``; "1" is dimensionless.
        long_name: a few words for axes and tables.
        function: :class:`solvers.qois.analysis.FrameAnalysis` -> (batch, time) or (batch, time, n); NaN where the
            quantity is not defined.
        processes: the processes that have it, beside those that list it among their ``quantities``.
        axis: the axis after time, or None.
        scale: how it is best drawn and modelled.
        low, high: range outside of which no value can lie.
        limits: a narrower range that depends on the sweep, see :class:`Limits`; None for none.
        undefined: when it is not defined, in words; empty for never.
        judged: whether spot checks without fields judge an engine's tolerance by it.
        judged_by_bands: whether they judge a learned engine by its bands of it.
        fingerprint: as of :class:`solvers.processes.registry.Process`.
    """

    name: str
    units: str
    long_name: str
    function: Reference
    processes: tuple[str, ...] = ()
    axis: ExtraAxis | None = None
    scale: Literal["linear", "log"] = "linear"
    low: float = -math.inf
    high: float = math.inf
    limits: Limits | None = None
    undefined: str = ""
    judged: bool = False
    judged_by_bands: bool = False
    fingerprint: str | None = None

    def range(self, process: Process, grid: Grid, blocks: Options) -> tuple[float, float]:
        """Lowest and highest possible value in a sweep; arguments as of :class:`Limits`."""
        return self.limits(process, grid, blocks) if self.limits else (self.low, self.high)

    @property
    def extra_dim(self) -> str | None:
        """Name of the axis after time, or None."""
        return self.axis.name if self.axis else None


#: Every quantity known here.
QOIS: Registry[Qoi] = Registry("qoi", "phasetwin.qois", ("solvers.qois.quantities:QUANTITIES",))


def register_qoi(qoi: Qoi) -> Qoi:
    """Make a quantity known here and to the workers of the sweeps started here.

    Raises:
        InputError: for a name that another quantity has.
    """
    return QOIS.register(qoi)


def qois_of(process: str) -> dict[str, Qoi]:
    """The quantities that a process has, in the order of a store; raises InputError for an unknown process."""
    own = process_named(process).quantities
    named = {name: QOIS.get(name) for name in own}
    return named | {q.name: q for q in QOIS.values() if process in q.processes}


def extra_axes(process: str) -> dict[str, ExtraAxis]:
    """The axes after time of a process's quantities, by name."""
    return {q.axis.name: q.axis for q in qois_of(process).values() if q.axis}


def extra_coordinates(process: str, grid: Grid) -> dict[str, torch.Tensor]:
    """Values along the extra axes of a process: ``k`` (rad/length), ``quantile`` (levels in [0, 1]), float64."""
    return {name: resolve(axis.values)(grid) for name, axis in extra_axes(process).items()}
