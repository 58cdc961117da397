"""Samplers that ignore results: a Sobol sequence and a grid, continued from batch to batch.

Optuna's own start from the beginning when a study is resumed.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import qmc

from studies.inverse.samplers.registry import TrialWindow

if TYPE_CHECKING:
    from studies.inverse.space import SearchSpace


def sobol(space: SearchSpace, seed: int, trials: TrialWindow, count: int) -> np.ndarray:  # noqa: ARG001
    """The next points of one scrambled Sobol sequence."""
    rng = np.random.default_rng(trials.study.sampler.seed)
    sequence = qmc.Sobol(space.size, scramble=True, seed=rng)
    if trials.proposed:  # `Sobol.fast_forward` refuses 0
        sequence.fast_forward(trials.proposed)
    with warnings.catch_warnings():
        # scipy warns where a batch is no power of two; what counts here is the whole sequence.
        warnings.simplefilter("ignore", UserWarning)
        return space.values(sequence.random(count))


def grid(space: SearchSpace, seed: int, trials: TrialWindow, count: int) -> np.ndarray:  # noqa: ARG001
    """The next points of a grid in shuffled order, as fine as the study's trials allow; after the last the first."""
    side = max(2, math.floor(trials.study.trials ** (1.0 / space.size) + 1e-9))
    cells = side**space.size
    order = np.random.default_rng(trials.study.sampler.seed).permutation(cells)
    chosen = order[np.arange(trials.proposed, trials.proposed + count) % cells]
    index = np.stack(np.unravel_index(chosen, (side,) * space.size), axis=1)
    return space.values(np.linspace(0.0, 1.0, side)[index])
