"""The audit of an answer: its estimate of the error against a far tighter solution, and what it calls met."""

from __future__ import annotations

import pytest
import torch
from common.spectral import smooth_noise

from solvers import Audit, CahnHilliard, GrainGrowth, Grid, Problem, audit, order_parameters, simulate
from solvers.initial import voronoi

TIMES = [2.0, 10.0]
TOLERANCE = 1e-2


def phases() -> tuple[Problem, torch.Tensor]:
    grid = Grid((24, 20), boundary="no_flux")
    starts = [torch.from_numpy(smooth_noise(grid.shape, 0.4, 0.1, seed=seed)) for seed in (1, 2)]
    return CahnHilliard(grid, kappa=torch.tensor([1.0, 2.0])), torch.stack(starts)


def grains() -> tuple[Problem, torch.Tensor]:
    grid = Grid((24, 20))
    return GrainGrowth(grid), order_parameters(voronoi(grid, 4, [1]), grid)


@pytest.mark.parametrize("case", [phases, grains])
def test_the_estimate_is_the_error_against_the_converged_solution(case) -> None:
    problem, start = case()
    answer = simulate(problem, start, TIMES, TOLERANCE)
    found = audit(problem, start, TIMES, TOLERANCE)
    exact = simulate(problem, start, TIMES, 1e-6)
    error = (answer - exact).flatten(2).norm(dim=2) / exact.flatten(2).norm(dim=2)
    # The refined solution has an error of its own: at most a fifth of the answer's, and here 1e-6 of the exact one.
    torch.testing.assert_close(found.error, error, rtol=0.25, atol=2e-6)
    assert found.met.all()
    better = (found.states - exact).flatten(2).norm(dim=2) / exact.flatten(2).norm(dim=2)
    assert (better < error).all()


def test_an_answer_at_hand_is_judged_as_it_is() -> None:
    problem, start = phases()
    answer = simulate(problem, start, TIMES, TOLERANCE)
    given = audit(problem, start, TIMES, TOLERANCE, answer=answer)
    assert torch.equal(given.error, audit(problem, start, TIMES, TOLERANCE).error)
    spoiled = answer.clone()
    spoiled[1, 1] *= 1.0 + 2.0 * TOLERANCE
    assert audit(problem, start, TIMES, TOLERANCE, answer=spoiled).met.tolist() == [True, False]


def test_a_sample_that_diverged_is_not_met() -> None:
    error = torch.tensor([[1e-3, torch.nan], [1e-3, 1e-2]])
    assert Audit(TOLERANCE, error, torch.zeros(2, 2, 4, 4)).met.tolist() == [False, True]
