"""Grain growth from labels: any number of grains, each cell's grain followed through time."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from solvers.accuracy import check_tolerance, finest_aim
from solvers.accuracy.error_control import solve_measured
from solvers.arguments import Times, check_times
from solvers.errors import InputError
from solvers.frames import Frames
from solvers.grains.labels import in_order_of_occurrence
from solvers.grains.tracker import GrainTracker
from solvers.grids.grid import Grid
from solvers.grids.resampling import resample
from solvers.grids.spectral_basis import basis_for
from solvers.integrators.trajectory import BetweenSteps, rollout
from solvers.processes.grain_growth import GrainGrowth, GrainGrowthEquation
from solvers.processes.parameters import per_sample
from solvers.processes.registry import process_named
from solvers.simulation import between, energy_of_start, on_internal_grids, warn_of_errors


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
    frames = solve_grains(problem, labels, times, tolerance, dtype, device, start).frames
    assert frames.error_estimate is not None
    warn_of_errors(frames.error_estimate, times, tolerance)
    return frames


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
    return solve_grains(problem, initial, times, tolerance, dtype, device).frames


@dataclass(frozen=True)
class GrainSolution:
    """Frames and what they cost.

    Attributes:
        evaluations: (batch,) evaluations of the right-hand side, companions included.
        fields: per sample, the number of order-parameter fields before each check of the trajectory that was kept.
        moves: (batch,) grains moved from one field to another in it.
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
    rows = check_times(times, len(maps))
    check_tolerance(tolerance, dtype)
    like = torch.empty(0, dtype=dtype, device=device)
    found = []
    for sample in range(len(maps)):
        own = None if dense is None else dense[sample]
        one = problem.take(torch.tensor([sample]))
        found.append(_measured(_Sample(one, maps[sample], rows[sample : sample + 1], tolerance, like, own)))
    frames = Frames(
        torch.cat([one.states for one in found]),
        torch.cat([one.free_energy for one in found]),
        torch.cat([one.grain_id for one in found]),
        torch.cat([one.error_estimate for one in found]),
    )
    evaluations = np.array([one.evaluations for one in found], dtype=np.int64)
    return GrainSolution(frames, evaluations, [one.fields for one in found], np.array([one.moves for one in found]))


@dataclass
class _Trajectory:
    """One solution of one sample.

    Attributes:
        states: (1, time, *shape) phi on the user's grid.
        free_energy, error_estimate: (1, time).
        grain_id: (1, time, *shape) int32.
        steps: (1, time) time steps accepted up to each time.
        evaluations, fields, moves: as :class:`GrainSolution`'s, of this trajectory.
    """

    states: torch.Tensor
    free_energy: torch.Tensor
    grain_id: torch.Tensor
    error_estimate: torch.Tensor
    steps: np.ndarray
    evaluations: int = 0
    fields: list[int] = field(default_factory=list)
    moves: int = 0

    @property
    def order(self) -> np.ndarray:
        """(1,) order of the scheme."""
        return GrainGrowthEquation.order


@dataclass(frozen=True)
class _Sample:
    """What there is to solve.

    Attributes:
        labels: (*shape) int64.
        times: (1, time).
        like: an empty tensor of the precision and the place of the computation.
        dense: (grain, *shape) order parameters of the start, in increasing order of labels; None for smoothed labels.
        spent: evaluations of the right-hand side made so far.
    """

    problem: GrainGrowth
    labels: torch.Tensor
    times: np.ndarray
    tolerance: float
    like: torch.Tensor
    dense: torch.Tensor | None
    spent: list[int] = field(default_factory=lambda: [0])

    def run(self, samples: np.ndarray, aims: np.ndarray, wanted: np.ndarray, only_states: bool) -> _Trajectory:  # noqa: ARG002
        """See :class:`~solvers.accuracy.error_control.Solvable`: of a batch of one."""
        found = _nothing_yet(self)
        for shape, times in on_internal_grids(self.problem, self.times, aims, wanted, self.tolerance)[0]:
            _solve(self, float(aims[0]), shape, times, only_states, found)
        return found

    def chosen(self, found: _Trajectory, samples: np.ndarray) -> _Trajectory:  # noqa: ARG002
        """See :class:`~solvers.accuracy.error_control.Solvable`."""
        return found

    def adopt(
        self,
        best: _Trajectory,
        finer: _Trajectory,
        samples: np.ndarray,  # noqa: ARG002
        wanted: np.ndarray,
        estimate: np.ndarray,
    ) -> None:
        """See :class:`~solvers.accuracy.error_control.Solvable`."""
        here = wanted[0]
        best.error_estimate[0, here] = torch.from_numpy(estimate[0, here]).to(best.states)
        if finer is best:
            return
        for name in ("states", "free_energy", "grain_id", "steps"):
            getattr(best, name)[0, here] = getattr(finer, name)[0, here]
        best.fields, best.moves = finer.fields, finer.moves


