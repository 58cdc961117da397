"""Symmetries of the equations, which the solver must keep: exactly where it takes the same steps on the same numbers,
to the growth of round-off where the order of additions differs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from common.spectral import smooth_noise

from solvers import CahnHilliard, GrainGrowth, Grid, simulate, solve
from solvers.grains.simulation import solve_grains

GRID = Grid((32, 32))
TIMES = [2.0, 10.0, 30.0]
TOLERANCE = 1e-3
# Round-off (1e-16 a step, hundreds of steps) grows with the instability that separates the phases, here by less than
# 1e3: 5e-15 is what is seen. A broken symmetry shows at the tolerance, 1e-3.
GROWN_ROUNDING = 1e-11
# The same steps, but frames are transformed and written in other company: a last-bit difference.
ROUNDING = 1e-14


def start(seed: int = 0, mean: float = 0.1, std: float = 0.2, grid: Grid = GRID) -> torch.Tensor:
    """(1, *shape) smooth noise."""
    return torch.from_numpy(smooth_noise(grid.shape, std, mean, seed))[None]


def distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Relative L2 distance, the worst over time."""
    axes = tuple(range(-GRID.ndim, 0))
    return float(((found - expected).square().sum(axes) / expected.square().sum(axes)).sqrt().max())


def run(initial: torch.Tensor, times=TIMES, grid: Grid = GRID, **parameters) -> torch.Tensor:
    return simulate(CahnHilliard(grid, **parameters), initial, times, tolerance=TOLERANCE)


CONTRASTS = pytest.mark.parametrize("contrast", [0.0, 0.8], ids=["constant", "variable"])


class TestMobilityIsTime:
    @pytest.mark.parametrize("mobility", [0.5, 0.7, 2.0])
    def test_mobility_multiplies_time(self, mobility):
        fast = run(start(), mobility=mobility, kappa=0.8)
        plain = run(start(), times=[mobility * t for t in TIMES], kappa=0.8)
        # The very same steps: bit for bit.
        assert torch.equal(fast, plain)

    def test_for_variable_mobility_too(self):
        fast = run(start(), mobility=0.7, mobility_contrast=0.8)
        assert torch.equal(fast, run(start(), times=[0.7 * t for t in TIMES], mobility_contrast=0.8))

    def test_for_grain_growth_too(self):
        eta = torch.from_numpy(np.stack([0.4 + smooth_noise((24, 24), 0.2, 0.0, s) for s in range(3)]))[None]
        grid = Grid((24, 24))
        fast = simulate(GrainGrowth(grid, mobility=0.7), eta, [1.0, 5.0], TOLERANCE)
        assert torch.equal(fast, simulate(GrainGrowth(grid), eta, [0.7 * 1.0, 0.7 * 5.0], TOLERANCE))

    def test_a_batch_of_mobilities_reads_one_trajectory(self):
        mobilities = torch.tensor([0.5, 1.0, 1.7], dtype=torch.float64)
        together = run(start().expand(3, -1, -1), mobility=mobilities)
        for i, mobility in enumerate(mobilities.tolist()):
            alone = run(start(), times=[mobility * t for t in TIMES])
            assert distance(together[i : i + 1], alone) < GROWN_ROUNDING


