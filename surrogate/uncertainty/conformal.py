"""Split conformal bands for quantities of interest, with the trajectory as the exchangeable unit.

A model's error on calibration trajectories it never saw gives the half-width of its bands on new ones: no assumption on
the errors' distribution, only that calibration and new trajectories are exchangeable (Vovk, Gammerman and Shafer 2005,
Algorithmic Learning in a Random World; Lei et al. 2018, doi:10.1080/01621459.2017.1307116). Frames of one trajectory
are alike, so they do not count as so many samples: a trajectory has weight one in each bin of lead time, shared by its
frames there, and the new trajectory weighs as much as a calibration one. This is hierarchical conformal prediction
(Lee, Barber and Willett 2023, arXiv:2306.06342). With one frame to a bin it is the ceil((n + 1) level)-th smallest of n
errors. The coverage is that of a frame of a new trajectory drawn at random from a bin: marginal, not for all frames at
once. With n < level / (1 - level) trajectories (9 for 90 %) no finite band has it, and the bands are infinite.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest, spearmanr

from solvers.errors import InputError
from surrogate.uncertainty.bands import (
    SCALES,
    Calibration,
    QoiBands,
    Scale,
    Values,
    float_array,
    lead_bins,
    qoi_array,
)
from surrogate.uncertainty.difficulty import Difficulty, choose_difficulty, difficulty_columns

MOST_BINS = 12
#: Share of the trajectories that fit the difficulty and are then not calibrated on.
DIFFICULTY_SHARE = 0.3


def fit_calibration(
    predicted: Values,
    truth: Values,
    lead: ArrayLike,
    *,
    age: ArrayLike | None = None,
    groups: Values | None = None,
    level: float = 0.9,
    edges: Sequence[float] | None = None,
    scales: Mapping[str, Scale] | None = None,
    monotone: bool | None = None,
    seed: int = 0,
    extra: Mapping[str, Sequence[float]] | None = None,
) -> Calibration:
    """Half-widths from the errors on calibration trajectories, which must be none the model was fitted on.

    Errors are divided by a difficulty, a smooth function of lead, age and groups, where that narrows the bands. It is
    fitted on a random share of the trajectories (:data:`DIFFICULTY_SHARE`), which are then left out of the quantiles,
    so coverage stays exact; with neither ``age`` nor ``groups`` none are set aside.

    Args:
        predicted, truth: name -> (trajectory, time) or (trajectory, time, extra). Errors against a truth that is not
            finite are unknown and left out; a prediction that is not finite, where the truth is, has infinite error.
        lead: (trajectory, time) scaled age since the model took over; frames at leads of 0 and less are left out.
        age: (trajectory, time) scaled ages.
        groups: name -> (trajectory,) dimensionless groups.
        level: nominal coverage in (0, 1).
        edges: of the bins of lead; None gives each lead its own bin where there are few, and otherwise
            :data:`MOST_BINS` bins with as many frames each.
        scales: of quantities for which :data:`SCALES` is not wanted; what is in neither is absolute.
        monotone: raise half-widths to their running maximum over lead; None does so where they grow with lead anyway
            (Spearman correlation of at least 0.9). This only widens.
        seed: of the random share.
        extra: name -> (extra,) coordinates of a quantity's last axis that depend on the grid.

    Raises:
        InputError: for shapes that do not fit, or nothing to calibrate on.
    """
    if not 0.0 < level < 1.0:
        raise InputError(f"level: in (0, 1), but got {level}")
    lead = float_array(lead, "lead", 2)
    if set(predicted) != set(truth) or not predicted:
        raise InputError(f"truth: the quantities {sorted(predicted)}, at least one, but got {sorted(truth)}")
    kinds: dict[str, Scale] = {n: (scales or {}).get(n, SCALES.get(n, "absolute")) for n in predicted}
    errors = {n: errors_of(predicted[n], truth[n], lead, scale, n) for n, scale in kinds.items()}
    edges = lead_edges(lead) if edges is None else _checked_edges(edges)
    bins = lead_bins(lead, edges)
    aside = np.zeros(len(lead), dtype=bool)
    columns = None
    if age is not None or groups is not None:
        columns = difficulty_columns(lead, age, groups)
        count = int(DIFFICULTY_SHARE * len(lead))
        aside[np.random.default_rng(seed).permutation(len(lead))[:count]] = True
    qois = {}
    for name, error in errors.items():
        difficulty = None
        if columns is not None:
            difficulty = choose_difficulty(error[aside], {n: c[aside] for n, c in columns.items()}, bins[aside], level)
        if difficulty is not None and columns is not None:
            error = error / difficulty(columns)[:, :, None]
        made = _qoi_bands(error[~aside], bins[~aside], len(edges) - 1, level, kinds[name], monotone, difficulty)
        axis = (extra or {}).get(name)
        qois[name] = made if axis is None else replace(made, extra=_checked_axis(name, axis, made))
    return Calibration(level, tuple(edges), qois)


def _checked_axis(name: str, axis: Sequence[float], made: QoiBands) -> tuple[float, ...]:
    values = tuple(float(x) for x in axis)
    if len(values) != len(made.half_widths[0]) or not (np.diff(values) > 0).all():
        raise InputError(f"extra: {len(made.half_widths[0])} increasing {name} coordinates, but got {len(values)}")
    return values


def errors_of(predicted: ArrayLike, truth: ArrayLike, lead: np.ndarray, scale: Scale, name: str) -> np.ndarray:
    """Errors (trajectory, time, extra) on a scale: NaN where the truth is not finite and at leads of 0 and less,
    infinite where the prediction is not finite, or its sign leaves it without a logarithm on the relative scale."""
    p, t = qoi_array(predicted, name, lead.shape), qoi_array(truth, name, lead.shape)
    if p.shape != t.shape:
        raise InputError(f"{name}: truth of shape {p.shape} as predicted, but got {t.shape}")
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.abs(t - p) if scale == "absolute" else np.abs(np.log(t) - np.log(p))
    error = np.where(t == p, 0.0, np.where(np.isnan(error), np.inf, error))
    error = np.where(np.isfinite(t), error, np.nan)
    error = error if error.ndim == 3 else error[:, :, None]
    return np.where(lead[:, :, None] > 0, error, np.nan)


def _qoi_bands(
    error: np.ndarray,
    bins: np.ndarray,
    count: int,
    level: float,
    scale: Scale,
    monotone: bool | None,
    difficulty: Difficulty | None,
) -> QoiBands:
    extra = error.shape[2]
    widths, numbers = np.empty((count, extra)), np.empty((count, extra), dtype=int)
    for i in range(count):
        inside = np.where((bins == i)[:, :, None], error, np.nan)
        for j in range(extra):
            widths[i, j], numbers[i, j] = grouped_quantile(inside[:, :, j], level)
    if monotone is None:
        middle = np.median(widths, axis=1)
        known = count >= 3 and np.isfinite(middle).all() and np.ptp(middle) > 0
        monotone = bool(known and spearmanr(np.arange(count), middle).statistic >= 0.9)
    if monotone:
        widths = np.maximum.accumulate(widths, axis=0)
    rows = tuple(tuple(float(w) for w in row) for row in widths)
    return QoiBands(scale, rows, tuple(tuple(int(n) for n in row) for row in numbers), monotone, difficulty)


def grouped_quantile(errors: np.ndarray, level: float) -> tuple[float, int]:
    """The conformal quantile of errors (trajectory, time), each row of weight one; NaN is left out, and so is a row of
    it.

    Returns:
        The smallest error at which the weight of errors up to it reaches level * (rows + 1), infinite where none does,
        and the number of rows.
    """
    known = ~np.isnan(errors)
    frames = known.sum(1)
    rows = int((frames > 0).sum())
    weights = np.broadcast_to(1.0 / np.maximum(frames, 1)[:, None], errors.shape)[known]
    values = errors[known]
    order = np.argsort(values, kind="stable")
    # Rounding in the sum must not cost a rank.
    enough = np.cumsum(weights[order]) >= level * (rows + 1) - 1e-9
    return (float(values[order[np.argmax(enough)]]) if enough.any() else math.inf), rows


def lead_edges(lead: np.ndarray) -> tuple[float, ...]:
    """Edges of bins for leads (trajectory, time), see :func:`fit_calibration`; InputError if no lead is positive."""
    known = np.sort(lead[np.isfinite(lead) & (lead > 0)])
    if not known.size:
        raise InputError("lead: positive for some frame, but none is")
    # Leads that differ by rounding are one.
    distinct = known[np.concatenate([[True], np.diff(known) > 1e-6 * known[1:]])]
    if len(distinct) <= MOST_BINS:
        inner = 0.5 * (distinct[1:] + distinct[:-1])
    else:
        inner = np.unique(np.quantile(known, np.arange(1, MOST_BINS) / MOST_BINS))
    return (0.0, *(float(e) for e in inner if e < known[-1]), float(known[-1]))


def _checked_edges(edges: Sequence[float]) -> tuple[float, ...]:
    values = tuple(float(e) for e in edges)
    if len(values) < 2 or not np.isfinite(values).all() or not (np.diff(values) > 0).all():
        raise InputError(f"edges: at least 2 finite, increasing leads, but got {list(values)}")
    return values


@dataclass(frozen=True)
class CoverageRow:
    """Measured coverage of one quantity at leads in (lead_low, lead_high].

    Attributes:
        trajectories: how many had a known truth there.
        share: mean over trajectories of the share of their values within the bands.
        low, high: exact 99 % interval (Clopper and Pearson 1934, doi:10.1093/biomet/26.4.404) of the coverage.
        nominal: the level.
        finite: share of the bands that are finite: infinite ones cover without telling anything.
    """

    qoi: str
    lead_low: float
    lead_high: float
    trajectories: int
    share: float
    low: float
    high: float
    nominal: float
    finite: float

    @property
    def holds(self) -> bool:
        """Whether the nominal coverage lies in the interval."""
        return self.low <= self.nominal <= self.high


@dataclass(frozen=True)
class Hits:
    """Which values of a quantity the bands hold; all but ``lead`` (trajectory, time) are (trajectory, time, extra).

    ``known`` are values with a known truth, ``covered`` those within the bands, ``finite`` those whose bands are
    finite; ``width`` are half-widths: of the logarithm where bands are relative.
    """

    lead: np.ndarray
    known: np.ndarray
    covered: np.ndarray
    finite: np.ndarray
    width: np.ndarray

    def shares(self, edges: Sequence[float], number: int) -> tuple[np.ndarray, float, int]:
        """In a bin of lead: share covered (trajectory with a known value,), how many values have finite bands, and how
        many values there are."""
        use = self.known & self._inside(edges, number)[:, :, None]
        count = use.sum((1, 2))
        some = count > 0
        shares = (self.covered & use).sum((1, 2))[some] / count[some]
        return shares, float((self.finite & use).sum()), int(count.sum())

    def widths(self, edges: Sequence[float], number: int) -> np.ndarray:
        """Half-widths (n,) of all values in a bin of lead."""
        return self.width[self.known & self._inside(edges, number)[:, :, None]]

    def _inside(self, edges: Sequence[float], number: int) -> np.ndarray:
        return (self.lead > 0) & (lead_bins(self.lead, edges) == number)


def hits(
    calibration: Calibration,
    predicted: Values,
    truth: Values,
    lead: ArrayLike,
    *,
    age: ArrayLike | None = None,
    groups: Values | None = None,
    extra: Values | None = None,
) -> dict[str, Hits]:
    """Name -> which values of new trajectories the bands hold.

    Arguments as in :func:`fit_calibration`, ``extra`` as in :meth:`Calibration.bands`, which also says what is raised.
    """
    lead = float_array(lead, "lead", 2)
    found = {}
    bands = calibration.bands(predicted, lead, age=age, groups=groups, extra=extra)
    for name, (low, high) in bands.items():
        if name not in truth:
            raise InputError(f"truth: {name} as predicted, but got {', '.join(truth)}")
        t = qoi_array(truth[name], name, lead.shape)
        if t.shape != low.shape:
            raise InputError(f"{name}: truth of shape {low.shape} as predicted, but got {t.shape}")
        finite = np.isfinite(low) & np.isfinite(high)
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = high - low if calibration.qois[name].scale == "absolute" else np.log(high) - np.log(low)
        width = np.where(finite, 0.5 * spread, np.inf)
        values = (np.isfinite(t), (low <= t) & (t <= high), finite, width)
        found[name] = Hits(lead, *(v.reshape(*lead.shape, -1) for v in values))
    return found


def coverage_rows(sets: Sequence[Mapping[str, Hits]], edges: Sequence[float], level: float) -> tuple[CoverageRow, ...]:
    """How often bands hold the truth, per quantity and bin of lead, over the trajectories of several :func:`hits`
    together.

    Trajectories are the binomial trials: one with several frames (or wavenumbers) in a bin counts with the share of
    them covered, and the sum is rounded. Its variance is at most that of whole counts, so intervals are never too
    narrow. A prediction that is not finite is not covered; a truth that is not finite, and frames at leads of 0 and
    less, are left out. The last axis of a quantity may differ from set to set.
    """
    rows = []
    for name in sets[0]:
        for number, leads in enumerate(pairwise(edges)):
            parts = [found[name].shares(edges, number) for found in sets]
            shares, total = np.concatenate([p[0] for p in parts]), sum(p[2] for p in parts)
            if not total:
                continue
            interval = binomtest(round(float(shares.sum())), len(shares)).proportion_ci(0.99, "exact")
            low, high, finite = float(interval.low), float(interval.high), sum(p[1] for p in parts) / total
            rows.append(CoverageRow(name, *leads, len(shares), float(shares.mean()), low, high, level, finite))
    return tuple(rows)