def _measured(sample: _Sample) -> _Trajectory:
    """Solves one sample to the tolerance."""
    model = process_named(sample.problem.process).accuracy
    finest, loosest = finest_aim(sample.like.dtype), np.array([model.loosest()])
    best = solve_measured(sample, sample.times.shape[1], sample.tolerance, finest, model.least_excess, loosest)
    best.evaluations = sample.spent[0]
    return best


@torch.inference_mode()
def _solve(
    sample: _Sample, aim: float, shape: tuple[int, ...], wanted: np.ndarray, only_states: bool, found: _Trajectory
) -> None:
    """Solves a sample once on a grid of ``shape``, with the steps that the tolerance ``aim`` needs, into ``found``."""
    problem, like = sample.problem, sample.like
    grid = problem.grid
    basis = basis_for(grid, like.dtype, like.device, shape)
    names, numbers = in_order_of_occurrence(sample.labels.numpy())
    kappa, gamma = float(problem.reduced_kappa(1)), float(per_sample(problem.gamma, 1, "gamma"))
    tracker = GrainTracker(numbers, grid, basis, kappa, gamma, aim)
    found.fields = []

    def interrupt(stepper: BetweenSteps) -> float:
        found.fields.append(tracker.fields)
        return tracker.check(stepper)

    start = _start(sample, names, numbers, tracker)
    initial = basis.forward(resample(start, shape, grid.boundary, band_limited=True))[None]
    step_tolerance = process_named(problem.process).accuracy.step_tolerance(aim)
    scaled = between(sample.times, wanted[None]) * float(problem.time_scale(1))
    evaluations = np.zeros(1, dtype=np.int64)
    equation = problem.equation(basis, 1)
    for states in rollout(equation, initial, scaled, step_tolerance, interrupt, evaluations=evaluations):
        for i, column in enumerate(states.times):
            if not wanted[column]:
                continue
            fields = basis.inverse(states.coefficients[i : i + 1])
            seen = resample(fields, grid.shape, grid.boundary)
            found.steps[0, column] = states.steps[i]
            found.states[0, column] = seen.square().sum(1)[0]
            if not only_states:
                found.free_energy[0, column] = problem.free_energy(fields)[0]
                found.grain_id[0, column] = torch.from_numpy(names[tracker.grain_map(seen)[0]])
    at_start = wanted & (sample.times[0] == 0.0)
    found.states[0, at_start] = start.square().sum(0)
    if not only_states and at_start.any():
        found.free_energy[0, at_start] = energy_of_start(problem, start[None])
    found.moves = tracker.moves
    sample.spent[0] += int(evaluations[0])


def _nothing_yet(sample: _Sample) -> _Trajectory:
    like, shape = sample.like, (*sample.times.shape, *sample.problem.grid.shape)
    with torch.inference_mode(False):  # what is returned may be changed, and used with gradients
        return _Trajectory(
            states=torch.full(shape, torch.nan, dtype=like.dtype, device=like.device),
            free_energy=torch.full(sample.times.shape, torch.nan, dtype=like.dtype, device=like.device),
            grain_id=torch.full(shape, -1, dtype=torch.int32, device=like.device),
            error_estimate=torch.full(sample.times.shape, torch.nan, dtype=like.dtype, device=like.device),
            steps=np.zeros(sample.times.shape, dtype=np.int64),
        )


def _start(sample: _Sample, names: np.ndarray, numbers: np.ndarray, tracker: GrainTracker) -> torch.Tensor:
    """(field, *shape) order parameters on the user's grid."""
    if sample.dense is None:
        fields = torch.from_numpy(tracker.field_of[numbers])
        return shared_fields(fields, tracker.fields, sample.problem.grid).to(sample.like)
    of_grain = torch.from_numpy(tracker.field_of[np.argsort(names)]).to(sample.like.device)
    start = sample.like.new_zeros((tracker.fields, *sample.dense.shape[1:]))
    return start.index_add_(0, of_grain, sample.dense.to(sample.like))


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
