"""Which points, times and quantities a figure shows: a few that stand for all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sweeps.report.appearance import number, shown_quantities
from sweeps.report.data import SweepData, quantile


def headline(data: SweepData) -> str:
    """The quantity that sorts points from fine to coarse."""
    wanted = data.appearance.headline
    return wanted if wanted in data.quantities else mapped(data)[0]


def mapped(data: SweepData) -> list[str]:
    """The quantities that are drawn over the parameters and against time."""
    return shown_quantities(data.appearance.mapped, data.quantities)


def show_times(data: SweepData, count: int = 3) -> list[int]:
    """Indices of ``count`` stored times after the start, the last one included, closer together early on."""
    later = [i for i in range(len(data.times)) if data.times[i] > 0] or [len(data.times) - 1]
    wanted = data.times[-1] * np.linspace(1, 0, count, endpoint=False) ** 1.5
    nearest = {later[int(np.abs(data.times[later] - t).argmin())] for t in wanted}
    return sorted(nearest)


def representatives(data: SweepData, count: int = 5) -> list[int]:
    """Points spread evenly over the headline quantity at the end, finest first; only points with results."""
    candidates = _sample(np.flatnonzero(data.usable.any(axis=1)))
    if not len(candidates):
        return []
    last = quantile(data.values(headline(data), candidates, len(data.times) - 1), 0.5, axis=1)
    ranked = candidates[np.argsort(np.where(np.isnan(last), -np.inf, last), kind="stable")]
    return [int(i) for i in _sample(ranked, count)]


def _sample(points: np.ndarray, most: int = 4096) -> np.ndarray:
    """At most ``most`` of the points, evenly over the design: enough to draw, few enough to read."""
    if len(points) <= most:
        return points
    return points[np.linspace(0, len(points) - 1, most).round().astype(int)]


def drawn_points(data: SweepData) -> np.ndarray:
    return _sample(np.arange(data.points))


@dataclass(frozen=True)
class Slice:
    """A plane (or line) through a grid design.

    Attributes:
        axes: the one or two parameters that vary in it, x first.
        values: their sorted values.
        points: indices of the points, (len y, len x) or (1, len x).
        held: the values of the other varied parameters; ``held_text`` is such as "at c₀ = 0.1, a = 0".
    """

    axes: tuple[str, ...]
    values: tuple[np.ndarray, ...]
    points: np.ndarray
    held: dict[str, float]
    held_text: str


def middle_slice(data: SweepData) -> Slice:
    """The first two varied parameters (one at least) of a grid design, the others at the middle of their values."""
    axes = tuple(data.varied[:2])
    held = {}
    inside = np.ones(data.points, dtype=bool)
    for name in data.varied[2:]:
        values = np.unique(data.parameters[name])
        held[name] = float(values[len(values) // 2])
        inside &= data.parameters[name] == held[name]
    points = np.flatnonzero(inside)
    ticks = tuple(np.unique(data.parameters[n]) for n in axes)
    keys = tuple(data.parameters[n][points] for n in axes)
    table = points[np.lexsort(keys)].reshape([len(v) for v in reversed(ticks)])
    text = ", ".join(f"{data.symbol(n)} = {number(v)}" for n, v in held.items())
    return Slice(axes, ticks, np.atleast_2d(table), held, f"at {text}" if text else "")
