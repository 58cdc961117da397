"""Trajectories in one compiled function against the same arithmetic step by step, and their transforms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from common.spectral import smooth_noise

from solvers import CahnHilliard, GrainGrowth, Grid
from solvers.grids.spectral_basis import basis_for
from solvers.grids.transforms import cosine_scaling
from solvers.integrators import trajectory
from solvers.processes.cahn_hilliard import CahnHilliardEquation
from solvers.processes.terms import transforms_of

TIMES = np.array([[0.0, 0.4, 3.0, 3.0, 20.0], [0.1, 0.2, 5.0, 9.0, 12.0]])


@pytest.mark.parametrize("boundary", ["periodic", "no_flux"])
@pytest.mark.parametrize("shape", [(12, 20), (15, 9), (6, 8, 10)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_transforms_are_those_of_the_basis(boundary, shape, dtype):
    basis = basis_for(Grid(shape, 0.7, boundary), dtype)
    field = torch.from_numpy(np.random.default_rng(0).standard_normal((3, *shape))).to(dtype)
    expected = basis.forward(field)
    inverse, forward = transforms_of(basis)
    axes, scaling = np.arange(1, 1 + len(shape)), cosine_scaling(shape, field.numpy().dtype)
    coefficients = np.empty(expected.shape, dtype=field.numpy().dtype)
    if boundary == "periodic":
        kind = np.result_type(coefficients.dtype, np.complex64)
        spectrum = coefficients.view(kind).reshape(3, *basis.half_shape)
    else:
        spectrum = coefficients.reshape(3, *shape)
    rounding = 20 * torch.finfo(dtype).eps
    forward(field.numpy().copy(), spectrum, axes, scaling)
    assert np.abs(coefficients - expected.numpy()).max() < rounding
    back = np.empty_like(field.numpy())
    inverse(spectrum, back, axes, scaling)
    assert np.abs(back - field.numpy()).max() < rounding * field.abs().max().item()


def problems():
    kappa = torch.tensor([0.8, 1.7], dtype=torch.float64)
    for boundary in ("periodic", "no_flux"):
        grid = Grid((18, 24), boundary=boundary)
        yield f"cahn-hilliard-{boundary}", CahnHilliard(grid, kappa=kappa), 1
        yield f"grains-{boundary}", GrainGrowth(grid, kappa=kappa, gamma=torch.tensor([1.5, 0.9])), 3
    yield "three-dimensional", CahnHilliard(Grid((8, 12, 10)), kappa=kappa), 1
    yield "contrasts", CahnHilliard(Grid((18, 24)), kappa=kappa, mobility_contrast=torch.tensor([0.3, 0.9])), 1


CASES = list(problems())


@pytest.mark.parametrize("problem", [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_the_same_states_as_step_by_step(problem, monkeypatch):
    material, components = problem
    basis = basis_for(material.grid, torch.float64)
    shape = (2 * components, *material.grid.shape)
    noise = np.stack([smooth_noise(shape[1:], 0.2, 0.1, seed) for seed in range(shape[0])])
    initial = basis.forward(torch.from_numpy(noise.reshape(2, components, *shape[1:])))
    equation = material.equation(basis, 2)

    def run(together: int) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
        states = torch.full((*TIMES.shape, *initial.shape[1:]), torch.nan, dtype=torch.float64)
        steps, cost = np.zeros(TIMES.shape, dtype=np.int64), np.zeros(2, dtype=np.int64)
        for part in trajectory.rollout(equation, initial, TIMES, 1e-4, together=together, evaluations=cost):
            states[part.samples, part.times] = part.coefficients
            steps[part.samples, part.times] = part.steps
        return states, steps, cost

    found, steps, cost = run(together=4)
    assert trajectory._compiled_terms(equation, initial) is not None
    monkeypatch.setattr(trajectory, "_compiled_terms", lambda *_: None)
    expected, expected_steps, shared = run(together=1)
    assert np.array_equal(steps, expected_steps)
    # Round-off through some tens of steps, each transform of another library.
    assert (found - expected).abs().max() < 1e-11 * expected.abs().max()
    assert cost.max() == shared.max()
    assert cost.min() > 10


def test_a_sample_that_diverges_leaves_the_others_alone():
    basis = basis_for(Grid((16, 16)), torch.float64)
    equation = CahnHilliard(Grid((16, 16))).equation(basis, 2)
    initial = basis.forward(
        torch.from_numpy(np.stack([smooth_noise((16, 16), 0.2, 0.0, s) for s in range(2)]))[:, None]
    )
    broken = initial.clone()
    broken[0] = torch.inf
    rows = TIMES[[1, 1]]
    alone, beside = (
        {
            (int(s), int(t)): c
            for p in trajectory.rollout(equation, start, rows, 1e-4)
            for s, t, c in zip(p.samples, p.times, p.coefficients, strict=True)
        }
        for start in (initial, broken)
    )
    assert {sample for sample, _ in beside} == {1}
    assert all(torch.equal(alone[key], beside[key]) for key in beside)


def test_an_equation_that_changes_its_terms_alone_is_not_integrated_with_its_parents():
    class Frozen(CahnHilliardEquation):
        def explicit(self, coefficients):
            return torch.zeros_like(coefficients), coefficients.new_zeros(len(coefficients))

    basis = basis_for(Grid((16, 16)), torch.float64)
    initial = torch.zeros(1, 1, basis.size, dtype=torch.float64)
    kappa = torch.ones(1, dtype=torch.float64)
    assert trajectory._compiled_terms(CahnHilliardEquation(basis, kappa), initial) is not None
    assert trajectory._compiled_terms(Frozen(basis, kappa), initial) is None
