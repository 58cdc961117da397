"""From a sweep's configuration and the parameters of a few samples to a problem and its starts."""

from __future__ import annotations

import torch

from solvers import Problem, initial
from solvers.errors import InputError
from solvers.initial.pfhub import pfhub_1a
from solvers.processes.registry import process_named
from sweeps.config.sweep import FileInitial, NoiseInitial, SweepConfig, VoronoiInitial
from sweeps.plan.point_keys import sample_seeds

Samples = dict[str, torch.Tensor]


def build_problem(config: SweepConfig, samples: Samples) -> Problem:
    """The problem of a batch of samples, parameter name -> float64 (batch,).

    The parameter that scales time is 1, for it enters through scaled times.
    """
    process = process_named(config.process)
    if process.time_scale:
        samples = {**samples, process.time_scale: torch.ones(1, dtype=torch.float64)}
    return process.build(config.grid.build(), samples, config.options)


def build_start(config: SweepConfig, samples: Samples, realizations: torch.Tensor) -> torch.Tensor:
    """Starts (batch, y, x), a field as float64 or grain labels as int32, from the starts' numbers (batch,).

    Raises:
        InputError: for a start file that does not fit.
    """
    grid, start = config.grid.build(), config.initial
    seeds = sample_seeds(config, samples, realizations.tolist())
    if isinstance(start, NoiseInitial):
        return initial.noise(grid, samples.get("composition", 0.0), start.amplitude, seeds)
    if isinstance(start, VoronoiInitial):
        return initial.voronoi(grid, start.grains, seeds)
    if isinstance(start, FileInitial):
        return _from_file(config, start, realizations)
    return pfhub_1a(grid).expand(len(seeds), *grid.shape).clone()


def _from_file(config: SweepConfig, start: FileInitial, realizations: torch.Tensor) -> torch.Tensor:
    stored = initial.from_file(start.file, variable=start.variable, grid=config.grid.build())
    stored = stored[None] if stored.ndim == 2 else stored
    count = config.realizations.count
    if stored.shape[0] not in (1, count):
        raise InputError(
            f"initial.file: {start.file} holds {stored.shape[0]} samples, expected 1 or realizations.count = {count}"
        )
    return stored[realizations if stored.shape[0] > 1 else torch.zeros_like(realizations)]
