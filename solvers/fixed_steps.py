"""Fixed-step integration on a chosen grid: for benchmarks, studies of schemes, and whoever must control both."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from solvers.checks import check_fields, check_times
from solvers.errors import InputError
from solvers.integrators import make_scheme
from solvers.resampling import resample
from solvers.simulation import Problem, layout_of, scaled_start, unscaled
from solvers.spectral import basis_for


def simulate_fixed_step(
    problem: Problem,
    initial: torch.Tensor,
    times: Sequence[float],
    scheme: str,
    step: float,
    stabilisation: float = 1.0,
    shape: tuple[int, ...] | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """The solution by one scheme at one step, without any control of its error.

    Args:
        problem: what to solve. Samples may differ in kappa but must share M W: the step is one in time.
        initial, dtype, device: as for :func:`solvers.simulate`.
        times: increasing multiples of ``step``.
        scheme: a name of :data:`solvers.integrators.SCHEMES`.
        step: time step.
        stabilisation: share s of the damping that is treated implicitly (-1 is the exact linear part around c = 0).
        shape: cells of the internal grid; the user's by default.

    Returns:
        As :func:`solvers.simulate`.

    Raises:
        InputError: for times off the steps, differing M W, an unknown scheme, or as :func:`solvers.simulate`.
    """
    grid = problem.grid
    initial = check_fields(initial, grid, layout_of(problem)).to(device, dtype)
    row = check_times(times, 1)[0]
    counts = [round(t / step) for t in row.tolist()]
    if any(abs(n * step - t) > 1e-9 * max(t, step) for n, t in zip(counts, row.tolist(), strict=True)):
        raise InputError(f"times: multiples of step = {step:g}, but got {row.tolist()}")
    scale = problem.time_scale(len(initial))
    if not bool((scale == scale[0]).all()):
        raise InputError("mobility: one M W for all samples at a fixed step, but they differ")
    shape = tuple(shape or grid.shape)
    basis = basis_for(grid, dtype, device, shape)
    state = basis.forward(scaled_start(problem, initial, shape))
    advance = make_scheme(scheme, problem.equation(basis, len(initial)), step * float(scale[0]), stabilisation)
    frames, done = [], 0
    for count in counts:
        for _ in range(count - done):
            state = advance(state)
        done = count
        frames.append(resample(unscaled(problem, basis.inverse(state)), grid.shape, grid.boundary))
    return torch.stack(frames, dim=1)
