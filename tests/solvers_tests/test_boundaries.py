"""Spectral bases, sampling between grids, no-flux boxes, and free energies in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from common.spectral import cosines, smooth_noise

from solvers import CahnHilliard, GrainGrowth, Grid, simulate, solve
from solvers.grids.resampling import resample
from solvers.grids.spectral_basis import CosineBasis, PeriodicBasis, basis_for

# A transform of a few thousand float64 numbers of order one.
ROUNDING = 1e-13
BOUNDARIES = pytest.mark.parametrize("boundary", ["periodic", "no_flux"])


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def even_noise(shape: tuple[int, int], std: float, mean: float, seed: int) -> torch.Tensor:
    """(1, y, x) the corner of smooth noise that is even about the box faces: zero normal derivative there."""
    whole = smooth_noise((2 * shape[0], 2 * shape[1]), 1.0, 0.0, seed)
    for axis in (0, 1):
        whole = whole + np.flip(whole, axis)
    corner = whole[: shape[0], : shape[1]]
    return torch.from_numpy(mean + std * (corner - corner.mean()) / corner.std())[None]


def mirrored(field: torch.Tensor) -> torch.Tensor:
    """Even extension along the last two axes."""
    field = torch.cat([field, field.flip(-1)], -1)
    return torch.cat([field, field.flip(-2)], -2)


class TestBases:
    # Cosine transforms of at most 128 cells are matrix products, longer ones go by FFT; odd sizes have no Nyquist mode.
    @pytest.mark.parametrize("shape", [(16, 24), (15, 9), (127, 4), (128, 5), (129, 6), (130, 7), (6, 257), (8, 6, 10)])
    @BOUNDARIES
    def test_round_trip_mean_and_parseval(self, boundary, shape):
        grid = Grid(shape, spacing=0.7, boundary=boundary)
        basis = basis_for(grid)
        field = 0.3 + noise(2, 3, *shape)
        coefficients = basis.forward(field)
        assert coefficients.shape == (2, 3, basis.size)
        assert (basis.inverse(coefficients) - field).abs().max() < ROUNDING
        dims = tuple(range(2, field.ndim))
        assert (coefficients[..., 0] - field.mean(dims)).abs().max() < ROUNDING
        assert (coefficients.square() @ basis.weights - field.square().mean(dims)).abs().max() < 20 * ROUNDING

    @pytest.mark.parametrize("n", [128, 129, 200, 255])
    def test_matrix_and_fourier_cosine_transforms_agree(self, n, monkeypatch):
        field = noise(4, n)
        found = []
        for limit in (0, 1000):
            monkeypatch.setattr("solvers.grids.spectral_basis._MATRIX_COSINE_LIMIT", limit)
            basis = CosineBasis((4, n), (4.0, float(n)), torch.float64, torch.device("cpu"))
            found.append((basis.forward(field), basis.inverse(field.reshape(-1))))
        (matrix, matrix_back), (fourier, fourier_back) = found
        assert (matrix - fourier).abs().max() < ROUNDING
        # Sums of n terms of order one.
        assert (matrix_back - fourier_back).abs().max() < n * ROUNDING

    @pytest.mark.parametrize("n", [16, 17, 130, 131])
    @BOUNDARIES
    def test_wavenumbers_are_those_of_the_laplacian(self, boundary, n):
        """-k^2 of a single cosine against its second derivative."""
        spacing, mode = 0.5, 3
        grid = Grid((6, n), spacing, boundary)
        basis = basis_for(grid)
        x = (torch.arange(n, dtype=torch.float64) + (0.5 if boundary == "no_flux" else 0.0)) * spacing
        k = mode * math.pi / (n * spacing) * (1 if boundary == "no_flux" else 2)
        field = torch.cos(k * x).expand(6, n)
        laplacian = basis.inverse(-basis.k2 * basis.forward(field))
        assert (laplacian + k**2 * field).abs().max() < 1e-11  # rounding times the largest k^2, under 100

    @pytest.mark.parametrize("shape", [(12, 16), (9, 15)])
    def test_derivatives_of_the_periodic_basis(self, shape):
        grid = Grid(shape, spacing=0.5)
        basis = basis_for(grid)
        assert isinstance(basis, PeriodicBasis)
        y, x = (torch.arange(n, dtype=torch.float64) * 0.5 for n in shape)
        ky, kx = (2 * math.pi * m / length for m, length in zip((2, 3), grid.lengths, strict=True))
        angle = ky * y[:, None] + kx * x[None, :]
        for derivative, k in zip(basis.derivatives(), (ky, kx), strict=True):
            found = basis.inverse(basis.differentiate(basis.forward(torch.sin(angle)), derivative))
            assert (found - k * torch.cos(angle)).abs().max() < 1e-12

    def test_below_nyquist_marks_each_axis(self):
        even, odd = (basis_for(Grid(shape)) for shape in ((6, 4), (5, 7)))
        assert isinstance(even, PeriodicBasis)
        assert isinstance(odd, PeriodicBasis)
        keep = even.below_nyquist().reshape(6, 3, 2)
        assert keep[3].sum() == 0
        assert keep[:, 2].sum() == 0
        assert keep.sum() == 2 * 5 * 2
        assert odd.below_nyquist().min() == 1


class TestResampling:
    @BOUNDARIES
    @pytest.mark.parametrize(
        "shapes", [((16, 20), (24, 30)), ((16, 15), (27, 40)), ((9, 11), (9, 12)), ((7, 8), (7, 8))]
    )
    def test_refining_and_sampling_back_is_the_identity(self, boundary, shapes):
        coarse, fine = shapes
        field = noise(3, *coarse)
        there = resample(field, fine, boundary)
        assert there.shape == (3, *fine)
        assert (resample(there, coarse, boundary) - field).abs().max() < ROUNDING

    @pytest.mark.parametrize("target", [(24, 30), (17, 21), (40, 64)])
    @pytest.mark.parametrize("source", [(16, 20), (15, 13)])
    def test_periodic_interpolation_of_a_mode_is_exact(self, source, target):
        waves = [(2, 3, 1.0), (-1, 5, 0.5), (6, 0, 0.25)]
        coarse, fine = (torch.from_numpy(cosines(shape, 0.2, waves)) for shape in (source, target))
        assert (resample(coarse, target, "periodic") - fine).abs().max() < ROUNDING

    @pytest.mark.parametrize("target", [(24, 30), (17, 21), (150, 64)])
    def test_no_flux_interpolation_of_a_mode_is_exact(self, target):
        def field(shape: tuple[int, int]) -> torch.Tensor:
            y, x = ((torch.arange(n, dtype=torch.float64) + 0.5) / n for n in shape)
            return torch.cos(3 * math.pi * y)[:, None] * torch.cos(7 * math.pi * x)

        assert (resample(field((16, 15)), target, "no_flux") - field(target)).abs().max() < ROUNDING

    def test_nyquist_mode_is_read_as_a_cosine(self):
        alternating = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(4).expand(4, 8)
        x = torch.arange(16, dtype=torch.float64) / 2
        assert (resample(alternating, (4, 16), "periodic") - torch.cos(math.pi * x)).abs().max() < ROUNDING

    @BOUNDARIES
    def test_mean_is_kept_by_refinement(self, boundary):
        field = noise(12, 15)
        assert abs(float(resample(field, (24, 32), boundary).mean() - field.mean())) < ROUNDING


@pytest.mark.parametrize("contrast", [0.0, 0.5, 0.9], ids=["constant", "half", "variable"])
class TestNoFlux:
    times = (2.0, 10.0, 25.0)

    def solutions(self, contrast: float, kappa: float):
        initial = even_noise((20, 16), 0.2, 0.1, seed=1)
        options = {"kappa": kappa, "mobility_contrast": contrast}
        box = solve(CahnHilliard(Grid((20, 16), boundary="no_flux"), **options), initial, self.times, 1e-3)
        whole = solve(CahnHilliard(Grid((40, 32)), **options), mirrored(initial), self.times, 1e-3)
        error = (box.states - whole.states[..., :20, :16]).square().sum((-1, -2)).sqrt()
        return box, whole, float((error / box.states.square().sum((-1, -2)).sqrt()).max())

    def test_equals_the_periodic_mirror_image(self, contrast):
        """kappa such that the user's cells are the internal ones, for the box and its double."""
        box, whole, error = self.solutions(contrast, kappa=1.4)
        assert whole.shapes == [(40, 32)]
        # Round-off through a few hundred steps, grown by less than 1e3 while the phases separate.
        assert error < 1e-11
        assert ((box.free_energy - whole.free_energy / 4) / box.free_energy).abs().max() < 1e-11

    def test_equals_it_within_the_tolerance_on_finer_internal_grids(self, contrast):
        """A refined box has cells about its faces, its refined double about the first cell: other points."""
        _, whole, error = self.solutions(contrast, kappa=1.0)
        assert whole.shapes != [(40, 32)]
        assert error < 2e-3

    def test_normal_derivative_vanishes_on_the_faces(self, contrast):
        grid, initial = Grid((20, 16), boundary="no_flux"), even_noise((20, 16), 0.2, 0.1, seed=1)
        state = simulate(CahnHilliard(grid, kappa=1.3, mobility_contrast=contrast), initial, self.times, 1e-3)
        # A face lies half a cell outside the first centre: a one-sided difference of the even interpolant around it.
        fine = resample(state, (20 * 16, 16 * 16), "no_flux")
        step = 1.0 / 16
        slope = (fine[..., 1, :] - fine[..., 0, :]).abs().max() / step
        inside = (fine[..., 1:, :] - fine[..., :-1, :]).abs().max() / step
        # At 1/16 cell from the face an even field has risen by its second derivative times that: c'' is at most about
        # 1/kappa, against slopes of order one inside.
        assert slope < 1.5 * step
        assert inside > 5 * slope

    def test_mean_is_conserved(self, contrast):
        grid, initial = Grid((20, 16), boundary="no_flux"), even_noise((20, 16), 0.3, 0.2, seed=2)
        state = simulate(CahnHilliard(grid, kappa=2.0, mobility_contrast=contrast), initial, self.times, 1e-3)
        assert (state.mean((-1, -2)) - initial.mean()).abs().max() < 1e-13


