"""The determined part of a forecast, scores of past forecasts, and the members of a window from which both follow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from solvers import CahnHilliard, Grid, simulate
from solvers.errors import InputError
from solvers.initial import noise
from studies import Twin
from studies.twin.config import TwinConfig
from studies.twin.diagnostics.determined_part import determined_part, undetermined_depth
from studies.twin.diagnostics.scores import ForecastScore, errors_of
from studies.twin.inference import deviations, linearised_fit
from studies.twin.inference.deviations import pair_weights, run_members, whole_deviations
from studies.twin.inference.variational import AssimilationProblem, VariationalProblem
from studies.twin.observations.frames import GreyScale, make_frames, open_camera
from studies.twin.processes import CAHN_HILLIARD
from studies.twin.report.undetermined import striped, with_legend
from studies.twin.store import load_state, save_state, scores_dataset

CELLS, MARGIN, WAVELENGTH = 48, 8, 8.0
WINDOW = (slice(MARGIN, MARGIN + CELLS), slice(MARGIN, MARGIN + CELLS))


def ensemble_of(known: list[float]) -> np.ndarray:
    """Members (member, time, y, x) that share a pattern up to ``known`` cells from the middle and nothing beyond."""
    rng, size = np.random.default_rng(0), CELLS + 2 * MARGIN
    pattern = np.sign(rng.standard_normal((size, size)))
    away = np.abs(np.arange(size) + 0.5 - 0.5 * size)
    outside = np.maximum(away[:, None], away[None])
    fields = np.where(outside[None] < np.array(known)[:, None, None], pattern, 0.0)
    own = np.sign(rng.standard_normal((16, 1, size, size)))
    return np.asarray(np.where(outside[None] < np.array(known)[:, None, None], fields, own), dtype=np.float32)


def test_edge_of_the_determined_part() -> None:
    """Depth and area follow where members agree; the margin, where none do, does not count."""
    known = [24.0, 18.0, 8.0]
    part = determined_part(np.array([1.0, 2.0, 3.0]), ensemble_of(known), WINDOW, WAVELENGTH)
    assert part.margin
    # Rings are two cells wide, and one with unrelated members in it is not determined.
    assert part.depth == pytest.approx([0.0, 6.0, 16.0], abs=1.0)
    # Unrelated members within 1.5 deviations of a neighbourhood, 3 cells, are seen from inside.
    sides = 2.0 * np.array([24.0, 18.0 - 3.0, 8.0 - 3.0]) / CELLS
    assert part.share == pytest.approx(sides**2, abs=0.1)
    assert part.share[0] == 1.0
    assert part.centre[1] == 0.0
    assert part.centre[2] > 0.5
    assert (
        part.line()
        == f"the centre stays determined until t = 2; {part.share[2]:.0%} of the window is determined at t = 3"
    )
    assert part.undetermined[:, :MARGIN].mean() > 0.99


def test_unrelated_members_have_the_variance_of_the_field() -> None:
    members = np.random.default_rng(1).standard_normal((64, 2, 24, 24)).astype(np.float32)
    part = determined_part(np.array([1.0, 2.0]), members, (slice(0, 24), slice(0, 24)), WAVELENGTH)
    assert not part.margin
    assert part.variance_share.mean() == pytest.approx(1.0, abs=0.02)  # 64 members, 576 cells
    assert part.share.tolist() == [0.0, 0.0]
    assert part.depth.tolist() == [12.0, 12.0]
    assert part.line().startswith("the centre is not determined at t = 1, the first of the forecast")


def test_members_that_agree_determine_all_even_without_contrast() -> None:
    part = determined_part(np.array([1.0]), np.ones((4, 1, 16, 16)), (slice(0, 16), slice(0, 16)), WAVELENGTH)
    assert part.line() == (
        "the centre stays determined to the end of the forecast; 100% of the window is determined at t = 1"
    )
    assert undetermined_depth(np.zeros((9, 5))) == 0.0


def test_errors_of_a_forecast() -> None:
    """Members and frame from one distribution: nine tenths of the pixels inside; unseen pixels do not count."""
    rng, spread, sigma = np.random.default_rng(2), 0.3, 0.2
    truth = rng.standard_normal((80, 80))
    members = truth + spread * rng.standard_normal((32, 80, 80))
    frame = truth + np.hypot(spread, sigma) * rng.standard_normal((80, 80))
    frame[:10] = np.nan
    rmse, persistence, inside = errors_of(members, truth + 2.0, frame, sigma)
    assert rmse == pytest.approx(np.hypot(spread, sigma), rel=0.05)
    assert persistence == pytest.approx(np.sqrt(4.0 + spread**2 + sigma**2), rel=0.05)
    assert inside == pytest.approx(0.9, abs=0.02)  # 5600 pixels: 0.4 %; the band of 32 members adds 1 %
    without_noise = errors_of(members, truth, frame, 0.0)[2]
    assert without_noise < inside - 0.04


def test_members_come_in_pairs() -> None:
    few = pair_weights(np.random.default_rng(0), 8, 4)
    np.testing.assert_array_equal(few, np.concatenate([np.eye(4), -np.eye(4)]))
    many = pair_weights(np.random.default_rng(0), 15, 4)
    assert many.shape == (15, 4)
    np.testing.assert_allclose(np.square(many).sum(1), 1.0, rtol=1e-6)
    np.testing.assert_array_equal(many[8:], -many[:7])


@pytest.fixture(scope="module")
def around() -> linearised_fit.LinearisedFit:
    """A fit of three frames of a window of 16 cells, linearised, with a few deviations."""
    torch.set_num_threads(1)
    grid = Grid((32, 32), 1.0, "periodic")
    times = np.array([30.0, 36.0, 42.0])
    field = simulate(CahnHilliard(grid), noise(grid, 0.0, 0.1, [3]), times.tolist(), tolerance=1e-2)[0]
    grey = 0.5 * (field[:, :16, :16].double().numpy() + 1.0)
    grey += 0.1 * np.random.default_rng(3).standard_normal(grey.shape)
    frames = make_frames(times, grey, "test")
    problem = AssimilationProblem(
        CAHN_HILLIARD, open_camera(frames, 1.0), CAHN_HILLIARD.priors, GreyScale(0.1, 0.0, 1.0), 0.003
    )
    image = problem.camera.spread(problem.from_grey(grey[0]))
    start = CAHN_HILLIARD.model.first_guess(image, problem.camera.grid, 0.2)
    variational = VariationalProblem(problem, frames, start, 1.0, 1.0)
    z, w = variational.minimise(torch.zeros(1, 2, dtype=torch.float64), torch.zeros(1, *variational.base.shape), 15)
    return linearised_fit.linearise(variational, variational.fit_at(z, w, 0), np.random.default_rng(1), 4)


def test_members_of_a_window_show_the_fit_on_average(
    around: linearised_fit.LinearisedFit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pairs of linearised deviations cancel; steps of Gauss and Newton do so with those of the runs."""
    z, off = np.repeat(around.fit.z[None], 8, 0), []
    for rounds in (0, deviations.ROUNDS):
        monkeypatch.setattr(deviations, "ROUNDS", rounds)
        predicted, _ = run_members(around.variational, z, whole_deviations(around, z, np.random.default_rng(0)))
        assert bool(torch.isfinite(predicted).all())
        off.append(float((predicted.double().mean(0) - torch.from_numpy(around.fit.predicted)).square().mean().sqrt()))
        spread = predicted.std(0)
        assert float(spread[:, [0, -1]].mean()) > float(spread[:, 6:10, 6:10].mean())
    # Two rounds of rough steps; 0.52 here.
    assert off[1] < 0.67 * off[0]


