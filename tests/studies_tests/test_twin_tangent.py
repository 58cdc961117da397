"""The linearised window of the twin: right derivatives, their transpose, and Gauss and Newton's equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from studies.twin.inference.estimate import doubt_of, rank
from studies.twin.inference.tangent import Tangent
from studies.twin.inference.variational import AssimilationProblem, VariationalFit, VariationalProblem
from studies.twin.observations.frames import GreyScale, camera_for, make_frames
from studies.twin.processes import GRAIN_GROWTH, TWIN_PROCESSES, TwinProcess

CELLS = 16


def variational_for(process: TwinProcess) -> VariationalProblem:
    """A window of three frames; what the frames show does not matter to its derivatives."""
    torch.set_num_threads(1)
    camera = camera_for((CELLS, CELLS), 1.0, "no_flux")
    across = np.linspace(0.0, 2.0 * np.pi, CELLS)
    wave = np.tanh(3.0 * np.sin(across)[:, None] * np.cos(across)[None])
    image = wave if process.conserves_mean else np.abs(wave)
    problem = AssimilationProblem(process, camera, process.priors, GreyScale(0.05, 0.0, 1.0), 0.003)
    frames = make_frames(np.array([0.0, 2.0, 4.0]), np.repeat(np.abs(wave)[None], 3, 0), "test")
    return VariationalProblem(problem, frames, process.model.first_guess(image, camera.grid, 0.05), 1.0, 1.0)


@pytest.fixture(params=list(TWIN_PROCESSES))
def point(request: pytest.FixtureRequest) -> tuple[VariationalProblem, torch.Tensor, torch.Tensor, torch.Tensor]:
    variational = variational_for(TWIN_PROCESSES[request.param])
    generator = torch.Generator().manual_seed(1)
    w = 0.3 * torch.randn(variational.base.shape, generator=generator)
    direction = torch.randn(variational.base.shape, generator=generator)
    return variational, torch.zeros(2, dtype=torch.float64), w, direction


Point = tuple[VariationalProblem, torch.Tensor, torch.Tensor, torch.Tensor]


def test_tangent_is_the_derivative(point: Point) -> None:
    variational, z, w, direction = point
    step = 0.02
    with torch.no_grad():
        starts = variational.begin(torch.stack([w + step * direction, w - step * direction]))
        ends, _ = variational.predict(z.expand(2, -1), starts)
        linear = Tangent(variational, z, w).frames(direction[None])[0]
    quotient = (ends[0] - ends[1]) / (2.0 * step)
    # Single precision over a step of 0.02: 1e-5 of differences, and the third order of the expansion.
    assert float((linear - quotient).norm() / quotient.norm()) < 5e-3


def test_transpose_and_solution(point: Point) -> None:
    variational, z, w, direction = point
    tangent = Tangent(variational, z, w)
    with torch.no_grad():
        seen = tangent.frames(direction[None])
    other = torch.randn(seen.shape, generator=torch.Generator().manual_seed(2))
    left = float((seen.double() * other.double()).sum())
    right = float((direction.double() * tangent.transposed(other)[0].double()).sum())
    assert left == pytest.approx(right, rel=1e-3, abs=1e-3 * float(seen.norm() * other.norm()))  # single precision
    found = tangent.solve(direction[None], 100, 1e-3)
    missed = tangent.curvature(found) - direction
    # The recursion's residual and the true one part by single precision.
    assert float(missed.norm() / direction.norm()) < 5e-3


def test_little_memory_changes_nothing(point: Point, monkeypatch: pytest.MonkeyPatch) -> None:
    variational, z, w, direction = point
    sides = torch.stack([direction, w])
    seen = torch.randn((2, *variational.data.shape), generator=torch.Generator().manual_seed(3))
    tangent = Tangent(variational, z, w)
    assert tangent.rows_at_once > 2
    before = tangent.solve(sides, 100, 1e-3), tangent.transposed(seen)
    monkeypatch.setattr("studies.twin.inference.tangent._KEPT", 1)
    assert tangent.rows_at_once == 1
    for together, alone in zip(before, (tangent.solve(sides, 100, 1e-3), tangent.transposed(seen)), strict=True):
        assert float((together - alone).norm() / together.norm()) < 5e-3  # of the tolerance, in single precision


def test_deviations_of_grains_do_not_brighten() -> None:
    rng = torch.Generator().manual_seed(4)
    centre = torch.rand(3, 12, 12, generator=rng)
    centre[1] *= 0.05
    deviations = 0.3 * torch.randn(6, 3, 12, 12, generator=rng)
    draws = torch.randn(8000, 6, generator=rng) / 6**0.5
    varied = centre + torch.einsum("ms,scyx->mcyx", draws, deviations)
    before, after = (
        x.square().sum(1).mean() for x in (varied, GRAIN_GROWTH.model.unbiased(varied, centre[None], deviations))
    )
    wanted = float(centre.square().sum(0).mean())
    assert float(before) > 1.2 * wanted
    assert float(after) == pytest.approx(wanted, rel=0.01)


def test_two_ways_to_cut_grains_widen_the_bands() -> None:
    frames = make_frames(np.arange(3.0), np.zeros((3, 8, 8)), "test")

    def fit(z: float, cost: float) -> VariationalFit:
        return VariationalFit(np.array([z, 0.1]), torch.zeros(1), (8, 8), 1.0, cost, np.zeros(0), 0)

    same = doubt_of(fit(0.3, 100.0), fit(-0.1, 100.0), frames)
    assert same == pytest.approx([0.4 / np.sqrt(2.0), 0.0])
    worse = doubt_of(fit(0.3, 100.0), fit(-0.1, 140.0), frames)
    assert 0.0 < worse[0] < 0.5 * same[0]
    # A material that the prior excludes is no rival at whatever cost.
    assert abs(doubt_of(fit(0.3, 100.0), fit(-9.0, 50.0), frames)[0]) < 1e-6
    assert rank(fit(-9.0, 50.0)) > rank(fit(0.3, 100.0))
    # Of two that it excludes neither is certain.
    assert abs(doubt_of(fit(9.0, 50.0), fit(-9.0, 50.0), frames)[0]) > 10.0
