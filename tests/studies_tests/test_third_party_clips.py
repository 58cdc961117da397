"""What the benchmark of clips reads from the frames themselves."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from solvers import CahnHilliard, GrainGrowth, Grid, simulate, simulate_grains
from solvers.grids.grid import Boundary
from solvers.initial import noise, voronoi

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from third_party_clips import boundary_of


@pytest.mark.parametrize("boundary", ["periodic", "no_flux"])
def test_boundary_is_read_from_the_frames(boundary: Boundary) -> None:
    torch.set_num_threads(1)
    grid = Grid((32, 32), 1.0, boundary)
    for seed in range(2):
        grains = simulate_grains(GrainGrowth(grid), voronoi(grid, 15, [seed]), [6.0, 16.0], tolerance=2e-2)
        assert boundary_of(grains.field[0].numpy()) == boundary
        phases = simulate(CahnHilliard(grid), noise(grid, 0.0, 0.05, [seed]), [60.0, 100.0], tolerance=2e-2)
        assert boundary_of(phases[0].numpy()) == boundary