class TestLengthsScale:
    @pytest.mark.parametrize("factor", [2.0, 1.7])
    def test_with_the_square_root_of_kappa(self, factor):
        """c(x, t; kappa, dx) = c(x / f, t / f^2; kappa / f^2, dx / f)."""
        large = Grid(GRID.shape, spacing=factor)
        found = run(start(), [t * factor**2 for t in TIMES], large, kappa=factor**2)
        assert distance(found, run(start())) < GROWN_ROUNDING

    def test_with_the_well_height(self):
        """sqrt(kappa / W) is the length, 1 / (M W) the time: a well four times as high."""
        found = run(start(), [t / 4.0 for t in TIMES], kappa=4.0, well={"rho": 1.0, "ca": -1.0, "cb": 1.0})
        assert distance(found, run(start())) < GROWN_ROUNDING

    def test_grain_growth(self):
        eta = torch.from_numpy(np.stack([0.4 + smooth_noise((24, 24), 0.2, 0.0, s) for s in range(3)]))[None]
        large = simulate(GrainGrowth(Grid((24, 24), 1.7), kappa=1.7**2), eta, [1.0, 5.0], TOLERANCE)
        # Reaction, not diffusion: lengths scale, time does not.
        assert distance(large, simulate(GrainGrowth(Grid((24, 24))), eta, [1.0, 5.0], TOLERANCE)) < GROWN_ROUNDING


class TestBatch:
    @CONTRASTS
    def test_batched_equals_single(self, contrast):
        """Mixed kappa (hence internal grids), compositions, mobilities and times."""
        kappa = torch.tensor([0.5, 1.0, 1.0, 2.0, 0.6], dtype=torch.float64)
        mobility = torch.tensor([1.0, 0.5, 2.0, 1.0, 1.5], dtype=torch.float64)
        times = torch.tensor([TIMES, [1.0, 1.0, 3.0], [0.0, 4.0, 9.0], [20.0, 20.0, 20.0], TIMES])
        initial = torch.cat([start(i, mean=0.1 * i) for i in range(5)])
        shared = {"mobility_contrast": torch.full((5,), contrast, dtype=torch.float64)}
        together = simulate(CahnHilliard(GRID, mobility, kappa, **shared), initial, times, TOLERANCE)
        for i in range(5):
            problem = CahnHilliard(GRID, float(mobility[i]), float(kappa[i]), mobility_contrast=contrast)
            alone = simulate(problem, initial[i : i + 1], times[i : i + 1], TOLERANCE)
            assert distance(together[i : i + 1], alone) < GROWN_ROUNDING

    def test_order_in_the_batch_does_not_matter(self):
        initial = torch.cat([start(i) for i in range(4)])
        kappa = torch.tensor([0.5, 1.0, 2.0, 1.0])
        forward = run(initial, kappa=kappa)
        assert distance(run(initial.flip(0), kappa=kappa.flip(0)).flip(0), forward) < GROWN_ROUNDING


class TestSpace:
    @CONTRASTS
    def test_sign(self, contrast):
        """The default well is even: c -> -c."""
        found = run(-start(), mobility_contrast=contrast)
        # Every operation rounds symmetrically; allow for a last bit all the same.
        assert distance(-found, run(start(), mobility_contrast=contrast)) < 1e-13

    @CONTRASTS
    @pytest.mark.parametrize("kappa", [1.0, 4.0])
    @pytest.mark.parametrize(
        "move",
        [
            lambda f: f.transpose(-1, -2),
            # Reflections about a cell and the rotation that leaves cell 0 in place: cell 0 is a point of every internal
            # grid, so that those map onto themselves.
            lambda f: f.flip(-1).roll(1, -1),
            lambda f: f.flip(-2).roll(1, -2),
            lambda f: torch.rot90(f, 1, (-2, -1)).roll(1, -2),
            # Half a box is a whole number of cells of every internal grid (their sizes are even).
            lambda f: f.roll((16, 16), (-2, -1)),
        ],
        ids=["transpose", "reflect-x", "reflect-y", "rotate", "half-a-box"],
    )
    def test_moves_of_the_lattice(self, move, kappa, contrast):
        expected = move(run(start(), kappa=kappa, mobility_contrast=contrast))
        found = run(move(start()).contiguous(), kappa=kappa, mobility_contrast=contrast)
        assert distance(found, expected) < GROWN_ROUNDING

    @pytest.mark.parametrize("shift", [(1, 0), (5, 11)])
    def test_whole_cells_on_the_user_grid_itself(self, shift):
        """kappa such that the internal grid is the user's: a translation is exact."""
        solution = solve(CahnHilliard(GRID, kappa=1.4), start(), TIMES, TOLERANCE)
        assert solution.shapes == [GRID.shape]
        moved = run(start().roll(shift, (-2, -1)), kappa=1.4)
        assert distance(moved, solution.states.roll(shift, (-2, -1))) < GROWN_ROUNDING

    @pytest.mark.parametrize("kappa", [0.5, 4.0], ids=["finer", "coarser"])
    def test_whole_cells_with_another_internal_grid(self, kappa):
        """The internal grid is elsewhere relative to the field: equal within twice the tolerance."""
        solution = solve(CahnHilliard(GRID, kappa=kappa), start(), TIMES, TOLERANCE)
        assert solution.shapes != [GRID.shape]
        moved = run(start().roll((3, 7), (-2, -1)), kappa=kappa)
        assert distance(moved, solution.states.roll((3, 7), (-2, -1))) < 2 * TOLERANCE


