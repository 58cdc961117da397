"""Free energies of predicted frames, and the guard that compares them from step to step."""

from __future__ import annotations

import numpy as np
import torch

from solvers import CahnHilliard, GrainGrowth, solve
from solvers.resampling import resample
from surrogate.scales import age_rate

#: A step may raise the energy by this share of it: rounding and sampling, far below what a step lowers it by.
RISE = 1e-4
#: kappa' below which the user's grid is too coarse for the bulk energy, whose integrand has more modes than the field.
_RESOLVED = 1.0
_WARM_TOLERANCE = 1e-2


def composition_energy(problem: CahnHilliard, fields: torch.Tensor) -> torch.Tensor:
    """Total free energy (batch, ...) of compositions (batch, ..., y, x) in the user's units, on a finer grid where the
    user's is too coarse for it."""
    grid = problem.grid
    kappa = problem.reduced_kappa(len(fields)) / grid.spacing**2
    if bool((kappa < _RESOLVED).any()):
        fields = resample(fields, tuple(2 * n for n in grid.shape), grid.boundary)
    return problem.free_energy(fields.double())


def boundary_excess(phi: torch.Tensor) -> torch.Tensor:
    """Mean of 1 - phi over (..., y, x): proportional to boundary length, hence to the free energy of grains."""
    return (1.0 - phi.double()).mean((-2, -1))


def grain_energy(phi: torch.Tensor, known: torch.Tensor, known_phi: torch.Tensor) -> torch.Tensor:
    """Free energy (batch, time) of grains seen as phi alone, (batch, time, y, x).

    A straight boundary has an energy and a deficit of phi per length that the material alone decides, so their ratio,
    taken from a frame whose energy is known, carries over. Junctions, a few per cent of the length, are in it too.

    Args:
        phi: frames.
        known: (batch,) free energy of one frame of each sample.
        known_phi: (batch, y, x) that frame.
    """
    return known[:, None] * boundary_excess(phi) / boundary_excess(known_phi)[:, None]


class EnergyGuard:
    """Compares the energy before and after every step of a Cahn-Hilliard rollout; a step that raises it is done by the
    solver instead.

    Args:
        problem: of the whole batch.
        lengths: (ages) -> step lengths, of the schedule.

    Attributes:
        replaced: (batch,) steps handed to the solver so far.
    """

    def __init__(self, problem: CahnHilliard, batch: int, lengths: object) -> None:
        self.problem = problem
        self.replaced = np.zeros(batch, dtype=np.int64)
        self._lengths = lengths
        self._rate = age_rate(problem, batch)

    def __call__(
        self, samples: np.ndarray, before: torch.Tensor, ages: np.ndarray, after: torch.Tensor
    ) -> torch.Tensor:
        """See :data:`surrogate.stepping.Guard`."""
        index = torch.from_numpy(samples)
        problem, well = self.problem.take(index), self.problem.well
        energies = [composition_energy(problem, well.from_scaled(fields)) for fields in (before, after)]
        bad = np.flatnonzero(~(energies[1] <= energies[0] * (1.0 + RISE)).cpu().numpy())  # true for NaN
        if not len(bad):
            return after
        self.replaced[samples[bad]] += 1
        rows = torch.from_numpy(bad)
        times = (self._lengths(ages[bad]) / self._rate[samples[bad]])[:, None]  # type: ignore[operator]
        start = well.from_scaled(before[rows])
        solved = solve(problem.take(rows), start, torch.from_numpy(times), _WARM_TOLERANCE, dtype=torch.float32)
        after = after.clone()
        after[rows] = well.to_scaled(solved.states[:, 0]).to(after)
        return after


def rises(energy: torch.Tensor) -> np.ndarray:
    """(batch,) how often the energy (batch, time) is above that of the frame before."""
    return (energy[:, 1:] > energy[:, :-1] * (1.0 + RISE)).sum(1).cpu().numpy()


def is_grains(problem: CahnHilliard | GrainGrowth) -> bool:
    """Whether the problem is one of grains."""
    return isinstance(problem, GrainGrowth)
