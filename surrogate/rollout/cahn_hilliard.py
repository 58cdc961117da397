"""Cahn-Hilliard as learned models know it; see :class:`surrogate.processes.LearnedProcess`."""

# Methods take what any process may need of them.
# ruff: noqa: ARG002

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch

from solvers import CahnHilliard, Frames, solve
from solvers.grids.resampling import resample
from solvers.grids.spectral_basis import basis_for
from solvers.qois import evaluate_qois, mean_curvature
from solvers.qois.energy import highest_allowed
from solvers.qois.interfaces import GRADIENT_PER_INTERFACE
from surrogate.processes import FirstFrames, FirstStage, LearnedProcess, Limits, kappa_in_cells
from surrogate.rollout.stepping import Guard
from surrogate.uncertainty.frame_features import (
    NO_INTERFACE,
    TINY,
    high_wavenumber_share,
    power_spectrum,
    roughness,
)

#: A frame counts as separated once its standard deviation is this share of that of two pure phases.
SEPARATED = 0.7
#: Of the solver's part: its error must not show in what follows.
TOLERANCE = 3e-3
#: A model takes over at the first of these scaled ages at which a trajectory has separated.
TAKEOVER_AGES = (20.0, 26.0, 34.0, 44.0, 57.0, 75.0, 97.0, 126.0, 164.0, 214.0, 278.0, 361.0, 470.0, 610.0, 800.0)
#: The solver goes on from one of these to the next while some sample has not separated.
_STRETCHES = (57.0, 126.0, 278.0, 800.0, math.inf)
#: kappa' below which the user's grid is too coarse for the bulk energy, whose integrand has more modes than the field.
_RESOLVED = 1.0
#: Cells whose energies are computed at once.
_CELLS_TOGETHER = 2**17
#: Of the solver where it does a step in the place of the network.
_GUARD_TOLERANCE = 1e-2
_BEYOND = 1.2  # |c| that a phase between its minima at -1 and 1 reaches in the smallest droplets only
_NO_ENERGY, _NO_OVERSHOOT = 0.01, 0.02  # see NO_INTERFACE


