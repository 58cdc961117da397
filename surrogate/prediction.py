"""What a learned model gives back: frames, and what there is to know about whether to believe them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from solvers import Frames


@dataclass(frozen=True)
class Prediction:
    """Frames of a batch and their counters.

    Attributes:
        frames: ``field`` (batch, time, y, x), ``free_energy`` (batch, time), and labels for grain growth.
        mass_drift: (batch,) largest change of the field's mean from its first frame, in units of the wells.
        energy_rises: (batch,) frames at which the free energy is above that of the frame before.
        guarded: (batch,) steps that raised the energy and were handed to the solver.
        handover: (batch,) scaled age at which the model took over from the solver; infinite where it never did.
        trust: (batch,) float32, 1 inside the model's domain, 0 outside.
        reasons: (batch,) why a sample is outside; empty inside.
    """

    frames: Frames
    mass_drift: np.ndarray
    energy_rises: np.ndarray
    guarded: np.ndarray
    handover: np.ndarray
    trust: np.ndarray
    reasons: list[str]
