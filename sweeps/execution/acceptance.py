"""What a spot check says: the solver is judged by its tolerance, a learned engine by its bands.

Bands hold for a share of the values, not for each, and errors last: what is outside at one time is outside at the next.
So a trajectory counts as one observation. Its share of values inside scatters by 0.08 with `ch-jump`, that of one
quantity by up to 0.12, and what is checked as a whole is held to the promise less 2.5 to 3 times that over the square
root of the number of trajectories. A point alone can only be far outside. ``benchmarks/spot_checks.py`` says how often
this errs: with eight trajectories hardly ever; with one or two, bands that are half too narrow may pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from solvers.qois.registry import QOIS

#: The share of values that bands promise to hold, and how far one trajectory may fall below it: with all its values,
#: and with those of one quantity.
PROMISED, SCATTER, SCATTER_OF_ONE = 0.9, 0.22, 0.35
#: The least share inside of the values of a point.
POINT_SHARE = 1 / 3


@dataclass(frozen=True)
class SpotCheckResult:
    """What the checks say.

    Attributes:
        name: of the flag in the store.
        meaning: its long_name.
        good: bool (point, realization), of each sample by itself.
        why: for each point, what was found and what is allowed.
        inside: QoI -> share of its values inside their bands (point, realization); empty for the solver.
        overall: why all checks together are missed; empty where they are not.
    """

    name: str
    meaning: str
    good: np.ndarray
    why: list[str]
    inside: dict[str, np.ndarray] = field(default_factory=dict)
    overall: str = ""

    @property
    def passed(self) -> np.ndarray:
        """Bool (point,): the point is good, and so are all together."""
        return np.asarray(self.good.all(axis=1) & (not self.overall))


def by_tolerance(
    tolerance: float, accuracy: float, errors: Mapping[str, np.ndarray], solved: np.ndarray
) -> SpotCheckResult:
    """Of the solver: is the error within its tolerance, as far as the reference can tell?

    Args:
        tolerance: of the engine.
        accuracy: tolerance of the reference, by which the errors found may be too large.
        errors: name -> (point, realization, ...).
        solved: bool (point, realization), samples with a reference; others pass.
    """
    # Counts and quantiles of few grains jump by more than any tolerance.
    judged = [name for name in errors if name == "field" or (name in QOIS and QOIS[name].judged)]
    found = np.stack([errors[name].reshape(*solved.shape, -1).max(axis=-1) for name in judged])
    found = np.where(solved, found, 0.0)
    of_points = found.max(axis=2)
    why = [
        f"error {of_points[worst, i]:.2g} of {judged[worst]}, tolerance {tolerance:g}"
        for i, worst in enumerate(of_points.argmax(axis=0))
    ]
    meaning = "whether the error is within the engine's tolerance"
    return SpotCheckResult("within_tolerance", meaning, np.asarray((found <= tolerance + accuracy).all(axis=0)), why)


def by_bands(inside: dict[str, np.ndarray], solved: np.ndarray, rollout: np.ndarray) -> SpotCheckResult:
    """Of a learned engine: does the share of the reference inside the bands agree with their promise?

    Args:
        inside: QoI -> (point, realization), see :func:`share_inside`; NaN where not solved, and for quantities without
            bands, which are not judged.
        solved: bool (point, realization), samples with a reference; others pass.
        rollout: int (point,), equal where a trajectory is shared.
    """
    judged = {name: inside[name] for name in judged_by_bands(inside) if np.isfinite(inside[name]).any()}
    meaning = "whether a third or more of the values of the judged quantities is inside their bands"
    shares = np.mean(list(judged.values()), axis=0) if judged else np.zeros(solved.shape)
    shares = np.where(solved, np.nan_to_num(shares), 1.0)
    worst = shares.min(axis=1)
    asked = f"asked for {100 * POINT_SHARE:.0f} %"
    why = [f"{100 * share:.0f} % of its values inside their bands, {asked}" for share in worst]
    overall = _overall(judged, solved, rollout) if solved.any() else ""
    return SpotCheckResult("inside_band", meaning, shares >= POINT_SHARE, why, inside, overall)


def _overall(judged: Mapping[str, np.ndarray], solved: np.ndarray, rollout: np.ndarray) -> str:
    """Why the bands fail over all that is checked; empty where they hold."""
    point, realization = np.nonzero(solved)
    trajectories = len(set(zip(rollout[point].tolist(), realization.tolist(), strict=True)))
    of_each = {name: float(np.nan_to_num(shares)[solved].mean()) for name, shares in judged.items()}
    found = {"all judged quantities": (float(np.mean(list(of_each.values()) or [0.0])), SCATTER)}
    found |= {name: (share, SCATTER_OF_ONE) for name, share in of_each.items()}
    for name, (share, scatter) in found.items():
        asked = PROMISED - scatter / np.sqrt(trajectories)
        if share < asked:
            return (
                f"bands too narrow: {100 * share:.0f} % of the values of {name} on {trajectories} trajectories are "
                f"inside, promised {100 * PROMISED:.0f} %, asked for {100 * asked:.0f} %"
            )
    return ""


def judged_by_bands(names: Iterable[str]) -> list[str]:
    """The quantities among these that bands are judged by."""
    return [name for name in names if name in QOIS and QOIS[name].judged_by_bands]


def share_inside(low: np.ndarray, high: np.ndarray, truth: np.ndarray, rounding: float) -> np.ndarray:
    """Share (realization,) of the finite values of ``truth`` (realization, time[, extra]) inside a band, or NaN.

    ``rounding`` is a relative error of the truth that does not count: bands have no width at the start.
    """
    known = np.isfinite(truth).reshape(len(truth), -1)
    margin = rounding * np.abs(truth)
    hit = ((low - margin <= truth) & (truth <= high + margin)).reshape(known.shape)
    share = (hit & known).sum(1) / np.maximum(known.sum(1), 1)
    return np.where(np.isnan(low).reshape(known.shape).all(1), np.nan, share)


def relative_width(bands: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> float:
    """The width of the narrowest of some bands, QoI -> (low, high), relative to the values; NaN without bands.

    The width of a band is its median over all values where it has one.
    """
    found = [np.nan]
    for low, high in bands.values():
        centre, width = np.abs(low + high) / 2, high - low
        known = (width > 0) & (centre > 0)
        if known.any():
            found.append(float(np.median(width[known] / centre[known])))
    return float(np.nanmin(found)) if len(found) > 1 else np.nan


def relative_error(name: str, value: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """How far a variable is off, as a relative L2 error.

    Fields: at each time, (realization, time, y, x) -> (realization, time). QoIs: over times and the axis after them,
    (realization, time[, k]) -> (realization,); what is not defined on both sides counts as equal. The mean of a field
    may be zero: below 1 it is compared absolutely.
    """
    axes = (-2, -1) if name == "field" else tuple(range(1, value.ndim))
    undefined = np.isnan(value) & np.isnan(reference)
    value, reference = (np.where(undefined, 0.0, v.astype(np.float64)) for v in (value, reference))
    off = np.sqrt(np.mean((value - reference) ** 2, axis=axes))
    scale = np.sqrt(np.mean(reference**2, axis=axes))
    if name == "mean":
        scale = np.maximum(scale, 1.0)
    return np.divide(off, scale, out=np.where(off == 0, 0.0, np.inf), where=scale > 0)