class CahnHilliardProcess(LearnedProcess[CahnHilliard]):
    """See the module's text."""

    name = "cahn_hilliard"
    title = "phase separation (Cahn-Hilliard)"
    groups = ("kappa", "composition", "contrast")
    features = (
        "standard deviation over sqrt(1 - c0^2)",
        "log interface density times interface length",
        "log domain size in cells",
        "log share of cells beyond |c| = 1.2",
        "log10 share of energy at the highest wavenumbers",
        "log10 roughness of the smoothest cells",
        "log ratio of bulk to gradient energy",
        "log kappa in cells",
    )
    feature_floors = (0.01, 0.02, 0.02, 0.1, 0.1, 0.1, 0.02, 0.05)
    conserves_mean = True
    swaps_phases = True
    quantities = ("free_energy", "domain_size", "interface_density")
    # Time in units of the interface's own, plain time, and the speed of coarsening.
    age_powers = (0.5, 0.0, -1.0)
    group_names: ClassVar[dict[str, str]] = {"mobility_contrast": "contrast"}
    start_parameter = "amplitude"
    random_start = "noise"
    group_limits: ClassVar[dict[str, Limits]] = {"contrast": (0.0, 1.0)}
    horizons = (90, 200)
    image_quantities: ClassVar[dict[str, str]] = {
        "domain_size": "domain size",
        "interface_density": "interface length per area",
        "free_energy": "free energy",
        "curvature": "mean curvature",
    }
    growing_length_name = "domain size"

    def age_per_time(self, mobility: np.ndarray, kappa: np.ndarray, spacing: float) -> np.ndarray:
        return mobility * np.sqrt(kappa) / spacing**2

    def unit_mobility(self, kappa: np.ndarray) -> np.ndarray:
        return kappa**-0.5

    def scaled_time(self, mobility: np.ndarray, height: float, spacing: float) -> np.ndarray:
        return mobility * (height / spacing**2)

    def problem_groups(self, problem: CahnHilliard, fields: torch.Tensor) -> dict[str, np.ndarray]:
        batch = len(fields)
        contrast = torch.as_tensor(problem.mobility_contrast, dtype=torch.float64)
        return {
            "kappa": kappa_in_cells(problem, batch),
            "composition": fields.double().mean((1, 2)).cpu().numpy(),
            "contrast": contrast.expand(batch).cpu().numpy(),
        }

    def group_inputs(self, groups: Mapping[str, np.ndarray]) -> torch.Tensor:
        columns = [np.log2(groups["kappa"]), groups["composition"], groups["contrast"]]
        return torch.from_numpy(np.stack(columns, axis=1).astype(np.float32))

    def to_network(self, problem: CahnHilliard, fields: torch.Tensor) -> torch.Tensor:
        return problem.well.to_scaled(fields)

    def from_network(self, problem: CahnHilliard, fields: torch.Tensor) -> torch.Tensor:
        return problem.well.from_scaled(fields)

    def to_image(self, fields: torch.Tensor) -> torch.Tensor:
        """(c + 1) / 2, affine and not clipped, so that an RMSE is half the RMSE in c."""
        return 0.5 * (fields + 1.0)

    def from_image(self, images: torch.Tensor) -> torch.Tensor:
        return 2.0 * images - 1.0

    def measure(
        self, problem: CahnHilliard, fields: torch.Tensor
    ) -> tuple[Mapping[str, torch.Tensor], list[list[np.ndarray]] | None]:
        """The free energy is that of the fields on their own grid."""
        values = evaluate_qois(problem, Frames(fields, problem.free_energy(fields)))
        return {**values, "curvature": mean_curvature(fields, problem.grid)}, None

    def growing_length(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        return values["domain_size"]

    def first_frames(
        self, problem: CahnHilliard, initial: torch.Tensor, times: torch.Tensor, stage: FirstStage
    ) -> FirstFrames:
        """Up to the first separated state."""
        run = _UntilSeparated(problem, initial, times)
        waiting, state, age = np.arange(len(initial)), initial.float(), 0.0
        for end in _STRETCHES:
            waiting, state = run.stretch(waiting, state, age, end)
            if not len(waiting):
                break
            age = end
        return run.found

    def first_tolerance(self, stage: FirstStage) -> float:
        return TOLERANCE

    def taken_over(self, fields: torch.Tensor, ages: np.ndarray) -> torch.Tensor:
        pure = (1.0 - fields.mean((1, 2, 3)) ** 2).clamp_min(0.0).sqrt()
        return fields.flatten(2).std(-1, correction=0) >= SEPARATED * pure[:, None]

    def trainable(self, fields: np.ndarray, ages: np.ndarray, groups: Mapping[str, np.ndarray]) -> np.ndarray:
        """Those that have separated."""
        pure = np.sqrt(np.maximum(1.0 - groups["composition"] ** 2, 0.0))
        deviation = np.stack([row.astype(np.float32).std((1, 2)) for row in fields])
        return deviation >= SEPARATED * pure[:, None]

    def energy(self, problem: CahnHilliard, frames: torch.Tensor) -> torch.Tensor:
        """On a finer grid where the user's is too coarse for it.

        float32 inside, in portions that fit the cache: rounding is far below what counts as a rise.
        """
        grid = problem.grid
        kappa = problem.reduced_kappa(len(frames)) / grid.spacing**2
        shape = tuple(2 * n for n in grid.shape) if bool((kappa < _RESOLVED).any()) else grid.shape
        flat = frames.reshape(-1, *grid.shape)
        owners = torch.arange(len(frames)).repeat_interleave(len(flat) // len(frames))
        size = max(1, _CELLS_TOGETHER // math.prod(shape))
        found = torch.empty(len(flat), dtype=torch.float64)
        basis = basis_for(grid, torch.float32, flat.device)
        for low in range(0, len(flat), size):
            part = slice(low, low + size)
            frames_here = flat[part].float()
            # Of the same modes on either grid; the smaller one's transform is the cheaper.
            gradient = basis.forward(frames_here).square() @ (basis.weights * basis.k2)
            fine = frames_here if shape == grid.shape else resample(frames_here, shape, grid.boundary)
            found[part] = problem.take(owners[part]).free_energy(fine, gradient).double().cpu()
        return found.reshape(frames.shape[: -len(grid.shape)])

    def guard(self, problem: CahnHilliard, batch: int) -> Guard | None:
        return EnergyGuard(problem, batch) if problem.grid.boundary == "periodic" else None

    def periodic_features(self, field: torch.Tensor, kappa: torch.Tensor) -> torch.Tensor:
        mean = field.mean((1, 2))
        power, k = power_spectrum(field)
        variance = power.sum((1, 2)).clamp_min(TINY)
        gradient = (power * k**2).sum((1, 2)) * kappa
        bulk = (field**2 - 1).square().mean((1, 2)) / 4
        size = 2 * math.pi * variance / (power * k).sum((1, 2)).clamp_min(TINY)
        columns = [
            variance.sqrt() / (1 - mean**2).clamp_min(0.05).sqrt(),
            # As solvers.qois.interface_density_of, times the interface length.
            (gradient / GRADIENT_PER_INTERFACE + NO_INTERFACE).log(),
            size.log(),
            ((field.abs() > _BEYOND).double().mean((1, 2)) + _NO_OVERSHOOT).log(),
            high_wavenumber_share(power, variance),
            roughness(field),
            # Interfaces in equilibrium hold as much of the one as of the other.
            ((bulk + _NO_ENERGY) / (gradient / 2 + _NO_ENERGY)).log(),
            kappa.log(),
        ]
        return torch.stack(columns, 1)


PROCESS = CahnHilliardProcess()


class _UntilSeparated:
    """The solver on compositions (batch, y, x), in stretches of scaled age, until each sample has separated."""

    def __init__(self, problem: CahnHilliard, initial: torch.Tensor, times: torch.Tensor) -> None:
        self.problem = problem
        self.rate = PROCESS.age_rate(problem, len(initial))
        self.wanted = times.double().numpy() * self.rate[:, None]
        self.found = FirstFrames(
            fields=torch.zeros(initial.shape),
            ages=np.full(len(initial), np.inf),
            early=torch.full((*times.shape, *initial.shape[1:]), torch.nan),
            early_energy=torch.full(times.shape, torch.nan, dtype=torch.float64),
        )

    def stretch(
        self, waiting: np.ndarray, state: torch.Tensor, age: float, end: float
    ) -> tuple[np.ndarray, torch.Tensor]:
        """Solve the samples that wait from one age to another; those that still wait, and their states at its end."""
        wanted, last = self.wanted[waiting], self.wanted[waiting, -1]
        # No sample is solved beyond its own last time; one that never separates is solved up to there.
        stop = np.minimum(min(end, 1e300), last)
        here = (wanted <= stop[:, None]) & ((wanted > age) | (age == 0.0))
        # Only what is asked for in this stretch: a frame costs as much as a step.
        columns = np.flatnonzero(here.any(0))
        wanted, here, count = wanted[:, columns], here[:, columns], len(columns)
        candidates = np.array([a for a in TAKEOVER_AGES if age < a <= end])
        marks = np.concatenate([np.tile(candidates, (len(waiting), 1)), stop[:, None]], axis=1)
        ages = np.concatenate([np.maximum(wanted, age), marks], axis=1)
        states, energies = self._solve(waiting, state, age, np.minimum(ages, stop[:, None]))
        scaled = PROCESS.to_network(self.problem, states)
        ripe = _separated(scaled[:, count:-1], scaled[:, 0]).numpy() & (candidates[None] < last[:, None])
        going = []
        for row, sample in enumerate(waiting):
            hits, limit = np.flatnonzero(ripe[row]), stop[row]
            if len(hits):
                limit = float(candidates[hits[0]])
                self.found.fields[sample], self.found.ages[sample] = scaled[row, count + int(hits[0])], limit
            elif stop[row] < last[row]:
                going.append(row)
            early = np.flatnonzero(here[row] & (wanted[row] <= limit))
            self.found.early[sample, columns[early]] = states[row, early].float()
            self.found.early_energy[sample, columns[early]] = energies[row, early]
        return waiting[going], states[going, -1]

    def _solve(
        self, samples: np.ndarray, state: torch.Tensor, age: float, ages: np.ndarray
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """States and energies of some samples from ``age`` on, at ages (sample, n) in any order."""
        order = np.argsort(ages, axis=1, kind="stable")
        times = (np.take_along_axis(ages, order, axis=1) - age) / self.rate[samples][:, None]
        problem = self.problem.take(torch.from_numpy(samples))
        solution = solve(problem, state, torch.from_numpy(times), TOLERANCE, dtype=torch.float32)
        back = torch.from_numpy(np.argsort(order, axis=1))
        states = solution.states[torch.arange(len(samples))[:, None], back]
        return states, solution.free_energy.double().gather(1, back)


def _separated(fields: torch.Tensor, first: torch.Tensor) -> torch.Tensor:
    """Whether fields (batch, time, y, x) of the mean of ``first`` (batch, y, x) have separated."""
    pure = (1.0 - first.mean((1, 2)) ** 2).clamp_min(0.0).sqrt()
    flat = fields.flatten(2)
    deviation = (flat - flat.mean(-1, keepdim=True)).square().mean(-1).sqrt()
    return deviation >= SEPARATED * pure[:, None]


class EnergyGuard:
    """Compares energies before, within and after every step of a rollout. Where a frame's is higher than that of the
    frame before it, the solver does that sample's step instead, all of its frames."""

    def __init__(self, problem: CahnHilliard, batch: int) -> None:
        self.problem = problem
        self.replaced = np.zeros(batch, dtype=np.int64)
        self._rate = PROCESS.age_rate(problem, batch)

    def __call__(
        self,
        samples: np.ndarray,
        before: torch.Tensor,
        owners: np.ndarray,
        lengths: np.ndarray,
        frames: torch.Tensor,
    ) -> tuple[torch.Tensor, np.ndarray]:
        known = self._energy(samples, before)
        found = self._energy(samples[owners], frames)
        order = np.lexsort((lengths, owners))  # each sample's frames one after the other
        first = np.r_[True, owners[order][1:] != owners[order][:-1]]
        earlier = np.where(first, known[owners[order]], np.roll(found[order], 1))
        risen = ~(found[order] <= highest_allowed(earlier))  # true for NaN
        for position in np.unique(owners[order][risen]):
            sample, rows = samples[position], np.flatnonzero(owners == position)
            self.replaced[sample] += 1
            rows = rows[np.argsort(lengths[rows], kind="stable")]
            times = torch.from_numpy(lengths[rows] / self._rate[sample])
            problem = self.problem.take(torch.tensor([sample]))
            start = PROCESS.from_network(problem, before[position : position + 1])
            solved = solve(problem, start, times[None], _GUARD_TOLERANCE, dtype=torch.float32).states[0]
            frames[torch.from_numpy(rows)] = PROCESS.to_network(problem, solved).to(frames)
            found[rows] = self._energy(samples[owners[rows]], frames[torch.from_numpy(rows)])
        return frames, found

    def _energy(self, samples: np.ndarray, fields: torch.Tensor) -> np.ndarray:
        problem = self.problem.take(torch.from_numpy(samples))
        return PROCESS.energy(problem, PROCESS.from_network(problem, fields)).cpu().numpy()
