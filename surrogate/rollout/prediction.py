"""What a learned model gives back: frames, and what there is to know about whether to believe them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from solvers import Frames


@dataclass(frozen=True)
class Prediction:
    """Frames of a batch and their counters.

    Attributes:
        frames: ``field`` (batch, time, y, x), ``free_energy`` (batch, time), and labels for grain growth.
        mass_drift: (batch,) largest change of the field's mean from its first frame, in units of the wells.
        energy_rises: (batch,) frames at which the free energy is above that of the frame before.
        guarded: (batch,) steps that raised the energy and were replaced.
        start_ages: (batch,) scaled age from which on the model ran; infinite where the solver did all.
        trust: (batch,) float32, 1 inside the model's domain, 0 outside.
        reasons: (batch,) why a sample is outside; empty inside.
        ages: (batch, time) scaled ages of the frames.
        lead: (batch, time) ages less ``start_ages``: 0 and less for the solver's own frames, -inf where it did all.
        groups: name -> (batch,) the model's dimensionless groups, and ``box`` (log2 of cells a side over 64), for
            bands.
        features: (batch, feature) of the frames that the model started from, NaN where there was none.
        wavenumbers: (K,) of the structure factor, rad/cell.
        unit: half the distance between the wells, in units of the field; 1 for grain growth.
    """

    frames: Frames
    mass_drift: np.ndarray
    energy_rises: np.ndarray
    guarded: np.ndarray
    start_ages: np.ndarray
    trust: np.ndarray
    reasons: list[str]
    ages: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    lead: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    groups: dict[str, np.ndarray] = field(default_factory=dict)
    features: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    wavenumbers: np.ndarray = field(default_factory=lambda: np.empty(0))
    spacing: float = 1.0
    unit: float = 1.0
