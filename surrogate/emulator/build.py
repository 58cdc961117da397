"""From stores to an emulator: common ages, the best form for each quantity, bands, and where it may be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.stats import norm as normal
from scipy.stats import t as student

from solvers.errors import InputError
from surrogate.emulator.curves import StatisticsCurves, read_curves
from surrogate.emulator.emulator import SAME_AGE, Ages, Emulator, QoiFit, coordinates
from surrogate.emulator.regression import (
    START_FOLDS,
    AlignedCurves,
    Smoother,
    conformal_widths,
    forms,
    left_out_error,
    scores,
)
from surrogate.uncertainty.domain import Domain

MOST_KNOTS = 64
#: Knots at which forms are compared.
COMPARED = 12
#: Points beyond it are left out, at random: the work grows with their cube, the gain is small.
MOST_SITES = 400
#: A power must keep this share of the ages that the best of them keeps.
KEPT = 0.95
#: Queries may be this much farther from the nearest point than points are from each other.
REACH = 1.5


@dataclass(frozen=True)
class _Prepared:
    """StatisticsCurves with one way of counting age."""

    ages: Ages
    windows: np.ndarray
    samples: dict[str, AlignedCurves]
    kept: float


def learn_from_stores(stores: Sequence[str | Path], qois: Sequence[str] | None = None, level: float = 0.9) -> Emulator:
    """An emulator of one or several finished sweeps of one process, box and kind of start.

    Cell sizes, wells and amplitudes may differ. Of each the points that are done (and, with a surrogate's results,
    trusted) are used. ``qois`` None learns all; ``level`` is the nominal coverage of the bands.

    Raises:
        InputError: if a store cannot be read, has nothing done, or does not belong with the others.
    """
    _check(level)
    return learn(read_curves([str(store) for store in stores], qois), level)


def _check(level: float) -> None:
    if not 0.0 < level < 1.0:
        raise InputError(f"level: in (0, 1), but got {level}")


def learn(every: StatisticsCurves, level: float = 0.9) -> Emulator:
    """An emulator of at least one trajectory in memory, with bands of a nominal coverage in (0, 1), else InputError."""
    _check(level)
    curves = _thinned(every)
    sites = np.array(sorted({t.site for t in curves.trajectories}), dtype=np.float64)
    names = list(curves.trajectories[0].values)
    positive = {n: all((v[np.isfinite(v)] > 0).all() for v in _values(curves, n)) for n in names}
    prepared = _counted(curves, sites, positive)
    best, chosen = _choose(prepared, curves, sites)
    factor = _few_starts(curves, len(sites), level)
    fits = {
        n: _fit(chosen[n], best.samples[n], positive[n], _values(curves, n)[0].ndim == 1, level, factor) for n in names
    }
    ends = np.exp(best.ages.knots[[0, -1]]) - best.ages.offset
    box = {g: (float(sites[:, j].min()), float(sites[:, j].max())) for j, g in enumerate(curves.groups)}
    return Emulator(
        setting=curves.setting,
        level=level,
        groups=curves.groups,
        sites=sites,
        windows=best.windows,
        ages=best.ages,
        domain=Domain(curves.setting.process, {**box, "age": (max(0.0, float(ends[0])), float(ends[1]))}),
        reach=_reach(curves.groups, sites),
        fits=fits,
        extra=curves.extra,
    )


def _values(curves: StatisticsCurves, name: str) -> list[np.ndarray]:
    return [t.values[name] for t in curves.trajectories]


def _thinned(curves: StatisticsCurves) -> StatisticsCurves:
    sites = sorted({t.site for t in curves.trajectories})
    if len(sites) <= MOST_SITES:
        return curves
    kept = {sites[i] for i in np.random.default_rng(0).permutation(len(sites))[:MOST_SITES]}
    return replace(curves, trajectories=tuple(t for t in curves.trajectories if t.site in kept))


def _reach(groups: tuple[str, ...], sites: np.ndarray) -> float:
    """:data:`REACH` times the largest distance of a point from the nearest other one, in half-widths of the box."""
    x = coordinates(dict(zip(groups, sites.T, strict=True)), groups, sites, False)
    if len(x) < 2:
        return 1e-6
    square = ((x[:, None] - x[None, :]) ** 2).sum(2)
    np.fill_diagonal(square, np.inf)
    return float(REACH * np.sqrt(square.min(1).max()))


def _counted(curves: StatisticsCurves, sites: np.ndarray, positive: dict[str, bool]) -> list[_Prepared]:
    """The curves with every power that keeps most of the ages."""
    powers = curves.setting.learned.age_powers
    if np.ptp(sites[:, curves.groups.index("kappa")]) == 0:
        powers = powers[:1]
    prepared = [_at_knots(curves, sites, power, positive) for power in powers]
    most = max(p.kept for p in prepared)
    return [p for p in prepared if p.kept >= KEPT * most]


def _at_knots(curves: StatisticsCurves, sites: np.ndarray, power: float, positive: dict[str, bool]) -> _Prepared:
    column = curves.groups.index("kappa")
    known = [t.tau * t.site[column] ** power for t in curves.trajectories]
    every = np.unique(np.concatenate(known))
    some = every[every > 0]
    offset = 0.5 * float(some[0]) if some.size else 1.0
    positions = [np.log(age + offset) for age in known]
    site = np.array([np.flatnonzero((sites == np.asarray(t.site)).all(1))[0] for t in curves.trajectories])
    first, last = np.full(len(sites), np.inf), np.full(len(sites), -np.inf)
    np.minimum.at(first, site, [p[0] for p in positions])
    np.maximum.at(last, site, [p[-1] for p in positions])
    # Functions of the groups are not drawn from a minority of the points.
    middle = (len(sites) - 1) // 2
    low, high = np.sort(first)[len(sites) // 2], np.sort(last)[middle]
    knots = _knots(np.log(every + offset), low, high)
    if not len(knots):
        return _Prepared(Ages(power, offset, knots), np.stack([first, last], 1), {}, 0.0)
    kept = sum(int(((p >= knots[0] - SAME_AGE) & (p <= knots[-1] + SAME_AGE)).sum()) for p in positions)
    fold = _start_folds(curves)
    samples = {}
    for name, logarithmic in positive.items():
        rows = [
            _interpolated(t.values[name], p, knots, logarithmic)
            for t, p in zip(curves.trajectories, positions, strict=True)
        ]
        samples[name] = AlignedCurves(np.stack(rows), site, fold, len(sites))
    return _Prepared(Ages(power, offset, knots), np.stack([first, last], 1), samples, kept / sum(map(len, positions)))


def _start_folds(curves: StatisticsCurves) -> np.ndarray:
    """(trajectory,) see :class:`.AlignedCurves`; a single point shares its starts with none."""
    shared = sorted({t.start for t in curves.trajectories if t.shared})
    number = {start: i % START_FOLDS for i, start in enumerate(shared)}
    return np.array([number[t.start] if t.shared else -1 for t in curves.trajectories])


def _knots(positions: np.ndarray, low: float, high: float) -> np.ndarray:
    """At most :data:`MOST_KNOTS` of the positions (sorted) from low to high, about even; none if low > high."""
    if low > high + SAME_AGE:
        return np.empty(0)
    inside = positions[(positions >= low) & (positions <= max(low, high))]
    distinct = inside[np.concatenate([[True], np.diff(inside) > SAME_AGE])]
    # Both ends stay, so that ages that differ in their last digits do not cost the last knot.
    distinct[-1] = max(low, high)
    if len(distinct) <= MOST_KNOTS:
        return distinct
    even = np.linspace(distinct[0], distinct[-1], MOST_KNOTS)
    right = np.clip(np.searchsorted(distinct, even), 1, len(distinct) - 1)
    nearer_left = even - distinct[right - 1] < distinct[right] - even
    return distinct[np.unique(np.where(nearer_left, right - 1, right))]


def _interpolated(values: np.ndarray, positions: np.ndarray, knots: np.ndarray, logarithmic: bool) -> np.ndarray:
    """(knot, extra), linear in the position; NaN outside and beside values that are not finite."""
    table = values.reshape(len(values), -1)
    with np.errstate(invalid="ignore"):
        table = np.log(table) if logarithmic else table
    right = np.clip(np.searchsorted(positions, knots), 1, max(1, len(positions) - 1))
    left, right = right - 1, np.minimum(right, len(positions) - 1)
    gap = np.maximum(positions[right] - positions[left], 1e-300)
    share = np.clip((knots - positions[left]) / gap, 0.0, 1.0)
    # An end of weight zero must not spoil the other with its NaN.
    share = np.where(share < 1e-6, 0.0, np.where(share > 1 - 1e-6, 1.0, share))[:, None]
    below = np.where(share == 1, 0.0, (1 - share) * table[left])
    found = below + np.where(share == 0, 0.0, share * table[right])
    outside = (knots < positions[0] - SAME_AGE) | (knots > positions[-1] + SAME_AGE)
    return np.where(outside[:, None], np.nan, found)


def _choose(
    prepared: list[_Prepared], curves: StatisticsCurves, sites: np.ndarray
) -> tuple[_Prepared, dict[str, Smoother]]:
    """The way of counting age and the forms with the smallest errors on points left out."""
    groups = dict(zip(curves.groups, sites.T, strict=True))
    smoothers: list[Smoother] = []
    for symmetric in (True, False) if "composition" in curves.groups else (False,):
        points = coordinates(groups, curves.groups, sites, symmetric)
        smoothers += [Smoother(form, points) for form in forms(points, symmetric)]
    found = []
    for candidate in prepared:
        step = math.ceil(len(candidate.ages.knots) / COMPARED)
        chosen, total = {}, 0.0
        for name, sample in candidate.samples.items():
            thinned = replace(sample, values=sample.values[:, ::step])
            errors = [left_out_error(s, thinned) for s in smoothers]
            best = int(np.argmin(errors))
            chosen[name] = smoothers[best]
            total += math.log(max(errors[best], 1e-12)) if math.isfinite(errors[best]) else 0.0
        found.append((total, candidate, chosen))
    _, candidate, chosen = min(found, key=lambda row: row[0])
    return candidate, chosen


def _few_starts(curves: StatisticsCurves, sites: int, level: float) -> float:
    """What bands are widened by where points share their starts: many trajectories, but few starts.

    Were the deviation due to a start the same at all points, the starts would be a sample of its spread no larger than
    their number, and Student's quantile would take the place of the normal one. It is so at most, so this is cautious.
    """
    shared = {t.start for t in curves.trajectories if t.shared}
    number = len(shared) + sum(not t.shared for t in curves.trajectories)
    if not shared or sites == 1 or number < 2:
        return 1.0
    tail = 0.5 * (1.0 + level)
    # Errors are against the mean of one start less than the prediction is made of.
    fewer = math.sqrt((1.0 + 1.0 / number) / (1.0 + 1.0 / (number - 1)))
    return float(student.ppf(tail, number - 1) / normal.ppf(tail)) * fewer


def _fit(
    smoother: Smoother, sample: AlignedCurves, positive: bool, squeeze: bool, level: float, factor: float
) -> QoiFit:
    means, counts = sample.means()
    total = counts.max(1)
    error = left_out_error(smoother, sample)
    return QoiFit(
        positive=positive,
        smoother=smoother,
        counts=total,
        coefficients=smoother.coefficients(means, counts),
        widths=factor * conformal_widths(scores(smoother, sample, total), level),
        squeeze=squeeze,
        error=error if math.isfinite(error) else math.nan,
        seed_spread=sample.seed_spread(),
    )
