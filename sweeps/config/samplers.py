"""Samplers of designs: how points are spread over ranges of parameters.

A sampler of your own is a :class:`DesignSampler` handed to :func:`register_sampler`, or the entry point of an installed
package in the group ``phasetwin.samplers``; ``design: {sampler: NAME, n: 64, seed: 0}`` then takes its name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from solvers.registries import Reference, Registry


class Draw(Protocol):
    """Draws points in the unit cube."""

    def __call__(self, n: int, dims: int, seed: int) -> np.ndarray:
        """float64 (n, dims) in [0, 1]; the same for the same seed."""


@dataclass(frozen=True)
class DesignSampler:
    """A sampler: the word after ``sampler:``, and a :class:`Draw`."""

    name: str
    draw: Reference


def _random(n: int, dims: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((n, dims))


def _latin_hypercube(n: int, dims: int, seed: int) -> np.ndarray:
    from scipy.stats import qmc  # half a second that only samplers need

    return qmc.LatinHypercube(d=dims, seed=np.random.default_rng(seed)).random(n)


def _sobol(n: int, dims: int, seed: int) -> np.ndarray:
    """Points are drawn to the next power of two and cut, so a longer design begins with a shorter one."""
    from scipy.stats import qmc

    rng = np.random.default_rng(seed)
    return qmc.Sobol(d=dims, scramble=True, seed=rng).random_base2((n - 1).bit_length())[:n]


SAMPLERS_HERE = (
    DesignSampler("sobol", _sobol),
    DesignSampler("lhs", _latin_hypercube),
    DesignSampler("random", _random),
)
#: Every sampler of designs known here.
SAMPLERS: Registry[DesignSampler] = Registry(
    "design.sampler", "phasetwin.samplers", (SAMPLERS_HERE,), only=DesignSampler
)


def register_sampler(sampler: DesignSampler) -> DesignSampler:
    """Make a sampler of designs known; raises InputError for a name that another one has."""
    return SAMPLERS.register(sampler)
