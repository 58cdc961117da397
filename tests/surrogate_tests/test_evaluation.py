"""The protocol, its references, and whole evaluations at a tiny size."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer

from solvers import CahnHilliard, Frames, Grid, InputError, simulate, solve
from solvers.grids.even_extension import extend
from solvers.initial import noise
from surrogate.evaluation import cli
from surrogate.evaluation.candidates import EvenlyExtended, Persistence, RolloutModel, SolverForecaster
from surrogate.evaluation.card import case_results, write_reports
from surrogate.evaluation.clips import clip_case, clip_problem, evaluate_clips, fit_scales, misfit_of, read_clips
from surrogate.evaluation.protocol import PROTOCOLS, Protocol, protocols_for
from surrogate.evaluation.scores import evaluate
from surrogate.evaluation.tables import tables
from surrogate.recipes.points import FOLDER as RECIPES
from surrogate.rollout.prediction import Prediction

torch.set_num_threads(1)

SPINODAL = Protocol("tiny-spinodal", "cahn_hilliard", (32, 32), 20.0, 2.0, (4, 8), n_in=3, trajectories=4)
GRAINS = Protocol(
    "tiny-grains", "grain_growth", (32, 32), 4.0, 4.0, (3, 6), n_in=3, trajectories=2, cells_per_grain=100.0
)


class CoarseSolver(SolverForecaster):
    """The solver at a coarse tolerance, as an engine with counters."""

    def __init__(self) -> None:
        super().__init__("cahn_hilliard", tolerance=0.05)
        self.name = "coarse"
        self.about = {
            "name": "coarse",
            "domain": {"kappa": [0.25, 2.0]},
            "training": {
                "minutes": 1.5,
                "curve": [{"elapsed": 60.0 * i, "loss": 1.0 / i, "rmse+20": 0.1 / i} for i in (1, 2)],
            },
        }

    def rollout(self, problem: CahnHilliard, initial: torch.Tensor, times: torch.Tensor) -> Prediction:
        found = solve(problem, initial, times, self.tolerance, torch.float32)
        batch = len(initial)
        nothing = np.zeros(batch, dtype=np.int64)
        return Prediction(
            frames=Frames(found.states, found.free_energy),
            mass_drift=np.full(batch, 1e-9),
            energy_rises=nothing,
            guarded=nothing,
            start_ages=np.full(batch, np.inf),
            trust=np.ones(batch, dtype=np.float32),
            reasons=[""] * batch,
        )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("references")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two films of no-flux spinodal decomposition, kappa 1, 3 apart in scaled age."""
    grid = Grid((32, 32), boundary="no_flux")
    start = noise(grid, 0.0, 0.1, [1, 2], torch.float32)
    films = simulate(CahnHilliard(grid), start, 40.0 + 3.0 * np.arange(18), 1e-2, torch.float32)
    path = tmp_path_factory.mktemp("clips") / "others.npy"
    np.save(path, (0.5 * (films + 1.0)).numpy().astype(np.float16))
    return path


def test_the_shipped_protocols_are_those_of_the_paper() -> None:
    assert set(PROTOCOLS) >= {"spinodal-64", "spinodal-256", "grains-64", "grains-256"}
    for protocol in PROTOCOLS.values():
        assert protocol.n_in == 10
        assert protocol.trajectories == 16
        assert protocol.horizons == ((90, 200) if protocol.process == "cahn_hilliard" else (90, 190))
        assert len(protocol.times) == 10 + protocol.horizons[-1]
    assert PROTOCOLS["spinodal-64"].persistence == PROTOCOLS["spinodal-256"].persistence == 0.17
    assert PROTOCOLS["grains-64"].persistence == PROTOCOLS["grains-256"].persistence == 0.25


def test_parameters_and_seeds_are_unseen() -> None:
    seen = set()
    for table in RECIPES.glob("*.csv"):
        with table.open(newline="") as file:
            seen |= {float(row["kappa"]) for row in csv.DictReader(file)}
    assert seen
    seeds = set()
    for protocol in PROTOCOLS.values():
        kappa = protocol.parameters(list(range(16)))["kappa"]
        assert not seen & set(kappa.tolist())
        assert kappa.min() >= 0.5
        assert kappa.max() <= 2.0
        seeds |= {protocol.seed(i) for i in range(16)}
    assert len(seeds) == 16 * len(PROTOCOLS)