def watched(folder: Path, members: int = 8) -> Twin:
    return Twin(
        TwinConfig.model_validate(
            {
                "schema_version": 1,
                "name": "scores",
                "process": "cahn_hilliard",
                "observations": {"path": str(folder), "noise": 0.05, "levels": [-1.0, 1.0]},
                "grid": {"boundary": "periodic"},
                "assimilation": {"members": members, "iterations": 10},
                "forecast": {"until": 90.0, "every": 10.0},
            }
        )
    )


def test_new_frames_are_compared_with_their_forecasts(tmp_path: Path) -> None:
    """A score for every frame later than all before it, kept by a restart, described in the store."""
    torch.set_num_threads(1)
    grid = Grid((16, 16), 1.0, "periodic")
    times = [10.0, 14.0, 18.0, 16.0]
    field = simulate(CahnHilliard(grid), noise(grid, 0.0, 0.1, [4]), sorted(times), tolerance=1e-2)[0].double().numpy()
    frames = dict(zip(sorted(times), field, strict=True))
    twin = watched(tmp_path)
    for time in times:
        twin.update(frames[time] + 0.05 * np.random.default_rng(int(time)).standard_normal(grid.shape), time)
    assert [(s.time, s.since, s.frames) for s in twin.scores] == [(14.0, 10.0, 1), (18.0, 14.0, 2)]
    # Two frames tell the speed: the third is forecast better than by the second.
    assert twin.scores[1].rmse < 0.5 * twin.scores[1].persistence
    assert 0.5 < twin.scores[1].inside <= 1.0
    save_state(twin, tmp_path)
    again = watched(tmp_path)
    assert load_state(again, tmp_path)
    assert again.scores == twin.scores
    table = scores_dataset(twin.scores)
    assert table["rmse"].dims == ("time",)
    assert table["persistence_rmse"].attrs["units"] == "grey"
    assert table["inside_share"].values == pytest.approx([s.inside for s in twin.scores])


