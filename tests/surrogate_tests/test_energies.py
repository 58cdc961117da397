"""Free energies of grains seen as phi alone, and the guard that keeps them from rising."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from solvers import CahnHilliard, GrainGrowth, Grid, simulate_grains
from solvers.initial import voronoi
from surrogate.processes import FirstStage, learned_process
from surrogate.rollout.cahn_hilliard import EnergyGuard
from surrogate.rollout.grain_growth import BoundaryGuard, boundary_excess

torch.set_num_threads(1)
GRID = Grid((48, 48))


@pytest.mark.parametrize(("kappa", "gamma"), [(0.5, 1.5), (1.5, 1.5), (1.0, 1.1), (1.0, 2.0)])
def test_phi_tells_the_energy(kappa: float, gamma: float) -> None:
    problem = GrainGrowth(GRID, kappa=kappa, gamma=gamma)
    frames = simulate_grains(problem, voronoi(GRID, 16, [3]), [3.0, 15.0, 60.0], tolerance=1e-2)
    found = learned_process("grain_growth").energy(problem, frames.field)
    # 0.6 % root mean square over the training's boxes; this one is smaller, with more junctions.
    torch.testing.assert_close(found, frames.free_energy.double(), rtol=0.02, atol=0.0)


def frames_with(*excess: float) -> torch.Tensor:
    """phi (frame, 4, 4) whose mean of 1 - phi is that."""
    return torch.stack([torch.full((4, 4), 1.0 - value) for value in excess])


def guarded(lengths: list[float], found: list[float], before: float = 0.2) -> tuple[list[float], int]:
    guard = BoundaryGuard(3)
    owners = np.zeros(len(found), dtype=np.int64)
    frames, _ = guard(np.array([1]), frames_with(before), owners, np.array(lengths), frames_with(*found))
    assert guard.replaced[[0, 2]].tolist() == [0, 0]
    return [round(v, 6) for v in boundary_excess(frames).tolist()], int(guard.replaced[1])


def test_energies_that_fall_are_left_alone() -> None:
    assert guarded([5.0, 10.0, 20.0], [0.19, 0.15, 0.1]) == ([0.19, 0.15, 0.1], 0)


def test_the_end_of_a_step_has_no_more_than_its_start() -> None:
    assert guarded([5.0, 20.0], [0.19, 0.25]) == ([0.2, 0.2], 1)


def test_frames_between_lie_between_in_the_order_of_time() -> None:
    # 0.22 is above the start, 0.17 above the frame before it, 0.05 below the end of the step.
    assert guarded([20.0, 1.0, 5.0, 10.0, 15.0], [0.1, 0.22, 0.16, 0.17, 0.05]) == ([0.1, 0.2, 0.16, 0.16, 0.1], 1)


def test_thick_boundaries_are_handed_over_later() -> None:
    kappa = torch.tensor([0.5, 2.0])
    problem = GrainGrowth(GRID, kappa=kappa, mobility=1 / kappa)
    times = torch.tensor([[20.0], [20.0]])
    stage = FirstStage(age=2.5, tolerance=0.1)
    start = learned_process("grain_growth").first_frames(problem, voronoi(GRID, 16, [0, 1]), times, stage)
    assert start.ages.tolist() == [2.5, 4.0]  # M W t = 2 for the second


def test_a_rise_between_two_frames_of_a_step_goes_to_the_solver() -> None:
    """Each of the step's frames has less energy than the frame before the step, but the second more than the first."""
    x = torch.arange(32) * (2.0 * torch.pi / 32.0)
    pattern = (x.cos()[:, None] * x.cos()[None]).float()
    problem = CahnHilliard(Grid((32, 32)), mobility=1.0, kappa=1.0)
    before = torch.stack([0.1 * pattern, 0.1 * pattern])
    # The first sample's frames only gain amplitude, and lose energy.
    sizes = torch.tensor([0.12, 0.14, 0.14, 0.12])
    frames, owners, lengths = sizes[:, None, None] * pattern, np.array([0, 0, 1, 1]), np.array([1.0, 2.0, 1.0, 2.0])
    guard = EnergyGuard(problem, 2)
    found, known = guard(np.array([0, 1]), before, owners, lengths, frames.clone())
    assert guard.replaced.tolist() == [0, 1]
    assert torch.equal(found[:2], frames[:2])
    energy = learned_process("cahn_hilliard").energy
    energies = energy(problem.take(torch.tensor([1])), found[2:][None])[0]
    assert not torch.equal(found[2:], frames[2:])
    np.testing.assert_allclose(known[2:], energies, rtol=1e-6)
    assert energies[1] <= energies[0] <= energy(problem.take(torch.tensor([1])), before[1:])[0]