class TestRequestedTimes:
    many = (0.0, 0.3, 1.0, 2.0, 7.5, 10.0, 29.9, 30.0)

    @CONTRASTS
    @pytest.mark.parametrize("kappa", [4.0, 0.7], ids=["coarser", "finer"])
    def test_which_other_times_are_asked_for_does_not_matter(self, contrast, kappa):
        """The steps are the same. Some processors' transforms of one frame and of eight differ in the last bit."""
        dense = run(start(), self.many, kappa=kappa, mobility_contrast=contrast)
        for time in TIMES:
            alone = run(start(), [time], kappa=kappa, mobility_contrast=contrast)
            assert distance(alone[:, 0], dense[:, self.many.index(time)]) < ROUNDING

    def test_nor_where_some_times_need_finer_trajectories(self):
        """A shrinking circle: early times keep the tolerance at once, later ones do not."""
        grid = Grid((32, 32))
        y, x = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
        labels = (((x - 16) ** 2 + (y - 16) ** 2) < 100).long()[None]
        times = [1.0, 20.0, 40.0, 47.0]
        together = solve_grains(GrainGrowth(grid), labels, times, 3e-4)
        alone = [solve_grains(GrainGrowth(grid), labels, [t], 3e-4) for t in times]
        assert len({int(a.evaluations[0]) for a in alone}) > 2
        for i, one in enumerate(alone):
            assert distance(one.frames.field[:, 0], together.frames.field[:, i]) < ROUNDING
            assert torch.equal(one.frames.error_estimate[:, 0], together.frames.error_estimate[:, i])


class TestThreeDimensions:
    @pytest.mark.parametrize("boundary", ["periodic", "no_flux"])
    def test_runs_and_conserves(self, boundary):
        grid = Grid((10, 12, 8), boundary=boundary)
        initial = start(grid=grid, std=0.3)
        solution = solve(CahnHilliard(grid, kappa=2.0), initial, [1.0, 4.0], 1e-2)
        assert torch.isfinite(solution.states).all()
        assert (solution.free_energy.diff() <= 0).all()

    @CONTRASTS
    @pytest.mark.parametrize("boundary", ["periodic", "no_flux"])
    @pytest.mark.parametrize("axis", [1, 3])
    def test_a_field_constant_along_an_axis_is_the_plane_one(self, boundary, contrast, axis):
        plane = Grid((12, 16), boundary=boundary)
        shape = list(plane.shape)
        shape.insert(axis - 1, 6)
        box = Grid(tuple(shape), boundary=boundary)
        flat = start(std=0.3, grid=plane)
        deep = flat.unsqueeze(axis).expand(1, *shape).contiguous()
        expected = run(flat, [1.0, 5.0], plane, mobility_contrast=contrast)
        found = run(deep, [1.0, 5.0], box, mobility_contrast=contrast)
        for layer in (0, 3):
            assert distance(found.select(axis + 1, layer), expected) < GROWN_ROUNDING
