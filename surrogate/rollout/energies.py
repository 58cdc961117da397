"""Free energies of predicted frames, and the guard that compares them from step to step."""

from __future__ import annotations

import math

import numpy as np
import torch

from solvers import CahnHilliard, GrainGrowth, solve
from solvers.grids.resampling import resample
from surrogate.rollout.dimensionless import age_rate

#: A step may raise the energy by this share of it: rounding and sampling, far below what a step lowers it by.
RISE = 1e-4
#: kappa' below which the user's grid is too coarse for the bulk energy, whose integrand has more modes than the field.
_RESOLVED = 1.0
#: Cells whose energies are computed at once.
_CELLS_TOGETHER = 2**17
_WARM_TOLERANCE = 1e-2
#: Share of their energy that boundaries lose to junctions, over the mean of 1 - phi: fitted to the training sweeps.
_JUNCTIONS = 0.143


def composition_energy(problem: CahnHilliard, fields: torch.Tensor) -> torch.Tensor:
    """Total free energy (batch, ...), float64, of compositions (batch, ..., y, x) in the user's units, on a finer grid
    where the user's is too coarse for it. float32 inside, in portions that fit the cache: rounding is far below
    :data:`RISE`."""
    grid = problem.grid
    kappa = problem.reduced_kappa(len(fields)) / grid.spacing**2
    shape = grid.shape
    if bool((kappa < _RESOLVED).any()):
        shape = tuple(2 * n for n in shape)
    frames = fields.reshape(-1, *grid.shape)
    owners = torch.arange(len(fields)).repeat_interleave(len(frames) // len(fields))
    size = max(1, _CELLS_TOGETHER // math.prod(shape))
    found = torch.empty(len(frames), dtype=torch.float64)
    for low in range(0, len(frames), size):
        part = slice(low, low + size)
        fine = resample(frames[part].float(), shape, grid.boundary) if shape != grid.shape else frames[part].float()
        found[part] = problem.take(owners[part]).free_energy(fine).double().cpu()
    return found.reshape(fields.shape[: -len(grid.shape)])


def boundary_excess(phi: torch.Tensor) -> torch.Tensor:
    """Mean of 1 - phi over (..., y, x), float64: proportional to boundary length, hence to the energy of grains."""
    return (1.0 - phi.double()).mean((-2, -1))


def grain_energy(problem: GrainGrowth, phi: torch.Tensor) -> torch.Tensor:
    """Total free energy (...), float64, of grains seen as phi alone, (..., y, x).

    Across a straight boundary the integral of the energy density (W = 1) is a third of that of 1 - phi: exactly so at
    gamma 1.5, where eta = (1 - tanh(x / sqrt(2 kappa))) / 2, and to 0.2 % from 1 to 2. Junctions, where boundaries
    share what they would have alone, lower it by a share that grows with their density. Against the solver's energies
    of 240 training trajectories, from M W t = 2 on: 0.6 % root mean square.
    """
    excess = boundary_excess(phi)
    return problem.grid.cells * problem.grid.cell_volume / 3.0 * excess * (1.0 - _JUNCTIONS * excess)


class GrainGuard:
    """Keeps the free energy of grains from rising. A :class:`surrogate.rollout.stepping.Guard`.

    The last frame of a step may have no more boundary than the frame before the step, and those between lie between;
    where it is otherwise, what phi lacks to 1 is multiplied by a number close to 1.

    Args:
        batch: size of the whole batch.

    Attributes:
        replaced: (batch,) steps in which a frame was changed.
    """

    def __init__(self, batch: int) -> None:
        self.replaced = np.zeros(batch, dtype=np.int64)

    def __call__(
        self,
        samples: np.ndarray,
        before: torch.Tensor,
        owners: np.ndarray,
        lengths: np.ndarray,
        frames: torch.Tensor,
    ) -> torch.Tensor:
        """See :class:`surrogate.rollout.stepping.Guard`."""
        known, found = boundary_excess(before).cpu().numpy(), boundary_excess(frames).cpu().numpy()
        allowed = found.copy()
        for position in range(len(samples)):
            rows = np.flatnonzero(owners == position)
            if not len(rows):
                continue
            order = rows[np.argsort(lengths[rows], kind="stable")]
            last = min(found[order[-1]], known[position])
            allowed[order] = np.clip(np.minimum.accumulate(found[order]), last, known[position])
        share = np.divide(allowed, found, out=np.ones_like(found), where=found > 0.0)
        changed = np.flatnonzero(np.abs(share - 1.0) > 0.1 * RISE)
        self.replaced[samples[np.unique(owners[changed])]] += 1
        factor = torch.from_numpy(share[changed]).to(frames)[:, None, None]
        index = torch.from_numpy(changed)
        frames[index] = 1.0 - (1.0 - frames[index]) * factor
        return frames


class EnergyGuard:
    """Compares energies before, within and after every step of a Cahn-Hilliard rollout. Where a frame's is higher than
    that of the frame before it, the solver does that sample's step instead, all of its frames. A
    :class:`surrogate.rollout.stepping.Guard`.

    Args:
        problem: of the whole batch.
        batch: its size.

    Attributes:
        replaced: (batch,) steps handed to the solver so far.
    """

    def __init__(self, problem: CahnHilliard, batch: int) -> None:
        self.problem = problem
        self.replaced = np.zeros(batch, dtype=np.int64)
        self._rate = age_rate(problem, batch)

    def __call__(
        self,
        samples: np.ndarray,
        before: torch.Tensor,
        owners: np.ndarray,
        lengths: np.ndarray,
        frames: torch.Tensor,
    ) -> torch.Tensor:
        """See :class:`surrogate.rollout.stepping.Guard`."""
        known = self._energy(samples, before)
        found = self._energy(samples[owners], frames)
        film = np.lexsort((lengths, owners))  # each sample's frames one after the other
        first = np.r_[True, owners[film][1:] != owners[film][:-1]]
        earlier = np.where(first, known[owners[film]], np.roll(found[film], 1))
        risen = ~(found[film] <= earlier * (1.0 + RISE))  # true for NaN
        for position in np.unique(owners[film][risen]):
            sample, rows = samples[position], np.flatnonzero(owners == position)
            self.replaced[sample] += 1
            order = np.argsort(lengths[rows], kind="stable")
            times = torch.from_numpy(lengths[rows][order] / self._rate[sample])
            problem = self.problem.take(torch.tensor([sample]))
            start = problem.well.from_scaled(before[position : position + 1])
            solved = solve(problem, start, times[None], _WARM_TOLERANCE, dtype=torch.float32).states[0]
            frames[torch.from_numpy(rows[order])] = problem.well.to_scaled(solved).to(frames)
        return frames

    def _energy(self, samples: np.ndarray, fields: torch.Tensor) -> np.ndarray:
        problem = self.problem.take(torch.from_numpy(samples))
        return composition_energy(problem, self.problem.well.from_scaled(fields)).cpu().numpy()


def rises(energy: torch.Tensor) -> np.ndarray:
    """(batch,) how often the energy (batch, time) is above that of the frame before."""
    return (energy[:, 1:] > energy[:, :-1] * (1.0 + RISE)).sum(1).cpu().numpy()