def test_fewer_trajectories_are_the_first_ones() -> None:
    protocol = PROTOCOLS["contrast-64"]
    few, many = protocol.parameters([0, 1]), protocol.parameters(list(range(16)))
    assert all((few[name] == many[name][:2]).all() for name in many)
    # Halves of the references must be alike for the seed-to-seed floor: each covers the range of kappa evenly.
    halves = np.log2(many["kappa"]).reshape(2, 8)
    assert np.abs(halves.mean(1)).max() < 0.15


def test_keys_follow_the_physics_only() -> None:
    assert replace(SPINODAL, trajectories=1, persistence=0.5).key == SPINODAL.key
    assert replace(SPINODAL, start=21.0).key != SPINODAL.key
    assert replace(SPINODAL, horizons=(4, 9)).key != SPINODAL.key


@pytest.mark.parametrize(
    "change", [{"process": "x"}, {"horizons": (8, 4)}, {"horizons": ()}, {"spacing": 0.0}, {"trajectories": 0}]
)
def test_bad_protocols_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(InputError, match="Protocol"):
        replace(SPINODAL, **change)


def test_protocols_by_name() -> None:
    assert [p.name for p in protocols_for("grain_growth")] == ["grains-64", "grains-256"]
    assert [p.name for p in protocols_for("grain_growth", ["grains-64"])] == ["grains-64"]
    with pytest.raises(InputError, match=r"--protocol spinodal-64: not one of grains-64, grains-256"):
        protocols_for("grain_growth", ["spinodal-64"])


def test_references_are_the_solution_and_are_resumed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "phasetwin")
    references = SPINODAL.references(tmp_path, 2)
    references.compute()
    assert len(caplog.messages) == 2
    found = references.load([1])[0].field[0]
    problem, initial, times = SPINODAL.case(2).inputs([1])
    assert isinstance(problem, CahnHilliard)
    assert torch.equal(found, simulate(problem, initial, times, 1e-2, torch.float32)[0])
    # Interrupted after the first: only what is missing is computed again, and it is the same.
    kept = references.path(0).stat().st_mtime_ns
    references.path(1).unlink()
    again = SPINODAL.references(tmp_path, 2)
    again.compute()
    assert len(caplog.messages) == 3
    assert references.path(0).stat().st_mtime_ns == kept
    assert torch.equal(again.load([1])[0].field[0], found)


def test_a_damaged_reference_is_named(tmp_path: Path) -> None:
    references = SPINODAL.references(tmp_path, 1)
    references.compute()
    path = references.path(0)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"00\.npz: cannot be read .*; delete it"):
        references.load([0])
    np.savez(path, field=np.zeros((2, 2)))
    with pytest.raises(InputError, match="delete it"):
        references.load([0])


def test_references_of_grains_hold_labels(cache: Path) -> None:
    found = GRAINS.references(cache).load([0, 1])[0]
    assert found.field.shape == (2, 9, 32, 32)
    assert found.grain_id is not None
    assert found.grain_id.dtype == torch.int32
    assert int(found.grain_id.max()) <= 9


def test_persistence_scores_what_it_should(cache: Path) -> None:
    report = evaluate(Persistence("cahn_hilliard"), SPINODAL, folder=cache)
    scores = report.scores
    assert scores.images.rmse.shape == (4, 8)
    assert (scores.images.rmse == scores.persistence.rmse).all()
    assert (np.diff(scores.images.rmse.mean(0)) > 0).all()
    field = SPINODAL.references(cache).load([2])[0].field[0]
    by_hand = 0.5 * (field[7] - field[2]).square().mean().sqrt()
    assert scores.images.rmse[2, 4] == pytest.approx(float(by_hand), rel=1e-5)
    assert (scores.mass_drift == 0).all()
    assert report.rollouts is None
    assert report.hard_enough() is None
    assert case_results(report)["growth_exponents"]["8"]["model"] == pytest.approx(0.0, abs=1e-9)


def test_a_real_forecaster_beats_persistence_everywhere(cache: Path, tmp_path: Path) -> None:
    model = CoarseSolver()
    assert isinstance(model, RolloutModel)
    report = evaluate(model, SPINODAL, folder=cache)
    scores = report.scores
    # The solver restarted from a stored frame at tolerance 0.05: errors of images (half of c's) stay below that.
    assert scores.images.rmse.max() < 0.025
    assert scores.images.ssim.min() > 0.98
    assert (scores.images.rmse.mean(0) < scores.persistence.rmse.mean(0)).all()
    assert scores.mass_drift.max() < 1e-6
    rows = {t.name: t for t in tables(report)}
    for row in rows["physics"].rows:
        if not str(row[1]).startswith("mass drift"):
            assert row[2] < row[4]
    rollouts = report.rollouts
    assert rollouts is not None
    assert rollouts.errors["free_energy"][1] < 0.05
    assert rollouts.counters["the same, reference"] == 0
    assert rollouts.counters["trust, smallest"] == 1.0


