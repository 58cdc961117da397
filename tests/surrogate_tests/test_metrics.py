"""Measures of forecasts: against scikit-image, scipy and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from solvers import CahnHilliard, GrainGrowth, Grid, InputError
from solvers.initial import voronoi
from solvers.qois.energy import energy_rises
from surrogate.evaluation import image_metrics, statistics
from surrogate.processes import learned_process

GRID = Grid((64, 64))


def images(count: int, shape: tuple[int, int] = (48, 40), seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((count, *shape)))


def stripes(period: int) -> torch.Tensor:
    """(y, x) composition, one cosine."""
    x = torch.arange(64, dtype=torch.float64)
    return torch.cos(2 * math.pi * x / period).expand(64, 64)


def test_images_have_one_map_and_its_inverse() -> None:
    c = torch.tensor([[-1.0, 0.0, 1.2]])
    separation, grains = learned_process("cahn_hilliard"), learned_process("grain_growth")
    assert separation.to_image(c).tolist() == [[0.0, 0.5, pytest.approx(1.1)]]
    assert grains.to_image(c).tolist() == [[0.0, 0.0, 1.0]]
    assert torch.allclose(separation.from_image(separation.to_image(c)), c)
    with pytest.raises(InputError, match="cahn_hilliard, grain_growth"):
        learned_process("solidification")


def test_rmse_is_per_frame_and_keeps_leading_axes() -> None:
    a = torch.zeros(2, 3, 4, 4)
    b = torch.zeros(2, 3, 4, 4)
    b[1, 2] = 0.5
    found = image_metrics.rmse(a, b)
    assert found.shape == (2, 3)
    assert found[1, 2] == 0.5
    assert found.sum() == 0.5
    with pytest.raises(InputError, match="one shape"):
        image_metrics.rmse(a, b[:1])


def test_ssim_agrees_with_scikit_image_inside() -> None:
    a, b = images(3), images(3, seed=1)
    mixed = 0.8 * a + 0.2 * b
    found = image_metrics.ssim(mixed, a, "interior")
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    expected = [structural_similarity(m.numpy(), x.numpy(), **options) for m, x in zip(mixed, a, strict=True)]
    # Same formula in float64: round-off only.
    assert found.tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("edges", ["periodic", "no_flux"])
def test_ssim_at_the_edges_is_that_of_the_extended_image(edges: image_metrics.Edges) -> None:
    a, b = images(1)[0], images(1, seed=1)[0]
    mode = "wrap" if edges == "periodic" else "symmetric"
    wide = [torch.from_numpy(np.pad(x.numpy(), 5, mode=mode)) for x in (a, b)]
    assert float(image_metrics.ssim(a, b, edges)) == pytest.approx(
        float(image_metrics.ssim(*wide, "interior")), abs=1e-12
    )


def test_ssim_bounds_and_batches() -> None:
    a, b = images(70, (64, 64)), images(70, (64, 64), seed=1)
    assert torch.allclose(image_metrics.ssim(a, a), torch.ones(70, dtype=torch.float64))
    # 70 frames are more than one chunk.
    found = image_metrics.ssim(a.reshape(7, 10, 64, 64), b.reshape(7, 10, 64, 64))
    assert torch.allclose(found.flatten(), torch.cat([image_metrics.ssim(x[None], y[None]) for x, y in zip(a, b)]))  # noqa: B905
    assert (found < 0.1).all()
    with pytest.raises(InputError, match="at least 11"):
        image_metrics.ssim(a[:, :8], b[:, :8], "interior")


def test_ssim_of_a_periodic_image_does_not_depend_on_where_it_starts() -> None:
    a, b = images(2, (32, 32))
    moved = image_metrics.ssim(a.roll((5, 9), (0, 1)), b.roll((5, 9), (0, 1)))
    assert float(moved) == pytest.approx(float(image_metrics.ssim(a, b)), abs=1e-12)


def test_structure_factor_error_and_floor() -> None:
    reference = np.ones((4, 2, 8))
    assert statistics.structure_factor_error(1.1 * reference, reference) == pytest.approx([0.1, 0.1])
    # Errors that cancel in the mean over trajectories are none.
    signs = np.array([1.0, -1.0, 1.0, -1.0])[:, None, None]
    assert statistics.structure_factor_error(reference + 0.5 * signs, reference) == pytest.approx([0.0, 0.0])
    halves = np.concatenate([0.9 * reference[:2], 1.1 * reference[2:]])
    assert statistics.structure_factor_floor(halves) == pytest.approx([0.2 / 1.1] * 2)
    assert np.isnan(statistics.structure_factor_floor(reference[:1])).all()


def test_ensemble_and_trajectory_errors_differ() -> None:
    reference = np.array([[2.0], [4.0]])
    values = np.array([[3.0], [3.0]])
    assert statistics.ensemble_error(values, reference) == pytest.approx([0.0])
    assert statistics.trajectory_error(values, reference) == pytest.approx([(0.5 + 0.25) / 2])
    assert statistics.ensemble_floor(reference) == pytest.approx([2.0 / 3.0])
    assert np.isnan(statistics.ensemble_floor(reference[:1])).all()


def test_area_distance_of_a_shift_is_the_shift() -> None:
    areas = np.array([10.0, 20.0, 30.0])
    assert statistics.area_distance(areas + 5.0, areas) == pytest.approx(5.0 / 20.0)
    assert statistics.area_distance(areas, areas) == 0.0
    assert math.isnan(statistics.area_distance(np.zeros(0), areas))


def test_growth_exponent_of_power_laws() -> None:
    times = np.array([10.0, 20.0, 50.0, 100.0])
    lengths = np.stack([3.0 * times ** (1 / 3), 0.2 * times**0.5])
    assert statistics.growth_exponent(lengths, times) == pytest.approx([1 / 3, 0.5], abs=1e-12)
    with pytest.raises(InputError, match="positive"):
        statistics.growth_exponent(lengths, np.array([0.0, 1.0, 2.0, 3.0]))


def test_mass_drift_and_energy_rises() -> None:
    first = torch.zeros(2, 4, 4)
    fields = torch.zeros(2, 3, 4, 4)
    fields[1, 2] = 0.25
    assert statistics.mass_drift(fields, first).tolist() == [[0.0, 0.0, 0.0], [0.0, 0.0, 0.25]]
    energy = np.array([[5.0, 4.0, 4.0 * (1 + 2e-5), 3.0], [5.0, 5.1, 4.0, 4.5]])
    assert energy_rises(energy).tolist() == [0, 2]


def test_measures_of_stripes() -> None:
    problem = CahnHilliard(GRID, kappa=1.0)
    fields = torch.stack([stripes(32), stripes(16)])[None]
    found = statistics.measure(problem, fields)
    assert found.values["domain_size"] == pytest.approx(np.array([[32.0, 16.0]]))
    assert found.lengths is found.values["domain_size"]
    assert found.values["curvature"] == pytest.approx(np.zeros((1, 2)), abs=1e-9)
    assert found.values["free_energy"] == pytest.approx(problem.free_energy(fields).numpy())
    assert found.areas == [[]]
    errors = statistics.errors(found, found)
    # Relative to no curvature at all an error has no meaning.
    assert np.isnan(errors.ensemble.pop("curvature")).all() or found.values["curvature"].any()
    assert all((value == 0).all() for value in errors.ensemble.values())
    assert "area_distribution" not in errors.ensemble


def test_curvature_of_a_droplet_is_one_over_its_radius() -> None:
    axis = torch.arange(64, dtype=torch.float64) - 31.5
    radius = (axis[:, None] ** 2 + axis[None] ** 2).sqrt()
    field = torch.tanh((15.0 - radius) / math.sqrt(2.0))
    found = statistics.measure(CahnHilliard(GRID, kappa=1.0), field[None, None])
    # Level lines around u = 0 average 1/r over the interface's width: about (width / R)^2.
    assert found.values["curvature"][0, 0] == pytest.approx(1 / 15.0, rel=0.02)


def test_measures_of_grains() -> None:
    labels = voronoi(GRID, 9, [3, 4])
    edges = sum((labels != labels.roll(1, axis)).float() for axis in (1, 2)).clamp(max=1.0)
    phi = 1.0 - 0.6 * edges[:, None]
    found = statistics.measure(GrainGrowth(GRID), phi)
    assert found.values["grain_count"].tolist() == [[9.0], [9.0]]
    assert found.values["mean_grain_area"] == pytest.approx(np.full((2, 1), 4096 / 9))
    assert [row[0].sum() for row in found.areas] == [4096.0, 4096.0]
    assert found.lengths == pytest.approx(np.full((2, 1), math.sqrt(4096 / 9)))
    joined = statistics.joined([found, found])
    assert len(joined.areas) == 4
    assert joined.structure_factor.shape[0] == 4
    floor = statistics.floor(found)
    first, second = found.areas[0][0], found.areas[1][0]
    assert floor["area_distribution"] == pytest.approx([statistics.area_distance(first, second)])
    assert floor["grain_count"] == pytest.approx([0.0])
