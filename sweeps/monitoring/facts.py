"""What there is to know of a sweep that runs, as JSON: the map of its points, failures, some curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from solvers.processes.registry import process_named
from sweeps.store.layout import DIVERGED, DONE, FAILED, PENDING, STATUS_FLAGS, VERIFIED

#: Points on the map; of larger sweeps every n-th is shown.
MAP_POINTS = 4096
#: Samples whose course is shown, spread evenly over the points.
CURVES = 12
CURVE_TIMES = 101
FAILURES = 50
# A point is in the first of these states that any of its samples is in, verified when all are.
ORDER = (PENDING, FAILED, DIVERGED, DONE, VERIFIED)


def point_states(values: np.ndarray) -> np.ndarray:
    """State of each point from those of its samples, int8 (point, realization) -> (point,)."""
    state = np.full(len(values), VERIFIED, dtype=np.int8)
    for number in reversed(ORDER):
        state[(values == number).any(axis=1)] = number
    return state


def count_states(state: np.ndarray) -> dict[str, int]:
    """Points in each state, by name."""
    counts = np.bincount(state, minlength=len(STATUS_FLAGS))
    return {name: int(counts[number]) for name, number in STATUS_FLAGS.items()}


def parameter_map(parameters: Mapping[str, np.ndarray], state: np.ndarray) -> dict[str, Any]:
    """Where every point is, and how far: ``axes`` (two names, or one), ``x``, ``y``, ``state``, each a list.

    Args:
        parameters: name -> (point,).
        state: int8 (point,).
    """
    varied = [name for name, values in parameters.items() if len(np.unique(values)) > 1][:2] or [*parameters][:1]
    every = -(-len(state) // MAP_POINTS)
    shown = slice(None, None, every)
    x, y = (parameters[varied[i]][shown] if i < len(varied) else np.zeros(len(state))[shown] for i in range(2))
    names = np.array(list(STATUS_FLAGS))
    return {"axes": varied, "every": every, "x": x.tolist(), "y": y.tolist(), "state": names[state[shown]].tolist()}


class Curves:
    """The course of a few quantities at points spread over the sweep, each read from the store once, when it is done.

    Args:
        root: group of the store.
        process: of the sweep.
        times: (time,).
        points: how many.
    """

    def __init__(self, root: Any, process: str, times: np.ndarray, points: int) -> None:
        self._root, self._names = root, [n for n in process_named(process).appearance.curves if n in root]
        self._shown = slice(None, None, -(-len(times) // CURVE_TIMES))
        self._times = times[self._shown].tolist()
        self._parts = [part for part in np.array_split(np.arange(points), min(CURVES, points)) if len(part)]
        self._known: dict[int, dict[str, list[float | None]]] = {}
        self._rows: dict[int, int] = {}

    def read(self, state: np.ndarray) -> dict[str, Any]:
        """``time``, ``rows`` (storage positions) and, for each quantity, a list of values for each row."""
        for number, part in enumerate(self._parts):
            done = part[np.isin(state[part], (DONE, VERIFIED))]
            if number not in self._known and len(done):
                values = {name: self._root[name][int(done[0]), 0] for name in self._names}
                self._known[number] = {name: finite(v[self._shown]) for name, v in values.items()}
                self._rows[number] = int(done[0])
        order = sorted(self._known)
        return {
            "time": self._times,
            "rows": [self._rows[n] for n in order],
            **{name: [self._known[n][name] for n in order] for name in self._names},
        }


def finite(values: np.ndarray) -> list[float | None]:
    """Numbers for JSON, which knows no NaN."""
    return [float(v) if np.isfinite(v) else None for v in values]


def time_left(points: int, finished: int, rate: float) -> float | None:
    """Seconds until all points are done at this rate; None where nobody knows."""
    if finished >= points:
        return 0.0
    return round((points - finished) / rate, 1) if rate > 0 else None