def test_everything_is_written(cache: Path, tmp_path: Path) -> None:
    model = CoarseSolver()
    protocol = replace(SPINODAL, persistence=0.9)
    report = evaluate(model, protocol, 2, cache, rollouts=1)
    assert report.rollouts is not None
    assert report.rollouts.trajectories == 1
    assert evaluate(model, protocol, 2, cache, rollouts=0).rollouts is None
    card = write_reports(tmp_path / "out", model, [report], "phasetwin evaluate coarse", model.about).read_text()
    assert "LESS than required" in card
    assert "phasetwin evaluate coarse" in card
    assert "| kappa | 0.25 to 2 |" in card
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names >= {
        "card.md", "results.json", "loss.png", "tiny-spinodal-images.csv", "tiny-spinodal-physics.csv",
        "tiny-spinodal-growth.csv", "tiny-spinodal-cost.csv", "tiny-spinodal-engine.csv", "tiny-spinodal-curves.png",
        "tiny-spinodal-montage.png", "tiny-spinodal-structure-factor.png",
    }  # fmt: skip
    for name in names - {"card.md", "results.json"}:
        assert name in card or name.endswith(".csv")
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    case = results["cases"][0]
    assert case["persistence_rmse"] == pytest.approx(report.persistence())
    with (tmp_path / "out" / "tiny-spinodal-images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["forecast"] for row in rows[:4]] == ["coarse", "persistence", "another seed", "uniform field"]
    assert float(rows[0]["RMSE mean"]) == pytest.approx(report.scores.images.at(slice(4)).rmse.mean(), rel=1e-4)


def test_grains_have_their_own_measures(cache: Path, tmp_path: Path) -> None:
    report = evaluate(Persistence("grain_growth"), GRAINS, folder=cache)
    quantities = [row[1] for row in tables(report)[1].rows]
    assert {"grain count", "mean grain area", "grain areas, Wasserstein-1 / mean area"} <= set(quantities)
    assert not any("mass" in str(q) or "free energy" in str(q) for q in quantities)
    write_reports(tmp_path, Persistence("grain_growth"), [report], "test")
    assert (tmp_path / "tiny-grains-areas.png").exists()


def test_a_model_of_the_other_process_or_shape_is_refused(cache: Path) -> None:
    with pytest.raises(InputError, match="a model of grain_growth"):
        evaluate(Persistence("grain_growth"), SPINODAL, folder=cache)
    with pytest.raises(InputError, match="--trajectories"):
        SPINODAL.forecast_case(0, cache)

    class OneFrame(Persistence):
        def forecast(self, *given: Any) -> torch.Tensor:
            return super().forecast(*given)[:, -1:]

    with pytest.raises(InputError, match=r"a forecast of \(4, 8, 32, 32\)"):
        evaluate(OneFrame("cahn_hilliard"), SPINODAL, folder=cache)


def test_even_extension_solves_the_no_flux_problem() -> None:
    grid = Grid((32, 32), boundary="no_flux")
    start = noise(grid, 0.0, 0.5, [5], torch.float32)
    problem = CahnHilliard(grid)
    ages = np.array([1.0, 10.0, 20.0])
    seen = simulate(problem, start, ages[:1], 1e-3, torch.float32)
    exact = simulate(problem, seen[:, 0], ages[1:] - 1.0, 1e-3, torch.float32)
    model = EvenlyExtended(SolverForecaster("cahn_hilliard", 1e-3))
    found = model.forecast(problem, seen, ages[:1], ages[1:])
    assert found.shape == (1, 2, 32, 32)
    # Two discretisations of one solution, each to 1e-3 of its norm.
    assert float((found - exact).norm() / exact.norm()) < 2e-3
    assert extend(start, grid).shape == (1, 64, 64)
    assert torch.equal(extend(start, grid)[..., :32, :32], start)


def test_clips_are_fitted_and_forecast(clips: Path) -> None:
    report = evaluate_clips(SolverForecaster("cahn_hilliard"), clips, kappa=1.0, age=40.0)
    assert "spacing fitted to the first 10 frames" in report.scores.case.description
    spacing = np.diff(report.scores.case.times)[0]
    # The scan's last ratio is 2^(1/8).
    assert spacing == pytest.approx(3.0, rel=0.1)
    assert report.scores.case.horizons == (8,)
    assert report.scores.images.rmse.mean() < 0.2 * report.scores.persistence.rmse.mean()


def test_the_fit_finds_kappa_too() -> None:
    grid = Grid((24, 24), boundary="periodic")
    problem = clip_problem("cahn_hilliard", grid, 1.0, 1)
    assert isinstance(problem, CahnHilliard)
    films = simulate(
        problem, noise(grid, 0.0, 0.1, [3], torch.float32), 20.0 + 4.0 * np.arange(10), 1e-2, torch.float32
    )
    scales = fit_scales(SolverForecaster("cahn_hilliard"), films, grid, 4.0, None, 20.0)
    assert scales.kappa == pytest.approx(1.0, rel=0.15)
    assert scales.spacing == 4.0


@pytest.mark.parametrize("process", ["cahn_hilliard", "grain_growth"])
def test_the_misfit_is_an_rmse_of_images(process: str) -> None:
    films = torch.from_numpy(np.random.default_rng(0).random((1, 3, 16, 16)))
    found = misfit_of(Persistence(process), films, Grid((16, 16)), 1.0, 1.0, 1.0)
    unit = 0.25 if process == "cahn_hilliard" else 1.0
    squares = [(films[0, b] - films[0, a]).square().mean() for a, b in ((0, 1), (0, 2), (1, 2))]
    assert found == pytest.approx(float(unit * sum(squares) / 3) ** 0.5)


def test_models_that_need_all_frames_take_what_is_given(clips: Path) -> None:
    class NeedsAll(Persistence):
        kind = "gsta"

    case = clip_case(NeedsAll("cahn_hilliard"), clips)
    assert "knows neither frame spacing nor kappa" in case.description
    assert np.diff(case.times)[0] == 1.0


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((30, 32)), "expected, but found"),
        (np.zeros((10, 32, 32)), "more than 10 frames"),
        (np.full((12, 32, 32), -1.0), "scale the clips first"),
        (np.full((12, 32, 32), np.nan), "scale the clips first"),
        (np.array([["a"]]), "numbers"),
    ],
)
def test_bad_clips_are_told_in_one_line(tmp_path: Path, array: np.ndarray, message: str) -> None:
    path = tmp_path / "bad.npy"
    np.save(path, array)
    with pytest.raises(InputError, match=message) as caught:
        read_clips(path)
    assert "\n" not in str(caught.value)


