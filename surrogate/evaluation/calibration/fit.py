"""Bands from rollouts of calibration sweeps of several box sizes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from solvers.errors import InputError
from surrogate.evaluation.calibration.samples import StoreRollouts
from surrogate.evaluation.statistics import joined
from surrogate.uncertainty.bands import WAVENUMBERS, Calibration
from surrogate.uncertainty.conformal import fit_calibration

#: Nominal coverage.
LEVEL = 0.9
#: Bins of lead: few, so that each holds several frames of every trajectory.
BINS = 5
#: The last bin reaches a little beyond the longest lead, which differs from sample to sample by rounding.
BEYOND = 1e-3


def calibrate(outcomes: Sequence[StoreRollouts]) -> Calibration:
    """The bands of a model, from rollouts of trajectories that it was not fitted to.

    Trajectories of all stores count alike, so coverage holds for boxes mixed as theirs are. Difficulty is a function of
    lead, age, the model's groups and the size of the box; larger boxes get the bands of the largest one calibrated,
    which are wide for them. The structure factor is calibrated at the wavenumbers of the largest box: each takes from a
    smaller box its nearest wavenumber, within half the distance of two there; averages would have narrower errors.

    Raises:
        InputError: if the model took over in no sample.
    """
    if not any(o.taken.any() for o in outcomes):
        raise InputError("calibration: samples that the model takes over, but the solver ran all of them to their end")
    found = [o.prediction for o in outcomes]
    longest = max(p.lead.shape[1] for p in found)
    axis = max((p.wavenumbers for p in found), key=len)
    names = [n for n in outcomes[0].qois if all(n in o.samples.truth for o in outcomes)]
    predicted, truth = (
        {
            n: np.concatenate([_rows(o, v[n], n, axis, longest) for o, v in zip(outcomes, sets, strict=True)])
            for n in names
        }
        for sets in ([o.predicted for o in outcomes], [o.truth for o in outcomes])
    )
    lead = np.concatenate([_padded(p.lead, longest) for p in found])
    ages = np.concatenate([_padded(p.ages, longest) for p in found])
    groups = joined([p.groups for p in found])
    known = lead[np.isfinite(lead) & (lead > 0)]
    return fit_calibration(
        predicted,
        truth,
        lead,
        age=ages,
        groups=groups,
        level=LEVEL,
        edges=_edges(known),
        extra={WAVENUMBERS: axis.tolist()} if WAVENUMBERS in names else None,
    )


def _edges(known: np.ndarray) -> tuple[float, ...]:
    """Edges of :data:`BINS` bins with about as many of the leads ``known`` (n,) each."""
    # Rounding must not put equal leads to both sides of an edge.
    inner = np.quantile(known, np.arange(1, BINS) / BINS, method="nearest") * (1.0 + BEYOND)
    last = float(known.max()) * (1.0 + BEYOND)
    return (0.0, *(float(e) for e in np.unique(inner) if e < last * (1.0 - BEYOND)), last)


def _rows(outcome: StoreRollouts, values: np.ndarray, name: str, axis: np.ndarray, longest: int) -> np.ndarray:
    """A quantity (sample, longest[, extra]), at the common wavenumbers."""
    if name == WAVENUMBERS:
        values = at_wavenumbers(values, outcome.prediction.wavenumbers, axis)
    return _padded(values, longest)


def _padded(values: np.ndarray, longest: int) -> np.ndarray:
    """``values`` (sample, time, ...) with NaN up to ``longest`` times."""
    width = [(0, 0)] * values.ndim
    width[1] = (0, longest - values.shape[1])
    return np.pad(values.astype(np.float64), width, constant_values=np.nan)


def at_wavenumbers(values: np.ndarray, own: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """``values`` (..., K) at wavenumbers ``own`` (K,) taken at the nearest to each of ``wanted`` (n,), (..., n).

    NaN where none is within half the distance between two of ``own``.
    """
    distance = np.abs(wanted[:, None] - own[None, :])
    nearest = distance.argmin(1)
    half = 0.5 * (own[1] - own[0]) if len(own) > 1 else np.inf
    near = distance[np.arange(len(wanted)), nearest] <= half * (1.0 + 1e-6)
    return np.where(near, values[..., nearest], np.nan)
