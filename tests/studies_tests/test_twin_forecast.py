"""The twin's members: bands of few, runs that diverge, engines that are trusted or not, several workers; dead lines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from distributed import Client

from solvers import CahnHilliard, Grid, InputError, simulate
from solvers.initial import noise
from studies.twin import forecast
from studies.twin.forecast import forecast_members
from studies.twin.inference import ensemble, linearised_fit
from studies.twin.inference.variational import AssimilationProblem, VariationalFit, VariationalProblem
from studies.twin.model.process_model import Members
from studies.twin.observations.frames import GreyScale, camera_for, make_frames
from studies.twin.processes import CAHN_HILLIARD
from studies.twin.quantiles import quantiles
from surrogate.engine_kinds import SurrogateBlock
from sweeps.engines.solver_kind import SolverBlock

CELLS, AGE = 32, 100.0


@pytest.fixture(scope="module")
def members() -> Members:
    """Three specimens in coarsening; kappa of the last lies beyond what ch-jump was trained on (2.02)."""
    torch.set_num_threads(1)
    grid = Grid((CELLS, CELLS), 1.0, "no_flux")
    kappa = np.array([1.0, 1.2, 4.0])
    problem = CahnHilliard(grid, kappa=torch.from_numpy(kappa))
    starts = torch.cat([noise(grid, 0.0, 0.1, [seed]) for seed in (1, 2, 3)])
    states = simulate(problem, starts, [AGE], tolerance=1e-2).float()
    start = CAHN_HILLIARD.model.first_guess(states[0, 0].numpy(), grid, 0.05)
    values = {"mobility": np.ones(3), "kappa": kappa}
    return Members(CAHN_HILLIARD, grid, (CELLS, CELLS), states, values, start, AGE)


def test_surrogate_where_trusted_and_solver_elsewhere(members: Members) -> None:
    times = np.array([AGE + 5.0])
    rolled = forecast_members(members, times, SurrogateBlock(kind="surrogate", model="ch-jump"))
    truth = forecast_members(members, times, SolverBlock(tolerance=1e-2, dtype="float32"))
    assert rolled.engine == ["surrogate ch-jump"] * 2 + ["solver (outside the model's domain)"]
    np.testing.assert_array_equal(rolled.field[2], truth.field[2])  # the same solver, alone in its batch
    error = np.sqrt(np.mean((rolled.field[:2] - truth.field[:2]) ** 2))
    still = np.sqrt(np.mean((members.states[:2].numpy() - truth.field[:2]) ** 2))
    assert 0.0 < error < 0.3 * still


def test_surrogate_of_another_process_is_refused(members: Members) -> None:
    with pytest.raises(InputError, match=r"engine\.model"):
        forecast_members(members, np.array([AGE + 5.0]), SurrogateBlock(kind="surrogate", model="gg-jump"))


def test_workers_do_not_change_a_forecast(members: Members, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three tasks, on Dask and in this process."""
    monkeypatch.setattr(forecast, "TASK_MEMBERS", 1)
    engine = SolverBlock(tolerance=1e-2, dtype="float32")
    here, there = (forecast_members(members, np.array([AGE + 5.0]), engine, by) for by in (None, client))
    np.testing.assert_array_equal(here.field, there.field)
    assert here.engine == there.engine


def test_bands_of_few_members_hold_what_they_promise() -> None:
    """One more draw lies inside the 90 % band of 32 in 90 % of the trials; 4000 trials are sharp to 0.5 %."""
    draws = np.random.default_rng(0).standard_normal((33, 4000))
    low, _, high = quantiles(draws[:32])
    assert np.mean((low <= draws[32]) & (draws[32] <= high)) == pytest.approx(0.9, abs=0.015)


def test_diverging_members_do_not_spoil_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs far to one side of the fit are made to diverge; every member stays finite, and it is said how many moved."""
    torch.set_num_threads(1)
    camera = camera_for((16, 16), 1.0, "no_flux")
    across = np.sin(np.linspace(0.0, 2.0 * np.pi, 16))
    image = np.tanh(3.0 * across[:, None] * across[None])
    problem = AssimilationProblem(CAHN_HILLIARD, camera, CAHN_HILLIARD.priors, GreyScale(0.05, 0.0, 1.0), 0.003)
    grey = 0.5 * (1.0 + np.repeat(image[None], 3, 0)) + 0.05 * np.random.default_rng(0).standard_normal((3, 16, 16))
    frames = make_frames(np.array([0.0, 2.0, 4.0]), grey, "test")
    variational = VariationalProblem(
        problem, frames, CAHN_HILLIARD.model.first_guess(image, camera.grid, 0.05), 1.0, 1.0
    )
    z, w = variational.minimise(torch.zeros(1, 2, dtype=torch.float64), torch.zeros(1, *variational.base.shape), 10)
    seen, _ = variational.predict(z, variational.begin(w))
    fit = VariationalFit(z[0].numpy(), w[0], (16, 16), 1.0, 0.0, seen[0].detach().double().numpy(), 0)
    around = linearised_fit.linearise(variational, fit, np.random.default_rng(1), 5)
    limit = fit.z[1] + 0.5 * float(np.linalg.inv(np.eye(2) + around.information)[1, 1]) ** 0.5
    whole = variational.predict

    def predict(z: torch.Tensor, start: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found: tuple[Any, Any] = whole(z, start)
        for part in found:
            part[z[:, 1] > limit] = torch.nan
        return found

    monkeypatch.setattr(variational, "predict", predict)
    posterior = ensemble.draw(around, 16, 1, 0)
    assert 0 < posterior.lost < 16
    assert np.isfinite(posterior.z).all()
    assert bool(torch.isfinite(posterior.lasts).all())
    assert np.ptp(posterior.z, axis=0).min() > 0


@pytest.mark.parametrize("line", [np.s_[:, :, 4], np.s_[:, 7]])
def test_dead_lines_are_not_seen(line: Any) -> None:
    grey = np.random.default_rng(0).random((3, 12, 10))
    grey[line] = 0.25
    seen = make_frames(np.array([0.0, 1.0, 2.0]), grey, "test").seen
    assert not seen[line].any()
    assert seen.sum() == grey.size - grey[line].size


def test_a_missing_frame_is_not_saved_by_a_dead_column() -> None:
    grey = np.random.default_rng(0).random((3, 12, 10))
    grey[1] = np.nan
    grey[:, :, 4] = 0.25
    assert make_frames(np.array([0.0, 1.0, 2.0]), grey, "test").times.tolist() == [0.0, 2.0]
