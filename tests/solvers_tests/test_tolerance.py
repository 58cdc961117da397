"""The tolerance is the error, against independent converged solutions; ``benchmarks/validation.py`` has all of it."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
import torch
from common.spectral import cosines, relative_l2, smooth_noise
from validation_cases.reference import Material, cahn_hilliard, grain_growth

from solvers import CahnHilliard, GrainGrowth, Grid, solve
from solvers.accuracy import internal_shape
from solvers.initial import noise

CELLS = 32
TIMES = (5.0, 20.0, 40.0)
STARTS = {
    "weak": lambda: smooth_noise((CELLS, CELLS), 0.02, 0.0, seed=1),
    "plain": lambda: smooth_noise((CELLS, CELLS), 0.1, 0.3, seed=3),
    "strong": lambda: smooth_noise((CELLS, CELLS), 0.5, -0.5, seed=5),
    "cosines": lambda: cosines((CELLS, CELLS), -0.1, [(0, 3, 0.3), (2, 0, 0.3)]),
}
KAPPAS = (0.5, 1.0, 2.0)
MOBILITIES = (0.5, 1.0, 2.0)
# Smaller tolerances, for which the reference takes too long here, are in the benchmark.
TOLERANCES = (1e-2, 1e-3, 1e-4)


@cache
def references(kappa: float) -> np.ndarray:
    """(start, time, y, x) at M t = TIMES."""
    # Twice the reference's usual steps: its error is then about 5e-6.
    return np.stack([cahn_hilliard(Material(kappa), make(), 1.0, TIMES, refine=0.5) for make in STARTS.values()])


@cache
def solutions(kappa: float, tolerance: float):
    """Every start at every mobility, to the times M t = TIMES."""
    fields = torch.from_numpy(np.stack([make() for make in STARTS.values()])).repeat_interleave(len(MOBILITIES), 0)
    mobility = torch.tensor(MOBILITIES, dtype=torch.float64).repeat(len(STARTS))
    times = torch.tensor(TIMES, dtype=torch.float64) / mobility[:, None]
    return solve(CahnHilliard(Grid((CELLS, CELLS)), mobility, kappa), fields, times, tolerance)


@pytest.mark.parametrize("kappa", KAPPAS)
@pytest.mark.parametrize("tolerance", TOLERANCES)
class TestCahnHilliard:
    def test_error_is_within_the_tolerance(self, kappa, tolerance):
        found = solutions(kappa, tolerance).states.numpy().reshape(len(STARTS), len(MOBILITIES), -1, CELLS, CELLS)
        error = relative_l2(found, references(kappa)[:, None])
        assert error.max() <= tolerance, dict(zip(STARTS, error.max((1, 2)) / tolerance, strict=True))

    def test_free_energy_never_rises(self, kappa, tolerance):
        energy = solutions(kappa, tolerance).free_energy
        # Between frames it falls by whole units; nothing but round-off may raise it.
        assert (energy.diff(dim=1) <= 1e-12 * energy[:, :-1]).all()

    def test_mean_is_conserved(self, kappa, tolerance):
        solution = solutions(kappa, tolerance)
        means = solution.states.mean((-1, -2))
        expected = torch.tensor([make().mean() for make in STARTS.values()]).repeat_interleave(len(MOBILITIES))
        drift = (means - expected[:, None]).abs().max()
        if solution.shapes[0][0] < 2 * CELLS or tolerance >= 1e-3:
            # The integrator pins the mean; what is left is round-off of transforms and sampling.
            assert drift <= 1e-13
        else:
            # Cells too coarse for the interface: the mean of point samples is not the mean of the solution, whose
            # modes at multiples of the sampling wavenumber fold onto it. It is put right only far below the tolerance.
            assert drift <= tolerance


def test_energy_of_sampled_frames_falls_where_the_cells_resolve_the_interface():
    problem = CahnHilliard(Grid((CELLS, CELLS)), kappa=2.0)
    solution = solve(problem, torch.from_numpy(STARTS["plain"]())[None], [0.0, 1.0, 2.0, 5.0, 10.0, 40.0, 80.0], 1e-3)
    energy = problem.free_energy(solution.states)
    assert (energy.diff(dim=1) < 0).all()
    # The internal grid is hardly finer here: both energies are those of the same field, to the tolerance.
    assert ((energy - solution.free_energy).abs() / energy).max() < 1e-3


def test_single_precision_keeps_the_tolerances_it_accepts():
    for tolerance in TOLERANCES:
        fields = torch.from_numpy(np.stack([make() for make in STARTS.values()]))
        solution = solve(CahnHilliard(Grid((CELLS, CELLS))), fields, TIMES, tolerance, torch.float32)
        assert relative_l2(solution.states.double().numpy(), references(1.0)).max() <= tolerance


@pytest.mark.parametrize("contrast", [0.4, 0.9])
def test_variable_mobility(contrast):
    start = STARTS["plain"]()
    exact = cahn_hilliard(Material(1.0, contrast=contrast), start, 1.0, TIMES[:2], refine=0.5)
    problem = CahnHilliard(Grid((CELLS, CELLS)), mobility_contrast=contrast)
    for tolerance in TOLERANCES:
        found = solve(problem, torch.from_numpy(start)[None], TIMES[:2], tolerance).states[0].numpy()
        assert relative_l2(found, exact).max() <= tolerance


@pytest.mark.parametrize("gamma", [1.0, 1.5])
def test_grain_growth(gamma):
    start = np.stack([smooth_noise((24, 24), 0.15, 0.35, 20 + g) for g in range(4)])
    exact = grain_growth(0.8, gamma, start, 1.0, TIMES[:2], refine=0.5)
    problem = GrainGrowth(Grid((24, 24)), kappa=0.8, gamma=gamma)
    for tolerance in TOLERANCES:
        found = solve(problem, torch.from_numpy(start)[None], TIMES[:2], tolerance).states[0].numpy()
        assert relative_l2(found, exact, axes=3).max() <= tolerance


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize(
    ("mean", "std"),
    [(0.0, 0.0), (0.3, 0.0), (1.0, 0.0), (0.3, 1e-9), (0.5, 1e-6), (0.7, 0.05), (0.9, 0.1), (0.0, 5.0)],
    ids=["zero", "uniform", "pure", "almost-uniform", "tiny", "outside-the-spinodal", "decaying", "violent"],
)
def test_extreme_starts_come_through(mean, std, dtype):
    """Uniform states, noise at the edge of precision, noise that decays to nothing, noise far outside the wells."""
    start = mean + std * smooth_noise((16, 16), 1.0, 0.0, seed=2)[None]
    problem = CahnHilliard(Grid((16, 16)))
    solution = solve(problem, torch.from_numpy(start), [0.0, 1.0, 30.0, 1000.0], 1e-3, dtype)
    assert torch.isfinite(solution.states).all()
    rounding = 1e-12 if dtype == torch.float64 else 1e-5
    assert (solution.states.mean((-1, -2)) - start.mean()).abs().max() < rounding
    assert (solution.free_energy.diff() <= rounding * solution.free_energy[:, :1].clamp_min(1.0)).all()
    if std == 0.0 and mean != 0.3:
        # A uniform state stays; at 0.3 it is unstable, and round-off grows into a pattern within a thousand time units.
        assert (solution.states - mean).abs().max() < 1e-5
    # A few thousand evaluations for the violent start, whose rates begin at 1e4, and for those that an instability
    # keeps from their tolerance; a few hundred for the others.
    assert solution.evaluations[0] < 6000


@pytest.mark.parametrize("contrast", [0.0, 0.4, 0.8])
def test_the_loosest_tolerance_is_stable(contrast):
    """Longer steps than the scheme is stable at once ended in compositions of a thousand, or never ended."""
    grid = Grid((64, 64))
    problem = CahnHilliard(grid, kappa=0.5, mobility_contrast=contrast)
    solution = solve(problem, noise(grid, 0.0, 0.1, [1]), [100.0, 250.0, 400.0], 0.5)
    assert float(solution.states.abs().max()) < 1.2
    assert float(solution.error_estimate.max()) < 0.5
    assert solution.evaluations[0] < 3000


@pytest.mark.parametrize("boundary", ["periodic", "no_flux"])
@pytest.mark.parametrize("spacing", [1.0, 0.9, 0.66, 0.41, 0.3])
def test_a_gpu_gets_few_sizes_of_internal_grids(boundary, spacing):
    shape = internal_shape(Grid((64, 48), boundary=boundary), spacing, coarser=True, few=True)
    assert all(n in {48, 64, 96, 128, 192, 256} for n in shape)
    assert shape[0] >= 64 / spacing - 1e-9
    assert shape[1] >= 48 / spacing - 1e-9
    assert math.prod(shape) < 4.5 * 64 * 48 / spacing**2
