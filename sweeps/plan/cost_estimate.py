"""What a sweep will take: bytes in the store, which follow from its layout, and seconds, which are a guess.

The seconds come from a small table measured on one core of a shared x86-64 machine; expect them to be right
within a factor of about three.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sweeps.config.sweep import SweepConfig


@dataclass(frozen=True)
class Cost:
    """Seconds of one core for a trajectory of 64x64 internal cells at tolerance 1e-2, float64.

    Attributes:
        hundred: seconds for the first 100 units of scaled time M W t.
        growth: cost grows as scaled time to this power, because steps grow as the dynamics slows.
        order: cost grows as tolerance to minus this power.
        spacing: internal spacing over sqrt(kappa / W) that the tolerance 1e-2 needs.
        contrast: how many times more a composition-dependent mobility costs.
    """

    hundred: float
    growth: float
    order: float
    spacing: float
    contrast: float = 1.0


COSTS = {
    "cahn_hilliard": Cost(hundred=0.012, growth=0.8, order=0.33, spacing=1.4, contrast=20.0),
    "grain_growth": Cost(hundred=1.4, growth=0.7, order=0.4, spacing=1.0),
}
#: Seconds of one core for the QoIs and the writing of one 64x64 frame.
FRAME_SECONDS = 2e-4
FLOAT32 = 0.6
#: Scalar QoIs stored as (point, realization, time), beside the structure factor or the area quantiles.
QOI_SCALARS = {"cahn_hilliard": 5, "grain_growth": 5}
GRAIN_QUANTILES = 9
QOI_BYTES = 8


@dataclass(frozen=True)
class Estimate:
    """Size and cost of a sweep.

    Attributes:
        points: points of the design.
        rollouts: distinct trajectories for each realization; points that differ by mobility only share one.
        trajectories: rollouts times realizations, what is integrated.
        batches: tasks, and shards.
        bytes: of the store before compression.
        seconds: of one core; a guess.
    """

    points: int
    rollouts: int
    trajectories: int
    batches: int
    bytes: int
    seconds: float


def point_bytes(config: SweepConfig) -> int:
    """Bytes of one point in the store before compression, all realizations."""
    cells = math.prod(config.grid.shape)
    if config.process == "cahn_hilliard":
        extra, field = math.ceil(math.hypot(*config.grid.shape) / 2), 4
    else:
        extra, field = GRAIN_QUANTILES, 8
    fields = config.field_time_indices().size * cells * field
    # A learned engine adds the two ends of every band.
    arrays = 3 if config.engine.kind in ("surrogate", "emulator") else 1
    qois = config.time_values().size * (QOI_SCALARS[config.process] + extra) * QOI_BYTES * arrays
    return config.realizations.count * (fields + qois)


def _trajectory_seconds(config: SweepConfig, kappa: np.ndarray, scaled_time: np.ndarray) -> np.ndarray:
    """Guess for each rollout, float64 (rollout,), seconds of one core."""
    cost = COSTS[config.process]
    tolerance = getattr(config.engine, "tolerance", 1e-2)
    height = _well_height(config)
    refine = np.maximum(1.0, config.grid.spacing / (cost.spacing * np.sqrt(kappa / height)))
    cells = math.prod(config.grid.shape) * refine**2 / 64**2
    if config.grid.boundary == "no_flux":
        cells = cells * 2
    precision = FLOAT32 if getattr(config.engine, "dtype", "float64") == "float32" else 1.0
    speed = (1e-2 / tolerance) ** cost.order * precision
    return cost.hundred * (height * scaled_time / 100) ** cost.growth * cells * speed


def _well_height(config: SweepConfig) -> float:
    """W of the well in its own composition units: the curvature at the minima is 2 W."""
    if config.well is None:
        return 1.0
    return config.well.rho * (config.well.cb - config.well.ca) ** 2


def estimate(
    config: SweepConfig, parameters: dict[str, np.ndarray], rollout: np.ndarray, batches: np.ndarray
) -> Estimate:
    """Size and cost of a planned sweep (arguments as the fields of a plan)."""
    points, rollouts = rollout.size, int(rollout[-1]) + 1
    first = np.searchsorted(rollout, np.arange(rollouts))
    mobility = np.maximum.reduceat(parameters["mobility"], first)
    times = config.time_values()
    seconds = _trajectory_seconds(config, parameters["kappa"][first], mobility * times[-1])
    if "mobility_contrast" in parameters:
        seconds = np.where(parameters["mobility_contrast"][first] > 0, COSTS[config.process].contrast, 1.0) * seconds
    frames = points * times.size * math.prod(config.grid.shape) / 64**2
    realizations = config.realizations.count
    return Estimate(
        points=points,
        rollouts=rollouts,
        trajectories=rollouts * realizations,
        batches=len(batches),
        bytes=points * point_bytes(config),
        seconds=float(realizations * (seconds.sum() + frames * FRAME_SECONDS)),
    )
