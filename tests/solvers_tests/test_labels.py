"""Connected components, gap filling and watersheds of periodic and closed maps."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from solvers import GrainGrowth, Grid, simulate_grains
from solvers.grains.labels import components, fill_gaps
from solvers.grains.segmentation import boundary_threshold, label_basins, label_grains, watershed
from solvers.initial import voronoi
from solvers.qois import grain_count


def blobs(seed: int, shape: tuple[int, int] = (24, 30)) -> np.ndarray:
    """Bool (y, x): smoothed noise above its median."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.standard_normal(shape), 1.2, mode="wrap")
    return field > np.median(field)


@pytest.mark.parametrize("seed", range(5))
def test_components_of_a_closed_box_are_scipys(seed: int) -> None:
    inside = blobs(seed)
    labels, count = components(inside, periodic=False)
    expected, many = ndimage.label(inside)
    assert count == many
    assert np.array_equal(labels, expected - 1)


@pytest.mark.parametrize("seed", range(5))
def test_components_of_a_periodic_box_survive_a_shift(seed: int) -> None:
    inside = blobs(seed)
    labels, count = components(inside, periodic=True)
    moved, same = components(np.roll(inside, (11, 17), (0, 1)), periodic=True)
    back = np.roll(moved, (-11, -17), (0, 1))
    assert count == same < ndimage.label(inside)[1]
    pairs = {(a, b) for a, b in zip(labels.ravel().tolist(), back.ravel().tolist(), strict=True)}
    assert len(pairs) == count + 1  # one name there for each here, and -1 for -1


@pytest.mark.parametrize("periodic", [True, False])
def test_gaps_get_a_nearest_number(periodic: bool) -> None:
    labels, count = components(blobs(3), periodic)
    found = fill_gaps(labels, periodic)
    assert (found >= 0).all()
    assert np.array_equal(found[labels >= 0], labels[labels >= 0])
    tiled = np.tile(labels, (3, 3)) if periodic else labels
    centre = tuple(slice(n, 2 * n) for n in labels.shape) if periodic else (slice(None), slice(None))
    nearest = ndimage.distance_transform_edt(tiled < 0)[centre]
    own = np.stack([ndimage.distance_transform_edt(tiled != number)[centre] for number in range(count)])
    np.testing.assert_allclose(np.take_along_axis(own, found[None].astype(int), 0)[0], nearest)


def test_a_map_without_grains_stays_as_it_is() -> None:
    labels, count = components(np.zeros((5, 6), dtype=bool), periodic=True)
    assert count == 0
    assert (fill_gaps(labels, periodic=True) == -1).all()


def hills(*tops: tuple[int, int, float], shape: tuple[int, int] = (32, 40)) -> np.ndarray:
    """The highest of some cones on a torus: (y, x, height), slope 1/20."""
    y, x = np.indices(shape)
    cones = []
    for row, column, height in tops:
        dy = (y - row + shape[0] // 2) % shape[0] - shape[0] // 2
        dx = (x - column + shape[1] // 2) % shape[1] - shape[1] // 2
        cones.append(height - np.hypot(dy, dx) / 20.0)
    return np.max(cones, axis=0)


def test_every_top_has_its_basin() -> None:
    tops = [(4, 4, 1.0), (20, 8, 0.9), (14, 30, 0.8)]
    found = watershed(hills(*tops), 0.05, True)
    assert len(np.unique(found)) == 3
    assert len({int(found[y, x]) for y, x, _ in tops}) == 3
    # Between two cones the border is where they are equally high.
    cones = np.stack([hills(top) for top in tops])
    clear = np.sort(cones, axis=0)[-1] - np.sort(cones, axis=0)[-2] > 0.1
    expected = np.array([found[y, x] for y, x, _ in tops])[cones.argmax(0)]
    assert np.array_equal(found[clear], expected[clear])


def test_a_top_that_hardly_stands_out_goes_to_its_neighbour() -> None:
    # Two cones 6 cells apart: the pass is where both are equal, 0.15 below the mean of their heights.
    field = hills((10, 10, 1.0), (10, 16, 0.96), (25, 30, 0.9))
    saddle = (1.0 + 0.96 - 6 / 20.0) / 2.0
    assert len(np.unique(watershed(field, 0.96 - saddle - 0.04, True))) == 3
    assert len(np.unique(watershed(field, 0.96 - saddle + 0.04, True))) == 2


def test_walls_keep_basins_apart() -> None:
    field = hills((16, 0, 1.0))  # its slope goes on at the other side of the torus
    assert len(np.unique(watershed(field, 0.05, True))) == 1
    assert len(np.unique(watershed(field, 0.05, False))) == 2


def test_basins_follow_a_shift() -> None:
    rng = np.random.default_rng(4)
    field = ndimage.gaussian_filter(rng.standard_normal((24, 30)), 2.0, mode="wrap")
    found = watershed(field, 0.02, True)
    moved = np.roll(watershed(np.roll(field, (7, 13), (0, 1)), 0.02, True), (-7, -13), (0, 1))
    pairs = {(a, b) for a, b in zip(found.ravel().tolist(), moved.ravel().tolist(), strict=True)}
    assert len(pairs) == len(np.unique(found)) > 3


def test_a_flat_map_is_one_basin() -> None:
    assert (watershed(np.ones((6, 7)), 0.1, True) == 0).all()


def test_small_grains_are_seen_that_a_threshold_misses() -> None:
    """Against the numbers that the solver tracks."""
    grid = Grid((64, 64))
    frames = simulate_grains(GrainGrowth(grid), voronoi(grid, 100, [5]), [10.0, 20.0, 40.0, 80.0], 1e-2)
    assert frames.grain_id is not None
    tracked = grain_count(frames.grain_id, grid)[0]
    seen = grain_count(label_basins(frames.field[0], grid), grid)
    above = grain_count(label_grains(frames.field[0], grid, boundary_threshold(1.5)), grid)
    assert ((tracked - seen).abs() / tracked).mean() < 0.03  # 0.017 over 160 frames of the frontier's case
    assert (tracked - seen).abs().sum() < 0.6 * (tracked - above).sum()
