"""Mobility and gradient energy of Cahn-Hilliard from the inside of frames alone: no boundary, no start, no run.

Multiplied by a test function psi(y, x) theta(t) that vanishes with its derivatives at the edge of its support, and
integrated by parts, dc/dt = M lap(c^3 - c - kappa lap c) becomes

    -<c, psi theta_t> = M <c^3 - c, lap psi theta> - M kappa <c, lap^2 psi theta>,

in which nothing is differentiated but the test function: one linear equation for each place that the function is put
(Messenger and Bortz 2021, doi:10.1016/j.jcp.2021.110525). What lies outside the frames does not occur in it.

Noise s changes the mean of c^3 by 3 s^2 c, which is taken off again. The two terms on the right are large and nearly
cancel: their ratio, kappa, is found well, and so are the wells, from the ratios of a cubic's terms. What is left of the
two is small, and noise in it makes mobility too small (errors in variables). So mobility is found from frames that the
equation itself has smoothed for a moment, with that kappa.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.fft import dctn, idctn
from scipy.ndimage import correlate1d

#: Powers of the test functions (1 - x^2)^p in space and in time: smooth enough for four derivatives.
_SPACE_POWER, _TIME_POWER = 7, 3
# Constants were chosen with ``python benchmarks/interior_estimate.py --seeds calibrate``.
#: Half the width of the test functions, in cells for kappa = 1, and the least of it.
_HALF_WIDTH, _LEAST_HALF_WIDTH = 10.0, 8
#: Frames are smoothed for so long, in units of kappa / M, times the noise, and at most for the second.
_SMOOTHED, _LONGEST = 40.0, 8.0
#: Share of mobility by which smoothing makes it too large at most.
_SMOOTHING_ERROR = 0.03
#: Noise below which frames are taken as they are.
_QUIET = 0.01
_STEP = 0.25
#: Noise up to which the wells are found by the dynamics, and how far off they are looked for.
_NOISY, _LEVELS_OFF = 0.8, 0.6
#: Noise in the regressors draws wells together by this share of their distance, times the noise squared; what is left
#: of that after correction (a standard error); and by how much mobility and kappa are off for it.
_DRAWN, _DRAWN_ERROR, _BY_LEVELS = 0.28, 0.2, 5.0
#: Implicit part of the slope of c^3 - c.
_STABILISER = 2.0
#: Cells at the rim that smoothing with mirrored edges spoils.
_RIM = 6
#: Where kappa is looked for, in cells.
_KAPPA_RANGE = (0.05, 50.0)
_FEWEST_FRAMES = 4
#: Estimates from parts overlap, so their scatter says less than that of independent ones.
_OVERLAPPING = 1.5

_Ders = tuple[int, int]


@dataclass(frozen=True)
class InteriorEstimate:
    """Material from the interior of frames, with standard errors (relative); lengths as those of ``spacing``."""

    mobility: float
    kappa: float
    mobility_error: float
    kappa_error: float


def interior_estimate(
    composition: np.ndarray,
    seen: np.ndarray,
    times: np.ndarray,
    noise: float,
    spacing: float,
    levels_known: bool = True,
) -> InteriorEstimate | None:
    """Mobility (W = 1) and kappa from frames; None where the frames are too few or too small for it.

    Args:
        composition: (time, y, x), -1 and 1 in the wells; pixels that were not seen filled in.
        seen: bool (time, y, x). Test functions that touch a pixel that was not are left out.
        times: (time,) increasing.
        noise: standard deviation of a pixel.
        spacing: side of a pixel (length).
        levels_known: False if the wells may lie a little off -1 and 1; they are then found as well, where noise allows.
    """
    smallest = min(composition.shape[1:]) - 2 * _RIM
    if len(times) < _FEWEST_FRAMES or smallest < 2 * _LEAST_HALF_WIDTH + 5:
        return None
    middle, half = (
        (0.0, 1.0) if levels_known else well_levels(composition, seen, times, noise, _half_width(1.0, smallest))
    )
    composition, noise = (composition - middle) / half, noise / half
    kappa = 1.0
    for _ in range(2):  # the test functions' width follows from kappa
        half_width = _half_width(kappa, smallest)
        first = _equations(composition, seen, times, noise, half_width, rim=0)
        kappa = _kappa(first.whole())
        if not _KAPPA_RANGE[0] < kappa < _KAPPA_RANGE[1]:
            return None
    smooth = _smoothed(composition, kappa, noise)
    second = _equations(smooth, seen, times, 0.0, half_width, rim=0 if smooth is composition else _RIM)
    mobility = _mobility(second.whole(), kappa)
    kappas = [_kappa(part) / kappa for part in first.parts()]
    mobilities = [_mobility(part, kappa) / mobility for part in second.parts()]
    levels = 0.0 if levels_known else _BY_LEVELS * _DRAWN_ERROR * noise**2
    return InteriorEstimate(
        mobility * spacing**2,
        kappa * spacing**2,
        math.hypot(_scatter(mobilities), 0.0 if smooth is composition else _SMOOTHING_ERROR, levels),
        math.hypot(_scatter(kappas), levels),
    )


def wells(field: np.ndarray, seen: np.ndarray, times: np.ndarray, noise: float) -> tuple[float, float] | None:
    """Where the wells are of a field that was scaled to have them near -1 and 1; None where the frames do not tell.

    Arguments as those of :func:`interior_estimate`.
    """
    smallest = min(field.shape[1:]) - 2 * _RIM
    if len(times) < _FEWEST_FRAMES or smallest < 2 * _LEAST_HALF_WIDTH + 5:
        return None
    middle, half = well_levels(field, seen, times, noise, _half_width(1.0, smallest))
    return None if (middle, half) == (0.0, 1.0) else (middle - half, middle + half)


def well_levels(
    values: np.ndarray, seen: np.ndarray, times: np.ndarray, noise: float, half_width: int
) -> tuple[float, float]:
    """Middle of the wells and half their distance, as the dynamics tell: (0, 1) where noise does not allow it.

    Of y = middle + half c the force is a cubic with free coefficients, whose ratios say where its wells lie. ``values``
    (time, y, x) must have them within :data:`_LEVELS_OFF` of -1 and 1.
    """
    if noise > _NOISY:
        return 0.0, 1.0
    slope, test = _in_time(times)
    valid = _valid(seen, half_width)
    force = [np.tensordot(test, _laplacian(v, half_width), 1)[valid] for v in _powers(values, noise)]
    gradient = np.tensordot(test, _bilaplacian(values, half_width), 1)[valid]
    left = np.tensordot(slope, _projected(values, half_width, (0, 0)), 1)[valid]
    # The cubic term on the others, for the reason that _kappa gives.
    first, second = np.linalg.lstsq(np.stack([force[0], force[1], gradient, left], 1), force[2], rcond=None)[0][:2]
    middle = second / 3.0
    square = first + 3.0 * middle**2
    half = math.sqrt(square) if square > 0.0 else 0.0
    half *= 1.0 + _DRAWN * noise**2
    near = abs(middle) < _LEVELS_OFF and abs(half - 1.0) < _LEVELS_OFF
    return (float(middle), half) if near else (0.0, 1.0)


def _powers(values: np.ndarray, noise: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First to third power (time, y, x) without what noise adds to their means, constants aside."""
    return values, values**2, values**3 - 3.0 * noise**2 * values


