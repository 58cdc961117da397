"""Calibration of learned models on finished sweeps: bands, the trust domain, and how well both do on fresh ones.

``cases``: starts and true statistics of a store. ``rollouts``: what a model makes of them. ``fit``: bands. ``area``:
the domain. ``measure``: coverage and flags. ``run``: all of it, for ``phasetwin evaluate MODEL --calibrate``.
"""

from __future__ import annotations

from surrogate.calibration.area import fit_model_domain
from surrogate.calibration.cases import Case, store_cases
from surrogate.calibration.fit import calibrate
from surrogate.calibration.measure import Measured, measure_coverage
from surrogate.calibration.rollouts import Outcome, predict

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
