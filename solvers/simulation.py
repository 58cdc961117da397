"""Solves problems to a tolerance: chooses steps and internal grid, and samples the answer on the user's grid."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from solvers.accuracy import check_tolerance, finest_aim, internal_shape
from solvers.accuracy.error_control import solve_measured
from solvers.arguments import Times, check_fields, check_times
from solvers.errors import ToleranceWarning
from solvers.frames import Frames
from solvers.grids.even_extension import extended, mirrored, own_cells
from solvers.grids.resampling import resample
from solvers.grids.spectral_basis import Basis, basis_for
from solvers.integrators.trajectory import States, chunks, rollout
from solvers.processes.base import Problem
from solvers.processes.pointwise import compilable, mean_square, shift_means
from solvers.processes.registry import SolveFrames, process_named
from solvers.registries import resolve

# States transformed together, in bytes: fewer cost more calls, more leave the cache.
FRAME_BYTES = 2**19
# States of companions held at once, in bytes.
_COMPANION_BYTES = 2**28


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

    Warns:
        ToleranceWarning: where the measured error of a sample exceeds the tolerance (:func:`solve` returns it).
    """
    solution = solve(problem, initial, times, tolerance, dtype, device)
    warn_of_errors(solution.error_estimate, times, tolerance)
    return solution.states


def warn_of_errors(estimate: torch.Tensor, times: Times, tolerance: float) -> None:
    """Warns where estimates (batch, time) of relative errors exceed the tolerance, in one line."""
    found = torch.where(estimate.isnan(), 0.0, estimate).double().cpu()
    over = int((found > tolerance).any(dim=1).sum())
    if over:
        sample, column = divmod(int(found.argmax()), found.shape[1])
        time = float(check_times(times, len(found))[sample, column])
        text = f"estimated error {float(found.max()):.2g} at t = {time:g} in sample {sample}, asked for {tolerance:g}"
        warnings.warn(f"{over} of {len(found)} samples miss the tolerance: {text}", ToleranceWarning, stacklevel=3)


@dataclass(frozen=True)
class Solution:
    """States on the user's grid, the energy of the resolved solution, how far off they are, and what they cost.

    Attributes:
        states: as :func:`simulate` returns.
        free_energy: (batch, time), taken on the internal grid.
        error_estimate: (batch, time) measured relative L2 error against the converged solution, see
            :mod:`solvers.accuracy.error_control`; 0 at time 0, NaN where it was not measured.
        evaluations: (batch,) evaluations of the right-hand side for each sample (on a GPU for its chunk), companions
            included.
        shapes: per sample, the cells of its internal grid.
        steps: (batch, time) time steps accepted up to each time.
        order: (batch,) order of the scheme, 2 or 3.
    """

    states: torch.Tensor
    free_energy: torch.Tensor
    error_estimate: torch.Tensor
    evaluations: np.ndarray
    shapes: list[tuple[int, ...]]
    steps: np.ndarray
    order: np.ndarray


def solve(
    problem: Problem,
    initial: torch.Tensor,
    times: Times,
    tolerance: float = 1e-4,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    refine: int = 0,
) -> Solution:
    """As :func:`simulate`, with the free energy, the measured error and the cost.

    ``refine`` divides the tolerance that steps and grid are made for by 8 this many times, and measures no error.
    """
    initial = check_fields(initial, problem.grid, problem.state_axes).to(device, dtype)
    rows = check_times(times, len(initial))
    check_tolerance(tolerance, dtype)
    if problem.grid.boundary == "no_flux" and problem.needs_periodic_basis:
        return _solve_mirrored(problem, initial, rows, tolerance, refine)
    batch = _Batch(problem, initial, rows, tolerance)
    if refine:
        aims = np.minimum(tolerance, batch.loosest()) / 8.0**refine
        return batch.run(np.arange(len(initial)), aims, np.ones(rows.shape, dtype=bool), False)
    return _joined([_measured(batch.part(part)) for part in _parts(batch)])


