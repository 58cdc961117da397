"""From a sweep's configuration to what will be computed, in which order, in which batches, at what cost.

Points that differ only in the parameter that scales time share a trajectory: c(x, t; M, kappa) = c(x, M t; 1, kappa)
holds exactly (mobility contrast included, since M scales the whole right-hand side). Storage order puts them side by
side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from solvers.processes.registry import Process, process_named
from solvers.registries import resolve
from sweeps.config.sweep import SweepConfig
from sweeps.engines.registry import EngineChoice, check_engine, engine_kind
from sweeps.plan.batches import batch_points, cut
from sweeps.plan.cost_estimate import Estimate, estimate, point_bytes
from sweeps.plan.designs import design_points
from sweeps.plan.point_keys import config_hash, point_keys


@dataclass(frozen=True)
class Plan:
    """What a sweep will compute.

    Attributes:
        parameters: name -> float64 (point,), storage order, every scalar parameter of the process.
        design_index: int64 (point,), storage position -> row of the user's design.
        rollout: int64 (point,), points with the same number share one trajectory; never decreases.
        keys: 'S32' (point,), hash of everything that determines the point's numbers.
        batches: int64 (batch, 2), [start, stop) in storage order, equal but the last.
        hash: of the configuration without what only decides where and how it runs.
        choice: with an engine that stands for another, what was chosen, which the configuration holds, and why.
    """

    config: SweepConfig
    parameters: dict[str, np.ndarray]
    design_index: np.ndarray
    rollout: np.ndarray
    keys: np.ndarray
    batches: np.ndarray
    estimate: Estimate
    hash: str
    choice: EngineChoice | None = None

    @property
    def has_bands(self) -> bool:
        """Whether the engine adds a band to every quantity."""
        return engine_kind(self.config).has_bands


def storage_order(process: Process, parameters: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Sort points (parameters in design order) so that those which share a trajectory are neighbours.

    Returns:
        Row of the design at each storage position, and the rollout it belongs to; both int64 (point,).
    """
    others = [parameters[name] for name in process.varied_order if name in parameters]
    scale = [parameters[process.time_scale]] if process.time_scale else []
    # lexsort takes the most significant key last and is stable: equal points stay in design order.
    index = np.lexsort([*scale, *reversed(others)]).astype(np.int64)
    starts = np.zeros(index.size, dtype=bool)
    # Points that agree in everything are one trajectory too.
    for values in others:
        starts[1:] |= np.diff(values[index]) != 0
    return index, np.cumsum(starts).astype(np.int64)


def make_plan(config: SweepConfig) -> Plan:
    """Plan a sweep; a million points cost a few seconds and no Python object each but their key.

    Raises:
        InputError: for a design that cannot be built (see :func:`sweeps.plan.designs.design_points`), or an engine
            that cannot run (see :func:`sweeps.engines.registry.check_engine`).
    """
    choice: EngineChoice | None = None
    stands_for = engine_kind(config).resolve
    if stands_for is not None:
        config, choice = resolve(stands_for)(config)
    if engine_kind(config).check is not None:
        check_engine(config)
    design = design_points(config)
    index, rollout = storage_order(process_named(config.process), design)
    parameters = {name: values[index] for name, values in design.items()}
    rollouts = int(rollout[-1]) + 1
    size = batch_points(config, rollouts, index.size, point_bytes(config))
    batches = cut(index.size, size)
    return Plan(
        config=config,
        parameters=parameters,
        design_index=index,
        rollout=rollout,
        keys=point_keys(config, parameters),
        batches=batches,
        estimate=estimate(config, parameters, rollout, batches),
        hash=config_hash(config),
        choice=choice,
    )
