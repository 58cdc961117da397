"""What a sweep will take: bytes in the store, which follow from its layout, and seconds, which are a guess.

The seconds come from constants of the process (:class:`solvers.processes.registry.CostModel`), measured on one core of
a shared x86-64 machine; expect them to be right within a factor of about three.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from solvers.processes.registry import process_named
from solvers.qois.registry import qois_of
from solvers.registries import resolve
from sweeps.config.sweep import SweepConfig
from sweeps.engines.registry import engine_kind
from sweeps.plan.check_budget import CheckBudget, check_budget

#: Seconds of one core for the QoIs and the writing of one 64x64 frame.
FRAME_SECONDS = 5e-5
FLOAT32 = 0.6
QOI_BYTES = 8


@dataclass(frozen=True)
class Estimate:
    """Size and cost of a sweep.

    Attributes:
        rollouts: distinct trajectories for each realization; points that differ by mobility only share one.
        trajectories: rollouts times realizations, what is integrated.
        batches: tasks, and shards.
        bytes: of the store before compression.
        seconds: of one core; a guess. Without the spot checks.
        checks: what the spot checks may take, and what they solve for it.
    """

    points: int
    rollouts: int
    trajectories: int
    batches: int
    bytes: int
    seconds: float
    checks: CheckBudget

    @property
    def check_seconds(self) -> float:
        """Seconds of one core for the spot checks; a guess."""
        return self.checks.seconds

    @property
    def check_share(self) -> float:
        """The same over the seconds of the sweep itself."""
        return self.checks.seconds / max(self.seconds, 1e-9)


def point_bytes(config: SweepConfig) -> int:
    """Bytes of one point in the store before compression, all realizations."""
    process, shape = process_named(config.process), config.grid.shape
    frame = math.prod(shape) * sum(np.dtype(field.dtype).itemsize for field in process.fields)
    numbers = sum(qoi.axis.length(shape) if qoi.axis else 1 for qoi in qois_of(config.process).values())
    # Bands add their two ends to every quantity.
    arrays = 3 if engine_kind(config).has_bands else 1
    qois = config.time_values().size * numbers * QOI_BYTES * arrays
    return config.realizations.count * (config.field_time_indices().size * frame + qois)


def solver_seconds(
    config: SweepConfig, parameters: dict[str, np.ndarray], scaled_time: np.ndarray, tolerance: float, dtype: str
) -> np.ndarray:
    """Guess of what the solver takes for each trajectory, float64 (trajectory,), seconds of one core."""
    process = process_named(config.process)
    cost, height = process.cost, process.scale(config.options)
    interface = np.sqrt(parameters.get("kappa", np.ones_like(scaled_time)) / height)
    refine = np.maximum(1.0, config.grid.spacing / (cost.spacing * interface))
    cells = math.prod(config.grid.shape) * refine**2 / 64**2
    if config.grid.boundary == "no_flux":
        cells = cells * 2
    speed = (1e-2 / tolerance) ** cost.order * (FLOAT32 if dtype == "float32" else 1.0)
    seconds = cost.hundred * (height * scaled_time / 100) ** cost.growth * cells * speed
    for name, factor in cost.factors.items():
        if name in parameters:
            seconds = np.where(parameters[name] > 0, factor, 1.0) * seconds
    return seconds


def estimate(
    config: SweepConfig, parameters: dict[str, np.ndarray], rollout: np.ndarray, batches: np.ndarray
) -> Estimate:
    """Size and cost of a planned sweep (arguments as the fields of a plan)."""
    points, rollouts = rollout.size, int(rollout[-1]) + 1
    times, realizations = config.time_values(), config.realizations.count
    frames = points * times.size * math.prod(config.grid.shape) / 64**2
    cost = engine_kind(config).cost
    if cost is not None:
        seconds = float(resolve(cost)(config, rollouts * realizations, frames * realizations))
    else:
        own = getattr(config.engine, "tolerance", 1e-2), getattr(config.engine, "dtype", "float64")
        solving = _solver_of_rollouts(config, parameters, rollout)(*own).sum()
        seconds = float(realizations * (solving + frames * FRAME_SECONDS))
    return Estimate(
        points=points,
        rollouts=rollouts,
        trajectories=rollouts * realizations,
        batches=len(batches),
        bytes=points * point_bytes(config),
        seconds=seconds,
        checks=checks_of(config, parameters, rollout, seconds),
    )


def checks_of(
    config: SweepConfig,
    parameters: dict[str, np.ndarray],
    rollout: np.ndarray,
    computing: float,
    count: int | None = None,
) -> CheckBudget:
    """What the spot checks of a sweep may solve, which is estimated to take ``computing`` seconds.

    Further arguments are as the fields of a plan; ``count`` of points is ``verify.count`` where it is None.
    """
    solving = _solver_of_rollouts(config, parameters, rollout)
    return check_budget(
        config,
        points=rollout.size,
        rollouts=int(rollout[-1]) + 1,
        computing=computing,
        solving=lambda tolerance, dtype: float(solving(tolerance, dtype).mean()),
        count=count,
    )


def _solver_of_rollouts(
    config: SweepConfig, parameters: dict[str, np.ndarray], rollout: np.ndarray
) -> Callable[[float, str], np.ndarray]:
    """(tolerance, dtype) -> seconds of the solver for one realization of each rollout."""
    first = np.searchsorted(rollout, np.arange(int(rollout[-1]) + 1))
    scale = process_named(config.process).time_scale
    fastest = np.maximum.reduceat(parameters[scale], first) if scale else np.ones(len(first))
    own = {name: values[first] for name, values in parameters.items()}
    return lambda tolerance, dtype: solver_seconds(config, own, fastest * config.time_values()[-1], tolerance, dtype)
