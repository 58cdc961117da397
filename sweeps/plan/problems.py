"""From a sweep's configuration and the parameters of a few samples to a problem and its starts."""

from __future__ import annotations

import torch

from solvers import CahnHilliard, GrainGrowth
from solvers.errors import InputError
from solvers.initial.starts import from_file, noise, voronoi
from solvers.processes.free_energies import DoubleWell
from sweeps.config.sweep import FileInitial, NoiseInitial, SweepConfig, VoronoiInitial
from sweeps.plan.point_keys import sample_seeds

Samples = dict[str, torch.Tensor]


def build_problem(config: SweepConfig, samples: Samples) -> CahnHilliard | GrainGrowth:
    """The problem of a batch of samples, with mobility 1: mobility enters through scaled times.

    Args:
        config: the sweep.
        samples: parameter name -> float64 (batch,).
    """
    grid = config.grid.build()
    if config.process == "grain_growth":
        return GrainGrowth(grid, mobility=1.0, kappa=samples["kappa"], gamma=samples["gamma"])
    well = config.well
    return CahnHilliard(
        grid,
        mobility=1.0,
        kappa=samples["kappa"],
        well=DoubleWell(rho=well.rho, ca=well.ca, cb=well.cb) if well else DoubleWell(),
        mobility_contrast=samples["mobility_contrast"],
    )


def build_start(config: SweepConfig, samples: Samples, realizations: torch.Tensor) -> torch.Tensor:
    """Starts (batch, y, x): composition float64, or grain labels int32.

    Args:
        config: the sweep.
        samples: parameter name -> float64 (batch,).
        realizations: int64 (batch,), which start each sample gets.

    Raises:
        InputError: for a start file that does not fit.
    """
    grid, initial = config.grid.build(), config.initial
    seeds = sample_seeds(config, samples, realizations.tolist())
    if isinstance(initial, NoiseInitial):
        return noise(grid, samples["composition"], initial.amplitude, seeds)
    if isinstance(initial, VoronoiInitial):
        return voronoi(grid, initial.grains, seeds)
    if isinstance(initial, FileInitial):
        return _from_file(config, initial, realizations)
    from solvers.initial.pfhub import pfhub_1a

    return pfhub_1a(grid).expand(len(seeds), *grid.shape).clone()


def _from_file(config: SweepConfig, initial: FileInitial, realizations: torch.Tensor) -> torch.Tensor:
    stored = from_file(initial.file, variable=initial.variable, grid=config.grid.build())
    stored = stored[None] if stored.ndim == 2 else stored
    count = config.realizations.count
    if stored.shape[0] not in (1, count):
        raise InputError(
            f"initial.file: {initial.file} holds {stored.shape[0]} samples, expected 1 or realizations.count = {count}"
        )
    return stored[realizations if stored.shape[0] > 1 else torch.zeros_like(realizations)]