def test_no_flux_grain_growth_equals_the_periodic_mirror_image():
    eta = torch.stack([0.4 + even_noise((16, 12), 0.2, 0.0, seed)[0] for seed in range(3)])[None]
    box = solve(GrainGrowth(Grid((16, 12), boundary="no_flux"), kappa=1.6), eta, [1.0, 6.0], 1e-3)
    whole = solve(GrainGrowth(Grid((32, 24)), kappa=1.6), mirrored(eta), [1.0, 6.0], 1e-3)
    assert whole.shapes == [(32, 24)]
    # Round-off: nothing here grows.
    assert (box.states - whole.states[..., :16, :12]).norm() / box.states.norm() < 1e-12


class TestFreeEnergy:
    @BOUNDARIES
    @pytest.mark.parametrize("cells", [12, 13])
    def test_of_a_cosine(self, boundary, cells):
        """<(c^2 - 1)^2> of m + A cos from the even moments of a cosine: 1/2 and 3/8."""
        m, amplitude, kappa, spacing = 0.2, 0.5, 1.7, 0.5
        grid = Grid((cells, 2 * cells), spacing, boundary)
        half = boundary == "no_flux"
        x = (torch.arange(2 * cells, dtype=torch.float64) + (0.5 if half else 0.0)) * spacing
        k = (1 if half else 2) * math.pi * 2 / (2 * cells * spacing)
        c = (m + amplitude * torch.cos(k * x)).expand(1, cells, -1)
        second = m**2 + amplitude**2 / 2
        fourth = m**4 + 6 * m**2 * amplitude**2 / 2 + amplitude**4 * 3 / 8
        exact = math.prod(grid.lengths) * ((fourth - 2 * second + 1) / 4 + kappa / 2 * k**2 * amplitude**2 / 2)
        assert float(CahnHilliard(grid, kappa=kappa).free_energy(c)) == pytest.approx(exact, rel=1e-13)

    @pytest.mark.parametrize("kappa", [0.5, 1.0, 2.0])
    def test_of_two_flat_interfaces(self, kappa):
        """Interfacial energy of tanh(x / sqrt(2 kappa)): 2 sqrt(2)/3 sqrt(kappa) per unit of area, in a wide box."""
        grid = Grid((4, 256), 0.25)
        x = (torch.arange(256, dtype=torch.float64) + 0.5) * 0.25
        c = torch.tanh((16.0 - (x - 32.0).abs()) / math.sqrt(2 * kappa)).expand(1, 4, -1)
        exact = 2 * 1.0 * 2 * math.sqrt(2) / 3 * math.sqrt(kappa)
        # The tails of the two profiles overlap by exp(-2 * 16 / sqrt(2 kappa)), 1e-7 at kappa = 2.
        assert float(CahnHilliard(grid, kappa=kappa).free_energy(c)) == pytest.approx(exact, rel=2e-6)

    def test_the_solver_relaxes_a_lamella_to_it(self):
        grid, kappa = Grid((8, 64)), 1.0
        x = torch.arange(64, dtype=torch.float64)
        square = torch.tanh(3 * torch.cos(2 * math.pi * (x + 0.5) / 64))[None, None].expand(1, 8, -1)
        solution = solve(CahnHilliard(grid, kappa=kappa), square.contiguous(), [3000.0], 1e-4)
        # Neighbouring interfaces 32 apart are in equilibrium to exp(-sqrt(2) * 32).
        exact = 2 * 8.0 * 2 * math.sqrt(2) / 3
        assert float(solution.free_energy) == pytest.approx(exact, rel=1e-4)

    def test_does_not_depend_on_the_number_of_cells(self):
        """Of a field that both grids resolve; the box stays."""
        grid = Grid((16, 16), 2.0)
        waves = [(1, 2, 0.3), (2, -1, 0.2)]
        energies = [
            CahnHilliard(grid, kappa=0.7).free_energy(torch.from_numpy(cosines(shape, 0.1, waves))[None])
            for shape in ((16, 16), (24, 20), (33, 48))
        ]
        assert float(torch.stack(energies).max() - torch.stack(energies).min()) < 1e-10

    def test_kappa_belongs_to_its_sample(self):
        grid = Grid((8, 8))
        kappa = torch.tensor([0.5, 2.0])
        fields = noise(2, 3, 8, 8)
        together = CahnHilliard(grid, kappa=kappa).free_energy(fields)
        for i, k in enumerate(kappa.tolist()):
            alone = CahnHilliard(grid, kappa=k).free_energy(fields[i : i + 1])
            assert (together[i] - alone[0]).abs().max() < 1e-10
        assert together.shape == (2, 3)
