"""Calibration of learned models on finished sweeps: bands, the trust domain, and how well both do on fresh ones.

``cases``: starts and true statistics of a store. ``rollouts``: what a model makes of them. ``fit``: bands. ``area``:
the domain. ``measure``: coverage and flags. ``run``: all of it, for ``phasetwin evaluate MODEL --calibrate``.
"""

from __future__ import annotations

from surrogate.uncertainty.calibration.cases import Case, store_cases
from surrogate.uncertainty.calibration.coverage import Measured, measure_coverage
from surrogate.uncertainty.calibration.fit import calibrate
from surrogate.uncertainty.calibration.rollouts import Outcome, predict
from surrogate.uncertainty.calibration.trust_domain import fit_model_domain

__all__ = [
    "Case",
    "Measured",
    "Outcome",
    "calibrate",
    "fit_model_domain",
    "measure_coverage",
    "predict",
    "store_cases",
]
