"""How hard a frame is to predict, as a smooth function of lead, age and dimensionless groups.

Dividing errors by it before their quantile is taken, and multiplying bands by it, moves width from easy to hard
trajectories: locally weighted conformal prediction (Lei et al. 2018, doi:10.1080/01621459.2017.1307116, section 5.2).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from solvers.errors import InputError

#: Fewest trajectories that decide whether a difficulty helps.
FEWEST = 12
FOLDS = 5
#: A difficulty must narrow bands to this share, on trajectories it was not fitted to.
NARROWED = 0.95


@dataclass(frozen=True)
class Difficulty:
    """log d = c_0 + sum_j a_j z_j + b_j z_j^2, z_j the standardised columns, each kept in the range it was fitted on.

    ``coefficients`` are c_0, then all a_j, then all b_j.
    """

    names: tuple[str, ...]
    centre: tuple[float, ...]
    spread: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    coefficients: tuple[float, ...]

    def __post_init__(self) -> None:
        count = len(self.names)
        if any(len(column) != count for column in (self.centre, self.spread, self.low, self.high)):
            raise ValueError("difficulty: as many centres, spreads and ranges as names")
        if len(self.coefficients) != 1 + 2 * count or not all(s > 0 for s in self.spread):
            raise ValueError("difficulty: 1 + 2 names coefficients, positive spreads")

    def __call__(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """The difficulty (batch, time), positive; NaN columns give 1, others than it was fitted with an InputError."""
        if set(columns) != set(self.names):
            expected, found = ", ".join(self.names), ", ".join(columns)
            raise InputError(f"difficulty: give age and groups as the calibration had: {expected}, but got {found}")
        stacked = np.clip(np.stack([columns[n] for n in self.names], axis=-1), self.low, self.high)
        z = (stacked - np.asarray(self.centre)) / np.asarray(self.spread)
        logarithm = _design(z) @ np.asarray(self.coefficients)
        return np.exp(np.nan_to_num(logarithm, nan=0.0))


def difficulty_columns(
    lead: np.ndarray, age: ArrayLike | None, groups: Mapping[str, ArrayLike] | None
) -> dict[str, np.ndarray]:
    """What a difficulty is a function of, each (batch, time): log lead, log age where given, groups.

    Raises:
        InputError: for shapes that do not fit.
    """
    tiny = 1e-12
    columns = {"log lead": np.log(np.maximum(lead, tiny))}
    if age is not None:
        ages = np.asarray(age, dtype=np.float64)
        if ages.shape != lead.shape:
            raise InputError(f"age: shape {lead.shape} as the lead, but got {ages.shape}")
        columns["log age"] = np.log(np.maximum(ages, tiny))
    for name, values in (groups or {}).items():
        value = np.asarray(values, dtype=np.float64)
        if value.shape != lead.shape[:1]:
            raise InputError(f"groups: {name} of shape {lead.shape[:1]}, but got {value.shape}")
        columns[name] = np.broadcast_to(value[:, None], lead.shape)
    return columns


def fit_difficulty(error: np.ndarray, columns: Mapping[str, np.ndarray]) -> Difficulty | None:
    """Ridge regression of log errors; a trajectory weighs one, whatever its number of frames.

    Args:
        error: (trajectory, time, extra), NaN where unknown; the mean of log over ``extra`` is fitted.
        columns: name -> (trajectory, time).

    Returns:
        None where no error is known and positive.
    """
    usable = np.isfinite(error) & (error > 0)
    count = usable.sum(2)
    target = np.where(usable, np.log(np.where(usable, error, 1.0)), 0.0).sum(2) / np.maximum(count, 1)
    stacked = np.stack(list(columns.values()), axis=-1)
    known = (count > 0) & np.isfinite(stacked).all(-1)
    if not known.any():
        return None
    weight = (known / np.maximum(known.sum(1, keepdims=True), 1))[known]
    rows, values = stacked[known], target[known]
    total = weight.sum()
    centre = weight @ rows / total
    spread = np.sqrt(weight @ (rows - centre) ** 2 / total)
    # A column without spread says nothing: any positive unit makes it zero.
    spread = np.where(spread > 1e-9 * (1.0 + np.abs(centre)), spread, 1.0)
    design = _design((rows - centre) / spread)
    # One trajectory's worth of evidence for coefficients of zero; the constant is free.
    ridge = np.diag([0.0] + [1.0] * (design.shape[1] - 1))
    coefficients = np.linalg.solve(design.T @ (weight[:, None] * design) + ridge, design.T @ (weight * values))
    vectors = (centre, spread, rows.min(0), rows.max(0), coefficients)
    return Difficulty(tuple(columns), *(tuple(float(x) for x in v) for v in vectors))


def choose_difficulty(
    error: np.ndarray, columns: Mapping[str, np.ndarray], bins: np.ndarray, level: float
) -> Difficulty | None:
    """A difficulty fitted on all these trajectories, if it narrows bands on those left out of its fit (in five folds).

    None where it does not narrow them to :data:`NARROWED`, or for fewer than :data:`FEWEST` trajectories. Arguments as
    in :func:`fit_difficulty`; widths are compared within ``bins`` (trajectory, time) of lead.
    """
    if len(error) < FEWEST:
        return None
    factor = np.empty(bins.shape)
    fold = np.arange(len(error)) % FOLDS
    for left_out in range(FOLDS):
        fitted = fit_difficulty(error[fold != left_out], {n: c[fold != left_out] for n, c in columns.items()})
        if fitted is None:
            return None
        factor[fold == left_out] = fitted({n: c[fold == left_out] for n, c in columns.items()})
    inside = [bins == i for i in np.unique(bins)]
    ratios = [_width_ratio(error, factor, i, level) * i.sum() for i in inside]
    # Widths are compared by their geometric mean: halving a narrow band is worth as much as halving a wide one.
    if not sum(ratios) / sum(i.sum() for i in inside) < math.log(NARROWED):
        return None
    return fit_difficulty(error, columns)


def _width_ratio(error: np.ndarray, factor: np.ndarray, inside: np.ndarray, level: float) -> float:
    """Mean log of scaled over plain half-widths in a bin, were bands made of the errors there; 0 if none is finite."""
    plain = error[inside]
    known = ~np.isnan(plain).all(0)
    scaled = plain / factor[inside][:, None]
    quantiles = [np.nanquantile(e[:, known], level, axis=0, method="higher") for e in (plain, scaled)]
    usable = np.isfinite(quantiles[0]) & (quantiles[0] > 0)
    if not usable.any():
        return 0.0
    change = np.log(quantiles[1][usable]) - np.log(quantiles[0][usable])
    return float(change.mean() + np.log(factor[inside]).mean())


def _design(z: np.ndarray) -> np.ndarray:
    """(..., column) -> (..., 1 + 2 columns)."""
    return np.concatenate([np.ones((*z.shape[:-1], 1)), z, z * z], axis=-1)
