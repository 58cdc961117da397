"""Smooth functions of dimensionless groups through curves at given ages, chosen and judged by leaving points out.

At each age, values y_i at points x_i are fitted by universal kriging with a nugget (Wahba 1990,
doi:10.1137/1.9781611970128; a polynomial alone is the case without a kernel): with K the kernel, P the monomials,
n_i trajectories at a point and nugget l,

    [K + l diag(1/n_i)  P] [a]   [y]
    [P^T                0] [b] = [0],          B the inverse of that matrix.

Leaving point i out misses y_i by (B y)_i / B_ii (Dubrule 1983, doi:10.1007/BF01033232), so every candidate is judged
by predictions of points it has not seen at the price of one inverse.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

SMALLEST = 1e-12
#: Starts shared by all points are left out together with each point, in at most so many portions.
START_FOLDS = 16


@dataclass(frozen=True)
class Form:
    """The form of a fit.

    Attributes:
        degree: of the polynomial part.
        length: of the Matern 5/2 kernel, in half-widths of the box; 0 for none.
        nugget: variance of one trajectory about the function, over the kernel's.
        symmetric: whether composition enters as its square.
    """

    degree: int
    length: float
    nugget: float
    symmetric: bool


def forms(points: np.ndarray, symmetric: bool) -> Iterator[Form]:
    """The candidates that points (site, coordinate) can decide between."""
    sites, dimensions = points.shape
    for degree in range(4 if dimensions else 1):
        terms = math.comb(degree + dimensions, dimensions)
        if degree and (terms + 1 >= sites or np.linalg.matrix_rank(monomials(points, degree)) < terms):
            return
        yield Form(degree, 0.0, 1.0, symmetric)
        if degree == 1:
            for length, nugget in itertools.product((0.7, 1.5, 3.0), (1e-3, 1e-2, 1e-1)):
                yield Form(1, length, nugget, symmetric)


@dataclass
class Smoother:
    """Fits of one form on one set of points (site, coordinate in [-1, 1]); inverses are kept by pattern of counts."""

    form: Form
    points: np.ndarray
    _inverses: dict[bytes, np.ndarray] = field(default_factory=dict)

    def basis(self, x: np.ndarray) -> np.ndarray:
        """(batch, coordinate) to (batch, site + monomial): kernel values, then monomials."""
        return np.concatenate([self._kernel(x), monomials(x, self.form.degree)], axis=1)

    def _kernel(self, x: np.ndarray) -> np.ndarray:
        if not self.form.length:
            return np.zeros((len(x), len(self.points)))
        square = (x**2).sum(1)[:, None] + (self.points**2).sum(1)[None, :] - 2 * x @ self.points.T
        r = np.sqrt(5.0 * np.maximum(square, 0.0)) / self.form.length
        return (1.0 + r + r * r / 3.0) * np.exp(-r)

    def inverse(self, counts: np.ndarray) -> np.ndarray:
        """B for so many trajectories at each point (site,); rows and columns of points without any are zero."""
        key = counts.tobytes()
        if key not in self._inverses:
            size = len(self.points)
            there = np.flatnonzero(counts > 0)
            p = monomials(self.points[there], self.form.degree)
            k = self._kernel(self.points[there])[:, there]
            whole = np.block([[k + np.diag(self.form.nugget / counts[there]), p], [p.T, np.zeros((p.shape[1],) * 2)]])
            # Points that do not determine the polynomial leave a choice: the smallest coefficients are taken.
            determined = np.linalg.matrix_rank(p) == p.shape[1]
            rows = np.concatenate([there, size + np.arange(p.shape[1])])
            full = np.zeros((size + p.shape[1],) * 2)
            full[np.ix_(rows, rows)] = np.linalg.inv(whole) if determined else np.linalg.pinv(whole, hermitian=True)
            self._inverses[key] = full
        return self._inverses[key]

    def coefficients(self, means: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """(site + monomial, knot, extra) from means (site, knot, extra), counts (site, knot)."""
        size = len(self.points)
        columns = [
            np.tensordot(self.inverse(n)[:, :size], np.where(n[:, None] > 0, means[:, j], 0.0), axes=1)
            for j, n in enumerate(counts.T)
        ]
        return np.stack(columns, axis=1)

    def left_out(self, means: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Prediction at each point from the others, (site, knot, extra); NaN where there is no data or no others."""
        size = len(self.points)
        found = np.full(means.shape, np.nan)
        for j, n in enumerate(counts.T):
            inverse = self.inverse(n)[:size, :size]
            diagonal = np.diag(inverse)
            good = (n > 0) & (diagonal > SMALLEST)
            error = inverse @ np.where(n[:, None] > 0, means[:, j], 0.0)
            found[good, j] = means[good, j] - error[good] / diagonal[good, None]
        return found

    def spread(self, x: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Kriging standard deviation of a new trajectory at x (batch, coordinate), in those of the nugget."""
        b = self.basis(x)
        own = 1.0 if self.form.length else 0.0
        variance = own - ((b @ self.inverse(counts)) * b).sum(1)
        return np.sqrt(1.0 + np.maximum(variance, 0.0) / self.form.nugget)

    def spread_left_out(self, counts: np.ndarray) -> np.ndarray:
        """The same at each point (site,) from the others; NaN where they do not determine it."""
        diagonal = np.diag(self.inverse(counts))[: len(counts)]
        usable = (counts > 0) & (diagonal > SMALLEST)
        own = self.form.nugget / np.maximum(counts, 1)
        variance = np.maximum(1.0 / np.where(usable, diagonal, 1.0) - own, 0.0)
        return np.where(usable, np.sqrt(1.0 + variance / self.form.nugget), np.nan)


def monomials(x: np.ndarray, degree: int) -> np.ndarray:
    """(batch, coordinate) to (batch, monomial) of total degree up to ``degree``."""
    columns = [np.ones(len(x))]
    for total in range(1, degree + 1):
        for which in itertools.combinations_with_replacement(range(x.shape[1]), total):
            columns.append(np.prod(x[:, which], axis=1))
    return np.stack(columns, axis=1)


@dataclass(frozen=True)
class AlignedCurves:
    """Curves at common ages.

    Attributes:
        values: (trajectory, knot, extra), NaN where unknown.
        site: (trajectory,) number of the point.
        fold: (trajectory,) portion of its start among starts shared by all points; -1 for starts of its own.
        sites: how many points there are.
    """

    values: np.ndarray
    site: np.ndarray
    fold: np.ndarray
    sites: int

    def means(self, use: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Mean over a point's trajectories (site, knot, extra), 0 without any, and their number (site, knot)."""
        known = np.isfinite(self.values).all(2)
        if use is not None:
            known &= use[:, None]
        counts = np.zeros((self.sites, known.shape[1]), dtype=np.int64)
        sums = np.zeros((self.sites, *self.values.shape[1:]))
        np.add.at(counts, self.site, known)
        np.add.at(sums, self.site, np.where(known[:, :, None], self.values, 0.0))
        return sums / np.maximum(counts, 1)[:, :, None], counts

    def seed_spread(self) -> float:
        """Root mean square over trajectories about their point's mean; NaN without two at some point."""
        means, counts = self.means()
        several = counts[self.site] > 1
        if not several.any():
            return math.nan
        square = np.square(self.values - means[self.site]).mean(2)
        bias = counts[self.site] / np.maximum(counts[self.site] - 1, 1)
        return float(np.sqrt((square * bias)[several & np.isfinite(square)].mean()))


def left_out_error(smoother: Smoother, sample: AlignedCurves) -> float:
    """Root mean square miss of the means of points left out; infinite if none could be predicted."""
    means, counts = sample.means()
    error = (smoother.left_out(means, counts) - means)[counts > 0]
    if not np.isfinite(error).any():
        return math.inf
    # A point that the others cannot predict is a failure of the form, not a point to leave out of the mean.
    return math.inf if np.isnan(error).mean() > 0.2 else float(np.sqrt(np.nanmean(error**2)))


def scores(smoother: Smoother, sample: AlignedCurves, counts: np.ndarray) -> np.ndarray:
    """Errors on trajectories of left-out points over the kriging spread, (trajectory, knot, extra); NaN where unknown.

    A start shared by all points is left out as well, as its other trajectories deviate alike. ``counts`` (site,) are
    the trajectories of each point, for the spread.
    """
    found = np.full(sample.values.shape, np.nan)
    for fold in np.unique(sample.fold):
        here = sample.fold == fold
        means, number = sample.means(~here if fold >= 0 else None)
        if sample.sites == 1:
            found[here] = _errors_at_the_point(sample, here)
            continue
        if not number.any():
            continue
        predicted = smoother.left_out(means, number)[sample.site[here]]
        found[here] = np.abs(sample.values[here] - predicted)
    if sample.sites == 1:
        return found
    return found / smoother.spread_left_out(counts)[sample.site][:, None, None]


def _errors_at_the_point(sample: AlignedCurves, here: np.ndarray) -> np.ndarray:
    """Misses of the only point's trajectories by the mean of the others, over the spread of such a difference."""
    total, number = np.nansum(sample.values, 0), np.isfinite(sample.values).sum(0)
    own = sample.values[here]
    others = np.maximum(number - 1, 1)
    error = np.abs(own - (total - np.nan_to_num(own)) / others) / np.sqrt(1.0 + 1.0 / others)
    return np.where(number > 1, error, np.nan)


def conformal_widths(errors: np.ndarray, level: float) -> np.ndarray:
    """(knot, extra) conformal quantiles of errors (trajectory, knot, extra), the trajectory as unit; NaN left out."""
    ordered = np.sort(errors, axis=0)  # NaN last
    number = (~np.isnan(errors)).sum(0)
    rank = np.ceil(level * (number + 1) - 1e-9).astype(int)
    picked = np.take_along_axis(ordered, np.clip(rank - 1, 0, len(errors) - 1)[None], 0)[0]
    return np.where(rank <= number, picked, np.inf)
