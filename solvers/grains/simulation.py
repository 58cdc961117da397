"""Grain growth from labels: any number of grains, each cell's grain followed through time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from solvers.accuracy import check_tolerance
from solvers.arguments import Times, check_times
from solvers.errors import InputError
from solvers.frames import Frames
from solvers.grains.labels import in_order_of_occurrence
from solvers.grains.tracker import GrainTracker
from solvers.grids.grid import Grid
from solvers.grids.resampling import resample
from solvers.grids.spectral_basis import basis_for
from solvers.integrators import AdaptiveMultistep
from solvers.integrators.trajectory import rollout
from solvers.processes.grain_growth import GrainGrowth
from solvers.processes.parameters import per_sample
from solvers.processes.registry import process_named
from solvers.simulation import internal_shapes


def simulate_grains(
    problem: GrainGrowth,
    labels: torch.Tensor,
    times: Times,
    tolerance: float = 1e-3,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    start: torch.Tensor | None = None,
) -> Frames:
    """Grain growth from a map of labels: phi, the free energy, and the label of the grain that dominates each cell.

    Args:
        labels: (batch, *shape) non-negative integers: the grain of each cell. A label is one grain wherever it occurs.
        times, tolerance, dtype, device: as for :func:`solvers.simulate`.
        start: (batch, grain, *shape) order parameters of the grains in increasing order of their labels, each small
            away from its grain, every sample with the same labels; by default smoothed indicators of the labels.

    Raises:
        InputError: wrong shapes, times, tolerance or values.
    """
    return solve_grains(problem, labels, times, tolerance, dtype, device, start).frames


def solve_frames(
    problem: GrainGrowth,
    initial: torch.Tensor,
    times: Times,
    *,
    tolerance: float,
    dtype: torch.dtype,
    device: torch.device | str,
    refine: int = 0,
) -> Frames:
    """As :func:`simulate_grains`, with the arguments that every process's solver takes; ``refine`` changes nothing.

    Steps and grid follow from the tolerance alone.
    """
    del refine
    return simulate_grains(problem, initial, times, tolerance, dtype, device)


@dataclass(frozen=True)
class GrainSolution:
    """Frames and what they cost.

    Attributes:
        evaluations: (batch,) evaluations of the right-hand side.
        fields: per sample, the number of order-parameter fields after each step.
        moves: (batch,) grains moved from one field to another.
    """

    frames: Frames
    evaluations: np.ndarray
    fields: list[list[int]]
    moves: np.ndarray


def solve_grains(
    problem: GrainGrowth,
    labels: torch.Tensor,
    times: Times,
    tolerance: float = 1e-3,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    start: torch.Tensor | None = None,
) -> GrainSolution:
    """As :func:`simulate_grains`, with the cost."""
    maps = check_labels(labels, problem.grid)
    dense = None if start is None else _check_start(start, maps)
    batch = len(maps)
    rows = check_times(times, batch)
    check_tolerance(tolerance, dtype)
    frames = Frames(
        torch.full((*rows.shape, *problem.grid.shape), torch.nan, dtype=dtype, device=device),
        torch.full(rows.shape, torch.nan, dtype=dtype, device=device),
        torch.full((*rows.shape, *problem.grid.shape), -1, dtype=torch.int32, device=device),
    )
    solution = GrainSolution(frames, np.zeros(batch, dtype=np.int64), [[] for _ in maps], np.zeros(batch, np.int64))
    shapes = internal_shapes(problem, rows, np.full(batch, tolerance), tolerance)
    for sample, shape in enumerate(shapes):
        own = None if dense is None else dense[sample]
        one = problem.take(torch.tensor([sample]))
        _solve_one(one, maps[sample], rows[sample], tolerance, shape, solution, sample, own)
    return solution


def _check_start(start: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """Raises InputError for order parameters that do not fit the labels (batch, *shape)."""
    names = torch.unique(maps)
    wanted = (len(maps), len(names), *maps.shape[1:])
    same = all(len(torch.unique(sample)) == len(names) for sample in maps)
    if tuple(start.shape) != wanted or not same:
        raise InputError(
            f"start: (batch, grain, shape) = {wanted} with all labels in every sample, but got {tuple(start.shape)}"
        )
    if not bool(torch.isfinite(start).all()):
        raise InputError("start: finite values, but found NaN or infinity")
    return start


def _solve_one(
    problem: GrainGrowth,
    labels: torch.Tensor,
    times: np.ndarray,
    tolerance: float,
    shape: tuple[int, ...],
    solution: GrainSolution,
    sample: int,
    dense: torch.Tensor | None = None,
) -> None:
    """Solves one sample on an internal grid of ``shape`` into ``solution``."""
    grid, frames = problem.grid, solution.frames
    assert frames.grain_id is not None
    basis = basis_for(grid, frames.field.dtype, frames.field.device, shape)
    names, numbers = in_order_of_occurrence(labels.numpy())
    kappa, gamma = float(problem.reduced_kappa(1)), float(per_sample(problem.gamma, 1, "gamma"))
    tracker = GrainTracker(numbers, grid, basis, kappa, gamma, tolerance)
    if dense is None:
        start = shared_fields(torch.from_numpy(tracker.field_of[numbers]), tracker.fields, grid).to(frames.field)
    else:
        of_grain = torch.from_numpy(tracker.field_of[np.argsort(names)]).to(frames.field.device)
        start = frames.field.new_zeros((tracker.fields, *dense.shape[1:]))
        start.index_add_(0, of_grain, dense.to(frames.field))
    counts = solution.fields[sample]

    def after_step(stepper: AdaptiveMultistep) -> None:
        counts.append(tracker.fields)
        solution.evaluations[sample] = stepper.evaluations
        tracker.after_step(stepper)

    initial = basis.forward(resample(start, shape, grid.boundary, band_limited=True))[None]
    step_tolerance = process_named(problem.process).accuracy.step_tolerance(tolerance)
    scaled = times[None] * float(problem.time_scale(1))
    for states in rollout(problem.equation(basis, 1), initial, scaled, step_tolerance, after_step):
        for i, column in enumerate(states.times):
            fields = basis.inverse(states.coefficients[i : i + 1])
            frames.free_energy[sample, column] = problem.free_energy(fields)[0]
            seen = resample(fields, grid.shape, grid.boundary)
            frames.field[sample, column] = seen.square().sum(1)[0]
            frames.grain_id[sample, column] = torch.from_numpy(names[tracker.grain_map(seen)[0]])
    solution.moves[sample] = tracker.moves


def check_labels(labels: torch.Tensor, grid: Grid) -> torch.Tensor:
    """``labels`` (batch, *shape) as an int64 CPU tensor.

    Raises:
        InputError: for another shape, an empty batch, or values that are not integers in [0, 2^31).
    """
    maps = torch.as_tensor(labels).detach().cpu()
    if maps.ndim != 1 + grid.ndim or tuple(maps.shape[1:]) != grid.shape or len(maps) == 0:
        raise InputError(f"labels: (batch, shape) with shape = {grid.shape}, but got {tuple(maps.shape)}")
    if maps.is_floating_point() or maps.is_complex() or maps.dtype == torch.bool:
        raise InputError(f"labels: integers, but got {maps.dtype}")
    if int(maps.min()) < 0 or int(maps.max()) >= 2**31:
        raise InputError(f"labels: in [0, 2^31), but got {int(maps.min())} to {int(maps.max())}")
    return maps.to(torch.int64)


def order_parameters(labels: torch.Tensor, grid: Grid, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """The dense start (batch, grain, *shape): one order parameter for each label, in increasing order; they sum to 1.

    The indicator of each grain, convolved with a Gaussian of standard deviation one cell that is periodic or mirrored
    as the grid (band-limited: its spectrum has fallen to exp(-pi^2 / 2) at the grid's Nyquist wavenumber). Every sample
    must have the same labels.

    Raises:
        InputError: as :func:`check_labels`.
    """
    maps = check_labels(labels, grid)
    names = torch.unique(maps)
    indicators = (maps[:, None] == names.reshape(-1, *[1] * grid.ndim)).to(dtype)
    return smoothed(indicators, grid)


def shared_fields(field_of_cell: torch.Tensor, fields: int, grid: Grid) -> torch.Tensor:
    """Start of fields that hold several grains: (*shape) field of each cell to (field, *shape) float64."""
    numbers = torch.arange(fields).reshape(-1, *[1] * grid.ndim)
    return smoothed((field_of_cell[None] == numbers).to(torch.float64), grid)


def smoothed(indicators: torch.Tensor, grid: Grid) -> torch.Tensor:
    """``indicators`` (..., *shape) convolved with a Gaussian of standard deviation one cell."""
    basis = basis_for(grid, indicators.dtype, indicators.device)
    kernel = torch.exp(-0.5 * grid.spacing**2 * basis.k2)
    return basis.inverse(basis.forward(indicators) * kernel)