def test_missing_or_pickled_clips_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a \.npy file expected"):
        read_clips(tmp_path / "none.npy")
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"a \.npy file expected"):
        read_clips(tmp_path / "objects.npy")


def run_command(*arguments: str) -> int:
    app = typer.Typer()
    cli.add_commands(app)
    return app(args=list(arguments), standalone_mode=False) or 0


def test_the_command_evaluates_clips(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "phasetwin")
    out = tmp_path / "card"
    arguments = [
        "persistence:cahn_hilliard",
        "--clips",
        str(clips),
        "--spacing",
        "3",
        "--kappa",
        "1",
        "--out",
        str(out),
    ]
    assert run_command(*arguments) == 0
    printed = capsys.readouterr().out
    assert "spacing 3 as given, kappa 1 as given" in caplog.text
    assert "no-flux boundaries by even extension" in (out / "card.md").read_text()
    assert printed.splitlines()[-1] == str(out / "card.md")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["persistence:cahn_hilliard", "--kappa", "1"], "allowed with --clips"),
        (["persistence:cahn_hilliard", "--clips", "x.npy", "--trajectories", "2"], "not allowed with --clips"),
        (["persistence:cahn_hilliard", "--clips", "x.npy", "--rollouts", "2"], "not allowed with --clips"),
        (["persistence:cahn_hilliard", "--clips", "x.npy", "--boundary", "wall"], "--boundary: no_flux or periodic"),
        (["persistence:cahn_hilliard", "--clips", "x.npy", "--spacing", "-1"], "--spacing: a positive number"),
        (["persistence:cahn_hilliard", "--protocol", "grains-64"], "not one of spinodal-64"),
        (["no-such-model"], "no-such-model"),
    ],
)
def test_wrong_options_are_told(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run_command(*arguments)
