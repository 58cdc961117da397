"""Learned steppers and the emulator of statistics: networks, training, shipped weights with model cards, trust.

Names are imported when they are first used: torch takes a second to load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from surrogate.models.files import load_surrogate, shipped
    from surrogate.models.protocol import Surrogate
    from surrogate.rollout.prediction import Prediction

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "models.files": ["load_surrogate", "shipped"],
        "models.protocol": ["Surrogate"],
        "rollout.prediction": ["Prediction"],
    },
)
