"""Facts about a sweep, fit for JSON: the map of its points, failures, some curves, spot checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from solvers.qois.registry import qois_of
from sweeps.report.appearance import appearance_of, shown_quantities
from sweeps.store.layout import DIVERGED, DONE, FAILED, PENDING, STATUS_FLAGS, VERIFIED, usable
from sweeps.store.store import VERIFICATION, Store

#: Fit for JSON.
Facts = dict[str, Any]

#: Points on the map; of larger sweeps every n-th is shown.
MAP_POINTS = 4096
#: Samples whose course is shown, spread evenly over the points.
CURVES = 12
CURVE_TIMES = 101
#: Failures listed one by one by the status command, and by the dashboard.
FAILURES_LISTED, FAILURES = 1000, 50
# A point is in the first of these states that any of its samples is in, verified when all are.
ORDER = (PENDING, FAILED, DIVERGED, DONE, VERIFIED)


def point_states(values: np.ndarray) -> np.ndarray:
    """State of each point from those of its samples, int8 (point, realization) -> (point,)."""
    state = np.full(len(values), VERIFIED, dtype=np.int8)
    for number in reversed(ORDER):
        state[(values == number).any(axis=1)] = number
    return state


def count_states(state: np.ndarray) -> dict[str, int]:
    counts = np.bincount(state, minlength=len(STATUS_FLAGS))
    return {name: int(counts[number]) for name, number in STATUS_FLAGS.items()}


def parameter_map(parameters: Mapping[str, np.ndarray], state: np.ndarray) -> Facts:
    """Where every point is, and how far: ``axes`` (two names, or one), ``x``, ``y``, ``state``, each a list."""
    varied = [name for name, values in parameters.items() if len(np.unique(values)) > 1][:2] or [*parameters][:1]
    every = -(-len(state) // MAP_POINTS)
    shown = slice(None, None, every)
    x, y = (parameters[varied[i]][shown] if i < len(varied) else np.zeros(len(state))[shown] for i in range(2))
    names = np.array(list(STATUS_FLAGS))
    return {"axes": varied, "every": every, "x": x.tolist(), "y": y.tolist(), "state": names[state[shown]].tolist()}


class Curves:
    """The course of a few quantities at points spread over the sweep, each read once, when it is done."""

    def __init__(self, store: Store) -> None:
        layout = store.layout
        self._store = store
        present = [name for name, qoi in qois_of(layout.process).items() if qoi.axis is None and name in store]
        self._names = shown_quantities(appearance_of(layout.process).curves, present)
        self._shown = slice(None, None, -(-len(layout.times) // CURVE_TIMES))
        self._times = layout.times[self._shown].tolist()
        parts = np.array_split(np.arange(layout.points), min(CURVES, layout.points))
        self._parts = [part for part in parts if len(part)]
        self._known: dict[int, dict[str, list[float | None]]] = {}
        self._rows: dict[int, int] = {}

    def read(self, state: np.ndarray) -> Facts:
        """``time``, ``rows`` (storage positions) and, for each quantity, a list of values for each row."""
        for number, part in enumerate(self._parts):
            done = part[usable(state[part])]
            if number not in self._known and len(done):
                values = {name: self._store.read(name, int(done[0]))[0] for name in self._names}
                self._known[number] = {name: _without_nan(v[self._shown]) for name, v in values.items()}
                self._rows[number] = int(done[0])
        order = sorted(self._known)
        return {
            "time": self._times,
            "rows": [self._rows[n] for n in order],
            **{name: [self._known[n][name] for n in order] for name in self._names},
        }


def _without_nan(values: np.ndarray) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in values]


def time_left(points: int, finished: int, rate: float, checks: float = 0.0) -> float | None:
    """Seconds until all points are done at this rate, and the spot checks; None where it is unknown.

    ``checks`` is their time over that of all points.
    """
    left = points - finished + checks * points
    if left <= 0:
        return 0.0
    return round(left / rate, 1) if rate > 0 else None


def failure_facts(
    status: np.ndarray, errors: np.ndarray, design_index: np.ndarray, parameters: Mapping[str, np.ndarray]
) -> list[Facts]:
    """Point, realization, parameters, status and error of the first samples that failed or diverged.

    ``status`` and ``errors`` are (point, realization); ``design_index``, row of the design, and each parameter
    (point,).
    """
    names = {number: name for name, number in STATUS_FLAGS.items()}
    return [
        {
            "point": int(design_index[row]),
            "realization": int(realization),
            "parameters": {name: float(v[row]) for name, v in parameters.items()},
            "status": names[int(status[row, realization])],
            "error": str(errors[row, realization]),
        }
        for row, realization in np.argwhere(np.isin(status, (FAILED, DIVERGED)))[:FAILURES_LISTED]
    ]


def verification_facts(store: Store) -> Facts | None:
    """What the spot checks found; None where there were none."""
    group = store.subgroup(VERIFICATION)
    found = next((n for n in ("within_tolerance", "inside_band") if group is not None and n in group), None)
    if group is None or found is None:
        return None
    within = group.read(found)
    # Stores of earlier versions have no flag for points as a whole.
    passed = group.read("passed") if "passed" in group else within.min(axis=1)
    return {
        "points": int((passed >= 0).sum()),
        "within": int((passed == 1).sum()),
        "inside": group.attributes.get("inside"),
        "judged_by": "tolerance" if found == "within_tolerance" else "bands",
        "tolerance": group.attributes.get("tolerance"),
    }
