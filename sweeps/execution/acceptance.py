"""What a spot check says: the solver is judged by its tolerance, a learned engine by its bands."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from solvers.qois.registry import QOIS

#: Bands cover at each time by itself (90 % of it, say) and errors last, so some points are outside for a while; for
# half : of their values few should be.
INSIDE_SHARE = 0.5


@dataclass(frozen=True)
class SpotCheckResult:
    """What the checks say.

    Attributes:
        name: of the flag in the store.
        meaning: its long_name.
        good: bool (point, realization), of each sample by itself.
        passed: bool (point,).
        why: for each point, what was found and what is allowed.
        inside: QoI -> share of its values inside their bands (point, realization); empty for the solver.
    """

    name: str
    meaning: str
    good: np.ndarray
    passed: np.ndarray
    why: list[str]
    inside: dict[str, np.ndarray] = field(default_factory=dict)


def by_tolerance(tolerance: float, errors: dict[str, np.ndarray]) -> SpotCheckResult:
    """Of the solver: is the error within its tolerance? ``errors`` are name -> (point, realization, ...)."""
    # Without fields the tolerance is judged by some quantities; counts and quantiles of few grains jump by more than
    # any tolerance.
    judged = ["field"] if "field" in errors else [name for name in errors if name in QOIS and QOIS[name].judged]
    largest = np.max([errors[name].reshape(*errors[name].shape[:2], -1).max(axis=-1) for name in judged], axis=0)
    why = [f"error {worst:.2g}, tolerance {tolerance:g}" for worst in largest.max(axis=1)]
    good = largest <= tolerance
    return SpotCheckResult(
        "within_tolerance", "whether the error is within the engine's tolerance", good, good.all(1), why
    )


def by_bands(inside: dict[str, np.ndarray]) -> SpotCheckResult:
    """Of a learned engine: is the reference inside the bands?

    A point passes by the values of all its realizations together, for bands are promised for a share of them.
    ``inside`` is QoI -> (point, realization), see :func:`share_inside`; NaN where not solved, and for quantities
    without bands, which are not judged.
    """
    named = [name for name in inside if name in QOIS and QOIS[name].judged_by_bands]
    judged = [name for name in named if np.isfinite(inside[name]).any()] or named
    shares = np.stack([inside[name] for name in judged])
    good = (np.nan_to_num(shares) >= INSIDE_SHARE).all(axis=0)
    why = []
    together = np.nan_to_num(shares.mean(axis=2))
    for i in range(len(good)):
        worst = int(together[:, i].argmin())
        why.append(f"{judged[worst]} inside its band at {100 * together[worst, i]:.0f} % of the values, asked for 50 %")
    meaning = "whether the judged quantities are inside their bands at half of their values or more"
    return SpotCheckResult("inside_band", meaning, good, (together >= INSIDE_SHARE).all(axis=0), why, inside)


def share_inside(low: np.ndarray, high: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Share (realization,) of the finite values of ``truth`` (realization, time[, extra]) inside a band, or NaN."""
    known = np.isfinite(truth).reshape(len(truth), -1)
    hit = ((low <= truth) & (truth <= high)).reshape(known.shape)
    share = (hit & known).sum(1) / np.maximum(known.sum(1), 1)
    return np.where(np.isnan(low).reshape(known.shape).all(1), np.nan, share)


def relative_error(name: str, value: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """How far a variable is off, as a relative L2 error.

    Fields: at each time, (realization, time, y, x) -> (realization, time). QoIs: over times and the axis after them,
    (realization, time[, k]) -> (realization,). The mean of a field may be zero: below 1 it is compared absolutely.
    """
    axes = (-2, -1) if name == "field" else tuple(range(1, value.ndim))
    off = np.sqrt(np.mean((value.astype(np.float64) - reference) ** 2, axis=axes))
    scale = np.sqrt(np.mean(reference.astype(np.float64) ** 2, axis=axes))
    if name == "mean":
        scale = np.maximum(scale, 1.0)
    return np.divide(off, scale, out=np.where(off > 0, np.inf, 0.0), where=scale > 0)
