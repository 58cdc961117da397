"""A smooth model of features over the variables: kriging of each number, its form chosen by leaving points out.

Quantities are modelled rather than losses made of them (Astudillo and Frazier, Bayesian optimization of composite
functions, ICML 2019): |q - target| has a kink at the target, q has none. All trials have the same random starts, so
features are smooth functions of the variables up to topological events.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from surrogate.emulator.regression import AlignedCurves, Form, Smoother, left_out_error, monomials

LENGTHS = (0.5, 1.0, 2.0, 4.0)
NUGGETS = (1e-6, 1e-4, 1e-2)
#: Numbers by which forms are compared; a curve on several starts has hundreds, much alike.
COMPARED = 12


def model_forms(points: np.ndarray) -> list[Form]:
    """Forms of a model that points (site, coordinate) can decide between."""
    sites, dimensions = points.shape
    found = [Form(0, 0.0, 1.0, False)]
    for degree in (1, 2):
        terms = math.comb(degree + dimensions, dimensions)
        if terms + 2 > sites or np.linalg.matrix_rank(monomials(points, degree)) < terms:
            break
        found.append(Form(degree, 0.0, 1.0, False))
        found += [Form(degree, length, nugget, False) for length in LENGTHS for nugget in NUGGETS]
    return found


def correction_forms(points: np.ndarray) -> list[Form]:
    """Forms of a difference between fidelity levels: a constant, or one plus a part that decays with the distance."""
    if len(points) < 3:
        return [Form(0, 0.0, 1.0, False)]
    return [Form(0, length, 1e-4, False) for length in (0.3, 0.7, 1.5, 3.0)]


@dataclass(frozen=True)
class KrigingFit:
    """A function from the unit cube to numbers."""

    smoother: Smoother
    coefficients: np.ndarray

    def __call__(self, unit: np.ndarray) -> np.ndarray:
        """(point, variable) -> (point, number)."""
        return self.smoother.basis(2.0 * unit - 1.0) @ self.coefficients


def fit(unit: np.ndarray, values: np.ndarray, corrections: bool = False) -> KrigingFit:
    """Fit finite numbers (site, number) at sites (site, variable) in the unit cube.

    ``corrections`` are differences between fidelity levels rather than quantities.
    """
    points = 2.0 * unit - 1.0
    smoothers = [Smoother(form, points) for form in (correction_forms if corrections else model_forms)(points)]
    best = smoothers[0]
    if len(smoothers) > 1:
        step = math.ceil(values.shape[1] / COMPARED)
        scale = np.maximum(values.std(0), 1e-12)
        shown = (values / scale)[:, None, ::step]
        sample = AlignedCurves(shown, np.arange(len(points)), np.full(len(points), -1), len(points))
        best = smoothers[int(np.argmin([left_out_error(s, sample) for s in smoothers]))]
    counts = np.ones((len(points), 1), dtype=np.int64)
    return KrigingFit(best, best.coefficients(values[:, None, :], counts)[:, 0])


@dataclass(frozen=True)
class FeatureTransform:
    """How features are modelled: the logarithm of a feature that is positive everywhere, else the feature itself."""

    logarithmic: tuple[bool, ...]

    @classmethod
    def of(cls, features: Sequence[np.ndarray]) -> FeatureTransform:
        """Chosen by known features, one array a criterion."""
        return cls(tuple(bool(values.size and (values > 0).all()) for values in features))

    def flatten(self, features: Sequence[np.ndarray]) -> np.ndarray:
        """For each criterion (point, realization, number) to one transformed (point, number) of all."""
        parts = [
            (np.log(np.maximum(v, 1e-300)) if log else v).reshape(len(v), -1)
            for v, log in zip(features, self.logarithmic, strict=True)
        ]
        return np.concatenate(parts, axis=1)

    def unflatten(self, flat: np.ndarray, shapes: Sequence[tuple[int, int]]) -> list[np.ndarray]:
        """The inverse of :meth:`flatten`."""
        stops = np.cumsum([a * b for a, b in shapes])
        parts = np.split(flat, stops[:-1], axis=1)
        return [
            (np.exp(np.clip(p, -690, 690)) if log else p).reshape(len(p), *shape)
            for p, shape, log in zip(parts, shapes, self.logarithmic, strict=True)
        ]
