"""The grain tracker against the dense solver, closed forms, and the symmetries of the problem."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from solvers import GrainGrowth, Grid, InputError, order_parameters, simulate, simulate_grains, solve
from solvers.grains.labels import in_order_of_occurrence
from solvers.grains.neighbours import CellMap, colouring, graph_of, near_pairs
from solvers.grains.simulation import solve_grains
from solvers.grains.tracker import GrainTracker
from solvers.grids.grid import Boundary
from solvers.grids.spectral_basis import basis_for
from solvers.initial import voronoi


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def relative(a: torch.Tensor, b: torch.Tensor) -> list[float]:
    """Relative L2 difference per time of (1, time, y, x) fields."""
    return ((a - b).flatten(2).norm(dim=2) / b.flatten(2).norm(dim=2))[0].tolist()


@pytest.mark.parametrize(("boundary", "cells", "until"), [("periodic", 40, 200.0), ("no_flux", 32, 60.0)])
def test_shared_fields_agree_with_one_field_per_grain(boundary: Boundary, cells: int, until: float) -> None:
    grid = Grid((cells, cells), boundary=boundary)
    problem = GrainGrowth(grid)
    labels = voronoi(grid, cells**2 // 44, [3])
    times = [0.0, 10.0, 0.25 * until, 0.5 * until, until]
    dense = solve(problem, order_parameters(labels, grid), times, 1e-3)
    tracked = solve_grains(problem, labels, times, 1e-3)
    frames = tracked.frames
    assert frames.grain_id is not None
    # Both are within the tolerance of the same solution.
    assert max(relative(frames.field, dense.states.square().sum(2))) < 2e-3
    torch.testing.assert_close(frames.free_energy, dense.free_energy, rtol=1e-3, atol=0.0)
    names = torch.unique(labels)
    dominating = names[dense.states.argmax(2)]
    for j in range(len(times)):
        assert len(torch.unique(frames.grain_id[0, j])) == len(torch.unique(dominating[0, j]))
        # A boundary that runs through a cell centre may tip either way.
        assert (frames.grain_id[0, j] != dominating[0, j]).float().mean() < 5e-3
    fields = tracked.fields[0]
    assert fields[0] < 25
    assert fields[-1] < fields[0]  # given up as grains vanish
    # The step control sees the same problem. (Cost, not accuracy: a tenth of freedom.)
    assert tracked.evaluations[0] <= 1.1 * dense.evaluations[0]


def test_names_of_grains_do_not_matter() -> None:
    grid = Grid((32, 32))
    problem = GrainGrowth(grid)
    labels = voronoi(grid, 25, [1])
    new_names = torch.from_numpy(np.random.default_rng(0).permutation(100)[:25].astype(np.int32)) * 7
    one = simulate_grains(problem, labels, [0.0, 20.0, 40.0])
    other = simulate_grains(problem, new_names[labels.long()], [0.0, 20.0, 40.0])
    assert one.grain_id is not None
    assert other.grain_id is not None
    assert (one.field - other.field).abs().max() <= 1e-10
    assert torch.equal(new_names[one.grain_id.long()], other.grain_id)


def test_order_of_order_parameters_does_not_matter() -> None:
    grid = Grid((32, 32))
    problem = GrainGrowth(grid)
    start = order_parameters(voronoi(grid, 12, [2]), grid)
    order = torch.from_numpy(np.random.default_rng(1).permutation(start.shape[1]))
    one = simulate(problem, start, [5.0, 20.0], 1e-3)
    other = simulate(problem, start[:, order], [5.0, 20.0], 1e-3)
    # Only sums over grains change their order, hence round-off.
    assert (one[:, :, order] - other).abs().max() <= 1e-10


def test_sample_does_not_depend_on_its_batch() -> None:
    grid = Grid((24, 24))
    kappa = torch.tensor([1.0, 0.5])
    mobility = torch.tensor([1.0, 2.0])
    labels = torch.cat([voronoi(grid, 12, [5]), voronoi(grid, 20, [6])])
    times = torch.tensor([[0.0, 5.0, 20.0], [0.0, 8.0, 8.0]])
    both = simulate_grains(GrainGrowth(grid, mobility, kappa), labels, times)
    for i in range(2):
        one = simulate_grains(
            GrainGrowth(grid, float(mobility[i]), float(kappa[i])), labels[i : i + 1], times[i : i + 1]
        )
        assert torch.equal(both.field[i], one.field[0])
        assert torch.equal(both.free_energy[i], one.free_energy[0])
        assert both.grain_id is not None
        assert one.grain_id is not None
        assert torch.equal(both.grain_id[i], one.grain_id[0])


def test_mobility_only_scales_time() -> None:
    grid = Grid((24, 24))
    labels = voronoi(grid, 10, [8])
    fast = simulate_grains(GrainGrowth(grid, mobility=4.0), labels, [2.5, 5.0])
    slow = simulate_grains(GrainGrowth(grid), labels, [10.0, 20.0])
    assert torch.equal(fast.field, slow.field)


def test_grains_of_one_field_do_not_merge() -> None:
    """Opposite quadrants start in one field, 13 apart; the grain between them vanishes and they meet."""
    grid = Grid((40, 40), boundary="no_flux")
    y, x = np.meshgrid(*(np.arange(n) - 19.5 for n in grid.shape), indexing="ij")
    labels = np.where(x < 0, np.where(y < 0, 0, 1), np.where(y < 0, 2, 3))
    labels[np.hypot(y, x) < 9.5] = 4
    maps = torch.from_numpy(labels)[None]
    problem = GrainGrowth(grid)
    times = [1.0, 80.0, 160.0]
    tracked = solve_grains(problem, maps, times)
    dense = solve(problem, order_parameters(maps, grid), times, 1e-3)
    frames = tracked.frames
    assert frames.grain_id is not None
    assert tracked.fields[0][0] == 3
    assert tracked.moves[0] > 0
    assert torch.unique(frames.grain_id[0, -1]).tolist() == [0, 1, 2, 3]
    # phi dips to 1/2 on every boundary; grains that merged would leave it at 1. The symmetric four-grain point in
    # the middle is unstable and would magnify anything that the moves disturb.
    assert max(relative(frames.field, dense.states.square().sum(2))) < 1e-3


def test_circle_shrinks_as_the_closed_form_says() -> None:
    """dR^2/dt = -2 M kappa (1 + 0.645 kappa / R^2), R^2 = A / pi - pi^2 kappa / 6."""
    grid = Grid((48, 48))
    kappa, mobility = 1.0, 1.0
    problem = GrainGrowth(grid, mobility, kappa)
    y, x = np.meshgrid(*(np.arange(n) - 23.7 for n in grid.shape), indexing="ij")
    labels = torch.from_numpy((np.hypot(y, x) < 14.0).astype(np.int32))[None]
    times = np.arange(10.0, 71.0, 10.0)
    states = simulate(problem, order_parameters(labels, grid), times, 1e-5)
    area = states[0, :, 1].sum((-2, -1)).numpy() * grid.cell_volume
    square = area / math.pi - math.pi**2 * kappa / 6.0
    expected = [square[0]]
    for _ in range(6000):  # explicit Euler of the closed form: error 1e-4
        expected.append(expected[-1] - 0.01 * 2.0 * mobility * kappa * (1.0 + 0.645 * kappa / expected[-1]))
    # The formula is an expansion in kappa / R^2, which stays above 50 here; it holds to 0.004 in the converged limit.
    np.testing.assert_allclose(square, np.array(expected)[::1000], atol=0.02)


def test_energy_falls_and_phi_stays_bounded() -> None:
    grid = Grid((32, 32))
    frames = simulate_grains(GrainGrowth(grid, gamma=1.2), voronoi(grid, 25, [4]), np.arange(0.0, 40.0, 2.0))
    assert bool((frames.free_energy.diff(dim=1) < 0).all())
    # 1 inside grains; a spectral overshoot of the first profile is all that may lie above.
    assert frames.field[:, 1:].max() < 1.01


def test_one_grain_stays() -> None:
    grid = Grid((16, 16))
    frames = simulate_grains(GrainGrowth(grid), torch.full((1, 16, 16), 9), [0.0, 10.0])
    assert frames.grain_id is not None
    assert bool((frames.grain_id == 9).all())
    torch.testing.assert_close(frames.field, torch.ones_like(frames.field))


def test_float32_agrees() -> None:
    grid = Grid((24, 24))
    labels = voronoi(grid, 12, [5])
    double = simulate_grains(GrainGrowth(grid), labels, [10.0])
    single = simulate_grains(GrainGrowth(grid), labels, [10.0], dtype=torch.float32)
    assert single.field.dtype == torch.float32
    assert max(relative(single.field.double(), double.field)) < 1e-3


@pytest.mark.parametrize("boundary", ["periodic", "no_flux"])
def test_shares_of_a_grain_are_those_of_distances_on_the_whole_map(boundary: Boundary) -> None:
    """Also near the edge of the part that is looked at, where another grain of the field lies just outside."""
    grid = Grid((64, 64), boundary=boundary)
    _, numbers = in_order_of_occurrence(voronoi(grid, 60, [3])[0].numpy())
    tracker = GrainTracker(numbers, grid, basis_for(grid, torch.float64, torch.device("cpu")), 0.2, 1.5, 1e-2)
    tiles = 3 if boundary == "periodic" else 1
    middle = (slice(64 * (tiles // 2), 64 * (tiles // 2) + 64),) * 2
    everywhere = np.tile(tracker.owner, (tiles, tiles))
    distance = [ndimage.distance_transform_edt(everywhere != g)[middle] for g in range(len(tracker.field_of))]
    decay = math.sqrt(0.2 / 2.0)
    assert tracker.fields < len(tracker.field_of) / 2
    for grain, field in enumerate(tracker.field_of):
        members = np.flatnonzero(tracker.field_of == field)
        others = [distance[other] for other in members if other != grain]
        if not others:
            continue
        index, found = tracker._share(grain, members)
        expected = 1.0 / (1.0 + np.exp(np.clip((distance[grain] - np.min(others, axis=0)) / decay, -50.0, 50.0)))
        expected = expected[tuple(i.numpy() for i in index[1:])]
        # Far from both, where a field is nothing, the distance to the other is only known to be large.
        near = np.minimum(distance[grain], np.min(others, axis=0))[tuple(i.numpy() for i in index[1:])] < 4.0
        np.testing.assert_allclose(found[near], expected[near], atol=1e-3)


@pytest.mark.parametrize("boundary", ["periodic", "no_flux"])
def test_near_pairs_are_those_of_brute_force(boundary: Boundary) -> None:
    grid = Grid((20, 24), boundary=boundary)
    owner = voronoi(grid, 15, [11])[0].numpy()
    cells = CellMap(grid.shape, (1.0, 1.0), grid.boundary)
    y, x = np.unravel_index(np.arange(owner.size), owner.shape)
    gap = [np.abs(p[:, None] - p[None, :]) for p in (y, x)]
    if boundary == "periodic":
        gap = [np.minimum(g, n - g) for g, n in zip(gap, grid.shape, strict=True)]
    near = np.hypot(*gap) <= 5.0
    a, b = owner.reshape(-1)[np.nonzero(near)[0]], owner.reshape(-1)[np.nonzero(near)[1]]
    expected = {(int(i), int(j)) for i, j in zip(a, b, strict=True) if i < j}
    # A small decay length makes the search try every offset.
    assert {tuple(p) for p in near_pairs(cells, owner, 5.0, 0.1).tolist()} == expected


def test_colouring_is_proper_and_small() -> None:
    grid = Grid((40, 40))
    owner = voronoi(grid, 60, [12])[0].numpy()
    graph = graph_of(near_pairs(CellMap(grid.shape, (1.0, 1.0), "periodic"), owner, 1.5, 0.1))
    colours = colouring(graph, list(range(60)))
    assert all(colours[a] != colours[b] for a in graph for b in graph[a])
    assert max(colours.values()) + 1 <= 6  # planar but for the torus


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.zeros(1, 8, 9, dtype=torch.int32), "labels: \\(batch, shape\\)"),
        (torch.zeros(8, 8, dtype=torch.int32), "labels: \\(batch, shape\\)"),
        (torch.zeros(1, 8, 8), "labels: integers"),
        (torch.full((1, 8, 8), -1), "labels: in \\[0, 2\\^31\\)"),
    ],
)
def test_bad_labels_are_named(labels: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        simulate_grains(GrainGrowth(Grid((8, 8))), labels, [1.0])