def test_a_state_without_scores_is_read(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    twin = watched(tmp_path)
    across = np.sin(np.linspace(0.0, 2.0 * np.pi, 17)[:-1])
    twin.update(np.tanh(2.0 * across[:, None] * across[None]), 1.0)
    save_state(twin, tmp_path)
    with np.load(tmp_path / "state.npz") as file:
        old = {name: file[name] for name in file.files if name != "scores"}
    np.savez(tmp_path / "state.npz", **old)
    again = watched(tmp_path)
    assert load_state(again, tmp_path)
    assert again.scores == []


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_state_is_refused_and_kept(tmp_path: Path, share: float) -> None:
    torch.set_num_threads(1)
    twin = watched(tmp_path)
    across = np.sin(np.linspace(0.0, 2.0 * np.pi, 17)[:-1])
    twin.update(np.tanh(2.0 * across[:, None] * across[None]), 1.0)
    save_state(twin, tmp_path)
    path = tmp_path / "state.npz"
    kept = path.read_bytes()[: int(share * path.stat().st_size)]
    path.write_bytes(kept)
    with pytest.raises(InputError, match="found a damaged state"):
        load_state(watched(tmp_path), tmp_path)
    assert path.read_bytes() == kept


def test_a_score_in_words() -> None:
    line = ForecastScore(60.0, 50.0, 2, 0.05, 0.061, 0.34, 0.91, 0.83).line()
    assert line == (
        "t = 60 as forecast from t = 50: off by 0.061 grey (kept as it was 0.34, noise 0.05); "
        "91% of the pixels inside the bands of 90 %, 83% called determined"
    )


def test_animated_frames_are_striped_where_not_determined() -> None:
    from PIL import Image

    mask = np.zeros((8, 8), dtype=bool)
    mask[:, 4:] = True
    shown = striped(Image.new("RGB", (64, 64), (100, 100, 100)), mask)
    changed = (np.asarray(shown) != 100).any(2)
    assert not changed[:, :32].any()
    assert 0.1 < changed[:, 32:].mean() < 0.3
    known, unknown = (np.asarray(with_legend(shown, 3.0, forecast)) for forecast in (False, True))
    assert known.shape == unknown.shape == (86, 64, 3)


def test_the_store_tells_the_determined_part(tmp_path: Path) -> None:
    from studies.twin.store import forecast_dataset

    torch.set_num_threads(1)
    twin = watched(tmp_path)
    across = np.sin(np.linspace(0.0, 2.0 * np.pi, 17)[:-1])
    twin.update(np.tanh(2.0 * across[:, None] * across[None]), 1.0)
    forecast = twin.forecast([2.0, 3.0])
    found: xr.Dataset = forecast_dataset(twin, forecast)
    assert found["variance_share"].dims == ("time", "y", "x")
    assert found["determined_share"].values == pytest.approx(
        (found["variance_share"].where(found["window"] == 1) < 0.04).mean(("y", "x")).values
    )
    assert "undetermined_depth" not in found  # the frames show the whole box
    assert all({"units", "long_name"} <= set(found[name].attrs) for name in ("variance_share", "centre_variance_share"))
