"""Solves problems to a tolerance: chooses steps and internal grid, and samples the answer on the user's grid."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np
import torch

from solvers.accuracy import check_tolerance, internal_shape
from solvers.arguments import Times, check_fields, check_times
from solvers.frames import Frames
from solvers.grids.even_extension import extended, mirrored, own_cells
from solvers.grids.resampling import resample
from solvers.grids.spectral_basis import basis_for
from solvers.integrators import AdaptiveMultistep
from solvers.integrators.trajectory import chunks, rollout
from solvers.processes.base import Problem
from solvers.processes.pointwise import compilable, mean_square, shift_means
from solvers.processes.registry import SolveFrames, process_named
from solvers.registries import resolve

# States transformed together, in bytes: fewer cost more calls, more leave the cache.
FRAME_BYTES = 2**19


def simulate(
    problem: Problem,
    initial: torch.Tensor,
    times: Times,
    tolerance: float = 1e-4,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """The solution of the PDE at ``times``, sampled on the user's grid.

    Args:
        problem: what to solve; its parameters are floats or (batch,) tensors.
        initial: (batch, *shape) compositions for Cahn-Hilliard, (batch, grain, *shape) order parameters for grain
            growth, read as the trigonometric interpolant through the cell values. For many grains see
            :func:`solvers.simulate_grains`, which takes labels.
        times: increasing times >= 0, the same for all samples; or a (batch, time) tensor with a non-decreasing row
            for each. Time 0 is the initial state.
        tolerance: relative L2 error, at every time, against the converged solution of the PDE: steps and an internal
            grid finer than the user's are chosen to meet it (:func:`solvers.audit` measures whether they do).
        dtype: precision of the computation, float64 or float32.
        device: where to compute.

    Returns:
        (batch, time, *shape) or (batch, time, grain, *shape). A sample that no step size could integrate is NaN from
        the time on at which it failed; the others are unaffected. Results do not depend on what else is in the batch.

    Raises:
        InputError: wrong shapes, times, tolerance or values.
    """
    return solve(problem, initial, times, tolerance, dtype, device).states


@dataclass(frozen=True)
class Solution:
    """States on the user's grid, the energy of the resolved solution, and what it cost.

    Attributes:
        states: as :func:`simulate` returns.
        free_energy: (batch, time), taken on the internal grid.
        evaluations: (batch,) evaluations of the right-hand side made for each sample's chunk.
        shapes: per sample, the cells of its internal grid.
    """

    states: torch.Tensor
    free_energy: torch.Tensor
    evaluations: np.ndarray
    shapes: list[tuple[int, ...]]


def solve(
    problem: Problem,
    initial: torch.Tensor,
    times: Times,
    tolerance: float = 1e-4,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    refine: int = 0,
) -> Solution:
    """As :func:`simulate`, with the free energy and the cost.

    ``refine`` halves the steps and refines the internal grid by 5/4 this many times beyond what the tolerance needs.
    """
    initial = check_fields(initial, problem.grid, problem.state_axes).to(device, dtype)
    rows = check_times(times, len(initial))
    check_tolerance(tolerance, dtype)
    if problem.grid.boundary == "no_flux" and problem.needs_periodic_basis:
        return _solve_mirrored(problem, initial, rows, tolerance, refine)
    shapes = internal_shapes(problem, len(initial), tolerance, refine)
    solution = Solution(
        states=initial.new_full((len(initial), rows.shape[1], *initial.shape[1:]), torch.nan),
        free_energy=initial.new_full(rows.shape, torch.nan),
        evaluations=np.zeros(len(initial), dtype=np.int64),
        shapes=shapes,
    )
    # Samples share a transform only with those of the same internal grid, which their own kappa decides: what else
    # is in the batch must not change an answer.
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for sample, shape in enumerate(shapes):
        groups[shape].append(sample)
    step_tolerance = process_named(problem.process).accuracy.step_tolerance(tolerance) / 16.0**refine
    for shape, members in groups.items():
        _solve_group(problem, initial, rows, np.array(members), shape, tolerance, step_tolerance, solution)
    return solution


def internal_shapes(problem: Problem, batch: int, tolerance: float, refine: int = 0) -> list[tuple[int, ...]]:
    """Per sample, the cells of the internal grid that the tolerance needs."""
    model = process_named(problem.process).accuracy
    lengths = problem.reduced_kappa(batch).sqrt().tolist()
    return [internal_shape(problem.grid, model.spacing(tolerance, xi) / 1.25**refine) for xi in lengths]


@torch.inference_mode()
def _solve_group(
    problem: Problem,
    initial: torch.Tensor,
    rows: np.ndarray,
    members: np.ndarray,
    shape: tuple[int, ...],
    tolerance: float,
    step_tolerance: float,
    solution: Solution,
) -> None:
    """Solves the samples ``members``, which share an internal grid, chunk by chunk, into ``solution``."""
    grid = problem.grid
    basis = basis_for(grid, initial.dtype, initial.device, shape)
    gradient_weights = basis.weights * basis.k2 * problem.field_scale**2
    components = initial.shape[1] if initial.ndim > 1 + grid.ndim else 1
    for part in chunks(len(members), components, basis.size, initial):
        index = members[part]
        chosen = torch.from_numpy(index)
        material = problem.take(chosen)
        fine = resample(initial[chosen.to(initial.device)], shape, grid.boundary)
        start = basis.forward(material.to_scaled(fine))
        times = rows[index] * material.time_scale(len(index)).numpy()[:, None]
        equation = material.equation(basis, len(index))

        def count(stepper: AdaptiveMultistep, index: np.ndarray = index) -> None:
            solution.evaluations[index] = stepper.evaluations

        together = max(1, FRAME_BYTES // (start[0].numel() * start.element_size()))
        for states in rollout(equation, start, times, step_tolerance, count, together):
            where = index[states.samples]
            fields = problem.from_scaled(basis.inverse(states.coefficients))
            gradient = mean_square(states.coefficients, gradient_weights)
            energy = problem.take(torch.from_numpy(where)).free_energy(fields, gradient)
            solution.free_energy[where, states.times] = energy
            # Where the internal grid is finer, the modes are sampled at the user's points: cheaper than values.
            if shape != grid.shape:
                fields = problem.from_scaled(basis.sample(states.coefficients, grid.shape))
            if problem.conserves_mean and components == 1:
                fields = _with_means(fields.contiguous(), initial, where, tolerance)
            solution.states[where, states.times] = fields
    for sample in members:  # time 0 is what the user gave, to the last bit
        solution.states[sample, rows[sample] == 0.0] = initial[sample]


def _with_means(sampled: torch.Tensor, initial: torch.Tensor, owners: np.ndarray, tolerance: float) -> torch.Tensor:
    """``sampled`` (m, *shape) shifted to the means of ``initial[owners]``, where that is far below the tolerance.

    The mean of the values at cells too coarse for the interface need not be the solution's, which is conserved: modes
    at multiples of the sampling wavenumber fold onto it (4e-6 at spacing 1, kappa 0.5).
    """
    if compilable(sampled):
        shift_means(initial.flatten(1).numpy(), owners, sampled.view(len(sampled), -1).numpy(), 0.5 * tolerance)
        return sampled
    initial = initial[owners]
    axes = tuple(range(1, sampled.ndim))
    drift = (sampled.mean(axes, keepdim=True) - initial.mean(axes, keepdim=True)).double()
    size = sampled.double().square().mean(axes, keepdim=True).sqrt()
    return sampled - torch.where(drift.abs() <= 0.5 * tolerance * size, drift, 0.0).to(sampled)


def simulate_frames(
    problem: Problem,
    initial: torch.Tensor,
    times: Times,
    *,
    tolerance: float,
    dtype: torch.dtype,
    device: torch.device | str = "cpu",
    refine: int = 0,
) -> Frames:
    """Frames of any process, by the solver that its :class:`~solvers.processes.registry.Process` names.

    Arguments are those of :func:`solve`; ``initial`` is what the process starts from: fields, or labels of grains.

    Raises:
        InputError: as :func:`solve`.
    """
    solver: SolveFrames = resolve(process_named(problem.process).solve)
    return solver(problem, initial, times, tolerance=tolerance, dtype=dtype, device=device, refine=refine)


def solve_frames(
    problem: Problem,
    initial: torch.Tensor,
    times: Times,
    *,
    tolerance: float,
    dtype: torch.dtype,
    device: torch.device | str,
    refine: int = 0,
) -> Frames:
    """Frames of a process with one field; arguments as :func:`solve`'s.

    Raises:
        InputError: as :func:`solve`.
    """
    solution = solve(problem, initial, times, tolerance, dtype, device, refine)
    return Frames(field=solution.states, free_energy=solution.free_energy)


def _solve_mirrored(
    problem: Problem, initial: torch.Tensor, rows: np.ndarray, tolerance: float, refine: int
) -> Solution:
    """A no-flux box as the quarter (eighth) of its even extension, for the flux form needs sines and cosines."""
    grid = problem.grid
    whole = replace(problem, grid=extended(grid))  # type: ignore[type-var]
    start = mirrored(initial, grid.ndim)
    solution = solve(whole, start, rows, tolerance, initial.dtype, initial.device, refine)
    states = solution.states[own_cells(grid)]
    return replace(solution, states=states, free_energy=solution.free_energy / 2**grid.ndim)
