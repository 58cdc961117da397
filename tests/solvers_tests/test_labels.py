"""Compiled components and gap filling against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from solvers.qois.labels import components, filled


def blobs(seed: int, shape: tuple[int, int] = (24, 30)) -> np.ndarray:
    """Bool (y, x): smoothed noise above its median."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.standard_normal(shape), 1.2, mode="wrap")
    return field > np.median(field)


def labelled(inside: np.ndarray, periodic: bool) -> tuple[np.ndarray, int]:
    labels = np.empty(inside.shape, dtype=np.int32)
    return labels, components(inside, periodic, labels)


@pytest.mark.parametrize("seed", range(5))
def test_components_of_a_closed_box_are_scipys(seed: int) -> None:
    inside = blobs(seed)
    labels, count = labelled(inside, periodic=False)
    expected, many = ndimage.label(inside)
    assert count == many
    assert np.array_equal(labels, expected - 1)


@pytest.mark.parametrize("seed", range(5))
def test_components_of_a_periodic_box_survive_a_shift(seed: int) -> None:
    inside = blobs(seed)
    labels, count = labelled(inside, periodic=True)
    moved, same = labelled(np.roll(inside, (11, 17), (0, 1)), periodic=True)
    back = np.roll(moved, (-11, -17), (0, 1))
    assert count == same < ndimage.label(inside)[1]
    pairs = {(a, b) for a, b in zip(labels.ravel().tolist(), back.ravel().tolist(), strict=True)}
    assert len(pairs) == count + 1  # one name there for each here, and -1 for -1


@pytest.mark.parametrize("periodic", [True, False])
def test_gaps_get_a_nearest_number(periodic: bool) -> None:
    labels, count = labelled(blobs(3), periodic)
    found = filled(labels, periodic)
    assert (found >= 0).all()
    assert np.array_equal(found[labels >= 0], labels[labels >= 0])
    tiled = np.tile(labels, (3, 3)) if periodic else labels
    centre = tuple(slice(n, 2 * n) for n in labels.shape) if periodic else (slice(None), slice(None))
    nearest = ndimage.distance_transform_edt(tiled < 0)[centre]
    own = np.stack([ndimage.distance_transform_edt(tiled != number)[centre] for number in range(count)])
    np.testing.assert_allclose(np.take_along_axis(own, found[None].astype(int), 0)[0], nearest)


def test_a_map_without_grains_stays_as_it_is() -> None:
    labels, count = labelled(np.zeros((5, 6), dtype=bool), periodic=True)
    assert count == 0
    assert (filled(labels, periodic=True) == -1).all()