def _half_width(kappa: float, smallest: int) -> int:
    most = (smallest - 5) // 2
    return int(min(most, max(_LEAST_HALF_WIDTH, round(_HALF_WIDTH * min(math.sqrt(kappa), 2.0)))))


def _scatter(values: list[float]) -> float:
    """Standard error of the mean of estimates from overlapping parts; infinite for fewer than three."""
    found = np.array([v for v in values if np.isfinite(v)])
    if len(found) < 3:
        return math.inf
    return float(_OVERLAPPING * found.std(ddof=1) / math.sqrt(len(found)))


@dataclass(frozen=True)
class _Equations:
    """Left side, and the factors of M and of M kappa, of every place; (set, y, x), by set of frames, first all.

    ``valid`` (y, x) says where all pixels were seen.
    """

    left: np.ndarray
    potential: np.ndarray
    gradient: np.ndarray
    valid: np.ndarray

    def whole(self) -> np.ndarray:
        """The products (3, 3) of the three with each other over all places, from all frames."""
        return self._products(0, self.valid)

    def parts(self) -> Iterator[np.ndarray]:
        """The same of four quarters of the places, from every second frame where there are enough."""
        rows, columns = (n // 2 for n in self.valid.shape)
        for i in (slice(None, rows), slice(rows, None)):
            for j in (slice(None, columns), slice(columns, None)):
                quarter = np.zeros_like(self.valid)
                quarter[i, j] = self.valid[i, j]
                for subset in range(min(1, len(self.left) - 1), len(self.left)):
                    yield self._products(subset, quarter)

    def _products(self, subset: int, places: np.ndarray) -> np.ndarray:
        rows = np.stack([each[subset][places] for each in (self.left, self.potential, self.gradient)])
        return np.asarray(rows @ rows.T)


def _kappa(products: np.ndarray) -> float:
    """Kappa by least squares of the first term on the second and on the left side; NaN where they do not say.

    The two terms are large, their difference is small: as the unknown of either, kappa does not mind noise in it, nor
    a material in which next to nothing moves.
    """
    others = products[np.ix_([0, 2], [0, 2])]
    try:
        return float(np.linalg.solve(others, products[[0, 2], 1])[1])
    except np.linalg.LinAlgError:
        return math.nan


def _mobility(products: np.ndarray, kappa: float) -> float:
    """M by least squares with kappa given."""
    direction = np.array([1.0, -kappa])
    size = float(direction @ products[1:, 1:] @ direction)
    return float(direction @ products[1:, 0]) / size if size > 0.0 else math.nan


def _equations(
    c: np.ndarray, seen: np.ndarray, times: np.ndarray, noise: float, half_width: int, rim: int
) -> _Equations:
    inside = slice(rim, -rim or None)
    c, m = c[:, inside, inside], half_width
    value = _projected(c, m, (0, 0))
    first, _, third = _powers(c, noise)
    potential, gradient = _laplacian(third - first, m), _bilaplacian(c, m)
    valid = _valid(seen[:, inside, inside], m)
    sets = [np.arange(len(times))]
    if len(times) >= 2 * _FEWEST_FRAMES:
        sets += [np.arange(0, len(times), 2), np.arange(1, len(times), 2)]
    weights = np.zeros((2, len(sets), len(times)))
    for k, chosen in enumerate(sets):
        weights[0, k, chosen], weights[1, k, chosen] = _in_time(times[chosen])
    left, test = (np.tensordot(w, values, 1) for w, values in zip(weights, (value, potential), strict=True))
    return _Equations(-left, test, np.tensordot(weights[1], gradient, 1), valid)


def _valid(seen: np.ndarray, half_width: int) -> np.ndarray:
    """Places (y, x) of test functions that touch no pixel that was not seen in some frame."""
    hidden = np.asarray((~seen).any(axis=0))[None].astype(np.float64)
    return np.asarray(_projected(hidden, half_width, (0, 0))[0] < 1e-9)


def _in_time(times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights (time,) of frames in the integrals of theta_t and of theta, by the trapezoidal rule."""
    half = 0.5 * (times[-1] - times[0])
    x = (times - times[0]) / half - 1.0
    rule = np.zeros(len(times))
    rule[:-1] += 0.5 * np.diff(times)
    rule[1:] += 0.5 * np.diff(times)
    slope = -2.0 * _TIME_POWER * x * (1.0 - x * x) ** (_TIME_POWER - 1) / half
    return rule * slope, rule * (1.0 - x * x) ** _TIME_POWER


def _projected(values: np.ndarray, half_width: int, derivatives: _Ders) -> np.ndarray:
    """Integrals (time, y, x) of ``values`` with derivatives of psi around each place whose support lies inside."""
    for axis, order in zip((1, 2), derivatives, strict=True):
        values = correlate1d(values, _bump(half_width, order), axis=axis, mode="constant")
    return values[:, half_width:-half_width, half_width:-half_width]


def _laplacian(values: np.ndarray, half_width: int) -> np.ndarray:
    return _projected(values, half_width, (2, 0)) + _projected(values, half_width, (0, 2))


def _bilaplacian(values: np.ndarray, half_width: int) -> np.ndarray:
    mixed = 2.0 * _projected(values, half_width, (2, 2))
    return _projected(values, half_width, (4, 0)) + mixed + _projected(values, half_width, (0, 4))


@cache
def _bump(half_width: int, derivative: int) -> np.ndarray:
    function = np.polynomial.Polynomial([1.0, 0.0, -1.0]) ** _SPACE_POWER
    x = np.arange(-half_width, half_width + 1) / half_width
    return np.asarray((function.deriv(derivative) if derivative else function)(x) / half_width**derivative)


def _smoothed(c: np.ndarray, kappa: float, noise: float) -> np.ndarray:
    """Frames after a short run of the equation from each, mirrored at the edges, by which noise decays."""
    if noise < _QUIET:
        return c
    until = kappa * min(_SMOOTHED * noise, _LONGEST)
    steps = max(2, math.ceil(until / (_STEP * kappa)))
    step = until / steps
    k2 = sum(
        ((np.pi * np.arange(n) / n) ** 2).reshape([-1 if a == b else 1 for b in (0, 1)])
        for a, n in enumerate(c.shape[1:])
    )
    spectrum = dctn(c, axes=(1, 2))
    for _ in range(steps):
        force = dctn(c * (c * c - (1.0 + _STABILISER)), axes=(1, 2))
        spectrum = (spectrum - step * k2 * force) / (1.0 + step * k2 * (kappa * k2 + _STABILISER))
        c = idctn(spectrum, axes=(1, 2))
    return np.asarray(c)
