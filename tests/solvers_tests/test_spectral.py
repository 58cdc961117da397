"""Spectral bases: what is sampled from modes is what is sampled from values."""

from __future__ import annotations

import pytest
import torch

from solvers import Grid
from solvers.grids.resampling import resample
from solvers.grids.spectral_basis import basis_for
from solvers.processes.pointwise import mean_square


@pytest.mark.parametrize("boundary", ["periodic", "no_flux"])
@pytest.mark.parametrize(
    ("fine", "coarse"), [(7, 5), (8, 6), (8, 4), (9, 5), (12, 6), (10, 7), (6, 6), (5, 4), (9, 3), (4, 8)]
)
@pytest.mark.parametrize("other", [(6, 4), (7, 7)])
def test_modes_sampled_on_another_grid_are_the_interpolant_there(boundary, fine, coarse, other):
    """Nyquist modes of even sizes included, which the coarser grid may see as a mode of its own."""
    shape, target = (fine, other[0]), (coarse, other[1])
    basis = basis_for(Grid(shape, 0.5, boundary))
    values = torch.randn(3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(fine))
    found = basis.sample(basis.forward(values), target)
    torch.testing.assert_close(found, resample(values, target, boundary), rtol=1e-12, atol=1e-12)


def test_the_mean_square_from_modes_is_that_of_the_values():
    basis = basis_for(Grid((6, 9)))
    values = torch.randn(4, 3, 6, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = mean_square(basis.forward(values), basis.weights)
    torch.testing.assert_close(found, values.square().mean((2, 3)).sum(1), rtol=1e-12, atol=0)