def _parts(batch: _Batch) -> Iterator[slice]:
    """Slices of a batch whose companions' states fit in memory beside their own."""
    initial = batch.initial
    size = batch.rows.shape[1] * initial[0].numel() * initial.element_size()
    length = max(1, _COMPANION_BYTES // size)
    for start in range(0, len(initial), length):
        yield slice(start, start + length)


def _measured(batch: _Batch) -> Solution:
    """Solves every sample to the tolerance."""
    least = process_named(batch.problem.process).accuracy.least_excess
    finest, times = finest_aim(batch.initial.dtype), batch.rows.shape[1]
    found = solve_measured(batch, times, batch.tolerance, finest, least, batch.loosest())
    return replace(found, evaluations=batch.spent)


def _joined(solutions: list[Solution]) -> Solution:
    if len(solutions) == 1:
        return solutions[0]
    return Solution(
        states=torch.cat([s.states for s in solutions]),
        free_energy=torch.cat([s.free_energy for s in solutions]),
        error_estimate=torch.cat([s.error_estimate for s in solutions]),
        evaluations=np.concatenate([s.evaluations for s in solutions]),
        shapes=[shape for s in solutions for shape in s.shapes],
        steps=np.concatenate([s.steps for s in solutions]),
        order=np.concatenate([s.order for s in solutions]),
    )


@dataclass(frozen=True)
class _Batch:
    """What there is to solve.

    Attributes:
        initial: (batch, *shape) or (batch, component, *shape), in the user's units.
        rows: (batch, time) times in the user's units.
        spent: (batch,) evaluations of the right-hand side made so far.
        order: (batch,) of the scheme, 2 or 3.
    """

    problem: Problem
    initial: torch.Tensor
    rows: np.ndarray
    tolerance: float
    spent: np.ndarray = field(init=False)
    order: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        batch = len(self.initial)
        object.__setattr__(self, "spent", np.zeros(batch, dtype=np.int64))
        equation = self.problem.equation(basis_for(self.problem.grid, self.initial.dtype, self.initial.device), batch)
        object.__setattr__(self, "order", np.broadcast_to(equation.order, batch))

    def loosest(self) -> np.ndarray:
        """(batch,) largest tolerance that a trajectory may be made for."""
        model = process_named(self.problem.process).accuracy
        return np.array([model.loosest(order) for order in self.order.tolist()])

    def part(self, part: slice) -> _Batch:
        chosen = torch.arange(len(self.initial))[part]
        if len(chosen) == len(self.initial):
            return self
        return _Batch(self.problem.take(chosen), self.initial[part], self.rows[part], self.tolerance)

    def run(self, samples: np.ndarray, aims: np.ndarray, wanted: np.ndarray, only_states: bool) -> Solution:
        """See :class:`~solvers.accuracy.error_control.Solvable`."""
        rows, start = self.rows[samples], self.initial[torch.from_numpy(samples).to(self.initial.device)]
        problem = self.problem.take(torch.from_numpy(samples))
        solution = Solution(
            states=start.new_full((len(samples), rows.shape[1], *start.shape[1:]), torch.nan),
            free_energy=start.new_full(rows.shape, torch.nan),
            error_estimate=start.new_full(rows.shape, torch.nan),
            evaluations=np.zeros(len(samples), dtype=np.int64),
            shapes=[problem.grid.shape] * len(samples),
            steps=np.zeros(rows.shape, dtype=np.int64),
            order=self.order[samples],
        )
        # Samples share a transform only with those of the same internal grid, which their own kappa decides: what else
        # is in the batch must not change an answer.
        groups: dict[tuple[tuple[int, ...], float], dict[int, np.ndarray]] = defaultdict(dict)
        few = start.device.type != "cpu"
        stretches = on_internal_grids(problem, rows, aims, wanted, self.tolerance, few)
        for place, (of_sample, aim) in enumerate(zip(stretches, aims.tolist(), strict=True)):
            for shape, times in of_sample:
                groups[shape, aim][place] = times
                solution.shapes[place] = shape
        for (shape, aim), members in groups.items():
            masks = np.zeros(rows.shape, dtype=bool)
            masks[list(members)] = np.array(list(members.values()))
            group = _Group(problem, start, rows, np.array(list(members)), masks, shape, aim, not only_states)
            _solve_group(group, self.tolerance, solution)
        self.spent[samples] += solution.evaluations
        return solution

    def chosen(self, found: Solution, samples: np.ndarray) -> Solution:
        """See :class:`~solvers.accuracy.error_control.Solvable`; energies and shapes are left as they are."""
        states = found.states[torch.from_numpy(samples)]
        return replace(found, states=states, steps=found.steps[samples], order=found.order[samples])

    def adopt(
        self, best: Solution, finer: Solution, samples: np.ndarray, wanted: np.ndarray, estimate: np.ndarray
    ) -> None:
        """See :class:`~solvers.accuracy.error_control.Solvable`."""
        rows, columns = np.nonzero(wanted)
        into = samples[rows], columns
        best.error_estimate[into] = torch.from_numpy(estimate[rows, columns]).to(best.error_estimate)
        if finer is best:
            return
        best.states[into] = finer.states[rows, columns]
        best.free_energy[into] = finer.free_energy[rows, columns]
        best.steps[into] = finer.steps[rows, columns]
        for sample, shape in zip(samples, finer.shapes, strict=True):
            best.shapes[sample] = shape


def on_internal_grids(
    problem: Problem, rows: np.ndarray, aims: np.ndarray, wanted: np.ndarray, tolerance: float, few: bool = False
) -> list[list[tuple[tuple[int, ...], np.ndarray]]]:
    """Per sample, the cells of an internal grid and which of its times, bool (time,), are solved on it.

    A grid coarser than the user's serves the times at which what it cuts off from the start has decayed, another the
    earlier ones, so that which other times are asked for changes no answer.

    Args:
        rows: (batch, time) times.
        aims: (batch,) tolerance that each sample's trajectory is made for.
        wanted: bool (batch, time).
        tolerance: relative L2 error that modes of the start which a coarser grid leaves out may make.
        few: see :func:`~solvers.accuracy.internal_shape`.
    """
    model = process_named(problem.process).accuracy
    lengths = problem.reduced_kappa(len(rows)).sqrt().tolist()
    scaled = rows * problem.time_scale(len(rows)).numpy()[:, None]
    found = []
    for aim, length, times, these in zip(aims.tolist(), lengths, scaled, wanted, strict=True):
        spacing = model.spacing(aim, length)
        fine, coarse = (internal_shape(problem.grid, spacing, coarser, few) for coarser in (False, True))
        smooth = times >= model.smooth_after(spacing, length, tolerance)
        if fine == coarse or not (these & smooth).any():
            found.append([(fine, these)])
            continue
        early = these & ~smooth & (times > 0.0)
        found.append([(fine, early), (coarse, these & ~early)] if early.any() else [(coarse, these)])
    return found


def between(rows: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Times (batch, time) with those that are not wanted moved to the nearest that is, in non-decreasing rows."""
    first = np.where(wanted, rows, np.inf).min(axis=1, initial=np.inf)
    last = np.where(wanted, rows, -np.inf).max(axis=1, initial=-np.inf)
    return np.clip(rows, first[:, None], last[:, None])


@dataclass(frozen=True)
class _Group:
    """Samples ``members`` of a batch that share an internal grid of ``shape`` and the tolerance ``aim``.

    ``wanted`` are their times that are solved on it, bool (batch, time).
    """

    problem: Problem
    initial: torch.Tensor
    rows: np.ndarray
    members: np.ndarray
    wanted: np.ndarray
    shape: tuple[int, ...]
    aim: float
    energies: bool


@torch.inference_mode()
def _solve_group(group: _Group, tolerance: float, solution: Solution) -> None:
    """Solves a group chunk by chunk into ``solution``."""
    problem, initial, rows, shape = group.problem, group.initial, group.rows, group.shape
    grid = problem.grid
    basis = basis_for(grid, initial.dtype, initial.device, shape)
    components = initial.shape[1] if initial.ndim > 1 + grid.ndim else 1
    model = process_named(problem.process).accuracy
    orders = solution.order[group.members]
    for order in np.unique(orders).tolist():
        of_order = group.members[orders == order]
        for part in chunks(len(of_order), components, basis.size, initial):
            index = of_order[part]
            chosen = torch.from_numpy(index)
            material = problem.take(chosen)
            fine = resample(initial[chosen.to(initial.device)], shape, grid.boundary, band_limited=True)
            start = basis.forward(material.to_scaled(fine))
            times = between(rows[index], group.wanted[index]) * material.time_scale(len(index)).numpy()[:, None]
            equation = material.equation(basis, len(index))
            together = max(1, FRAME_BYTES // (start[0].numel() * start.element_size()))
            cost = np.zeros(len(index), dtype=np.int64)
            step_tolerance = model.step_tolerance(group.aim, order)
            for states in rollout(equation, start, times, step_tolerance, together=together, evaluations=cost):
                _keep(states, group, basis, index[states.samples], tolerance, solution)
            solution.evaluations[index] += cost
    for sample in group.members:  # time 0 is what the user gave, to the last bit
        at_start = group.wanted[sample] & (rows[sample] == 0.0)
        solution.states[sample, at_start] = initial[sample]
        if group.energies and at_start.any():
            one = problem.take(torch.tensor([sample]))
            solution.free_energy[sample, at_start] = energy_of_start(one, initial[sample : sample + 1])


def energy_of_start(problem: Problem, initial: torch.Tensor) -> torch.Tensor:
    """Free energy of one start (1, ...) in the user's units, on twice as many cells along every axis: exact for a
    quartic, and the same whatever the internal grid."""
    shape = tuple(2 * n for n in problem.grid.shape)
    return problem.free_energy(resample(initial, shape, problem.grid.boundary))[0]


def _keep(states: States, group: _Group, basis: Basis, where: np.ndarray, tolerance: float, solution: Solution) -> None:
    """Samples states on the user's grid, and takes their energy, into rows ``where`` (m,) of ``solution``."""
    here = group.wanted[where, states.times]
    if not here.all():
        where, states = where[here], states.those(here)
        if not len(where):
            return
    problem, shape = group.problem, group.problem.grid.shape
    fields = None
    if group.energies or group.shape == shape:
        fields = problem.from_scaled(basis.inverse(states.coefficients))
    if group.energies and fields is not None:
        gradient = mean_square(states.coefficients, basis.weights * basis.k2 * problem.field_scale**2)
        energy = problem.take(torch.from_numpy(where)).free_energy(fields, gradient)
        solution.free_energy[where, states.times] = energy
    # Where the internal grid is another, the modes are sampled at the user's points: cheaper than values.
    if fields is None or group.shape != shape:
        fields = problem.from_scaled(basis.sample(states.coefficients, shape))
    if problem.conserves_mean and states.coefficients.shape[1] == 1:
        fields = _with_means(fields.contiguous(), group.initial, where, tolerance)
    solution.states[where, states.times] = fields
    solution.steps[where, states.times] = states.steps


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
    return Frames(solution.states, solution.free_energy, error_estimate=solution.error_estimate)


def _solve_mirrored(
    problem: Problem, initial: torch.Tensor, rows: np.ndarray, tolerance: float, refine: int
) -> Solution:
    """A no-flux box as the quarter (eighth) of its even extension, for the flux form needs sines and cosines."""
    grid = problem.grid
    whole = replace(problem, grid=extended(grid))  # type: ignore[type-var]
    start = mirrored(initial, grid.ndim)
    solution = solve(whole, start, rows, tolerance, initial.dtype, initial.device, refine)
    states = solution.states[own_cells(grid)].contiguous()
    if problem.conserves_mean and initial.ndim == 1 + grid.ndim:
        # On an internal grid of other cells the mirror images are equal to the tolerance only.
        owners = np.arange(len(states)).repeat(states.shape[1])
        states = _with_means(states.flatten(0, 1), initial, owners, tolerance).view(states.shape)
    return replace(solution, states=states, free_energy=solution.free_energy / 2**grid.ndim)
