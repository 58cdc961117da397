"""Fidelity levels: an exploring emulator, points outside its domain, samplers resumed after a kill."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import inverse_studies as small
import numpy as np
import optuna
import pytest
from distributed import Client

import phasetwin
from solvers.registries import resolve
from studies import Study
from studies.inverse.samplers.registry import SAMPLERS, Proposal, TrialWindow
from studies.inverse.search import runner as runner_module
from studies.inverse.search.shared_trajectories import POINTS, along_trajectory, on_trajectory
from studies.inverse.space import SearchSpace
from studies.inverse.verification.sensitivity import given_data, importances, of_sweep
from sweeps import Sweep

KINDS = ("tpe", "gp", "nsga2", "cmaes", "qmc", "random", "grid")


def test_explores_on_an_emulator_that_it_learns(tmp_path: Path, client: Client) -> None:
    data = small.study_data(tmp_path, explore={"learn": 8}, trials=64)
    result = Study.from_config(data).run(client, progress=False, report=False)
    assert result.best[0]["met"]
    assert (result.folder / "emulator" / "emulator.json").exists()
    # Eight trajectories of the design, candidates and checks; none of the trials.
    assert result.rollouts < result.trials
    journal = (result.folder / "journal.log").read_text()
    assert '"engine":"emulator"' in journal.replace(" ", "") or "emulator" in journal


def coarse_emulator(folder: Path, client: Client) -> dict[str, str]:
    """An engine that knows kappa from 0.9 on."""
    store = str(folder / "known.zarr")
    parameters = {"mobility": {"logspace": [0.5, 2.0, 4]}, "kappa": {"linspace": [0.9, 1.5, 6]}, "composition": 0.0}
    known = {**small.SWEEP, "parameters": parameters, "output": {"path": store, "retain": "qoi"}}
    Sweep.from_config(known).run(client, progress=False)
    assert phasetwin.main(["emulate", store, "--out", str(folder / "emulator")]) == 0
    return {"kind": "emulator", "model": str(folder / "emulator")}


@pytest.mark.parametrize("outside", ["solver", "infeasible"])
def test_outside_the_domain(outside: str, tmp_path: Path, client: Client) -> None:
    """It says nothing of 0.5: the solver does, or the trial is infeasible."""
    engine = coarse_emulator(tmp_path, client)
    data = small.study_data(tmp_path, changes={"engine": engine}, outside=outside, trials=24, stop="budget")
    study = Study.from_config(data)
    result = study.run(client, progress=False, report=False)
    solved = sorted((result.folder / "batches").glob("*-solver.zarr"))
    assert bool(solved) == (outside == "solver")
    assert all(p["verified"] for p in result.best)
    if outside == "infeasible":
        assert all(p["parameters"]["kappa"] >= 0.9 - 1e-9 for p in result.best)


def test_an_optimum_outside_the_domain_is_found_by_the_solver(tmp_path: Path, client: Client) -> None:
    """Interface densities of 0.2 take a kappa below 0.6 (0.171 at most from 0.9 on)."""
    engine = coarse_emulator(tmp_path, client)
    wanted = [{"qoi": "interface_density", "at": 40, "target": 0.2, "tolerance": 0.02}]
    data = small.study_data(tmp_path, changes={"engine": engine}, objectives=wanted, trials=160)
    best = Study.from_config(data).run(client, progress=False, report=False).best[0]
    assert best["met"]
    assert best["verified"]
    assert best["parameters"]["kappa"] < 0.9


@pytest.mark.parametrize("kind", ["tpe", "nsga2", "cmaes"])  # those that leave something with a trial, and the default
def test_a_killed_study_asks_the_same(kind: str, tmp_path: Path, client: Client) -> None:
    """Runs, stays in the box, and after a kill between two batches asks what it would have asked."""
    changes: dict[str, Any] = {"sampler": {"kind": kind, "seed": 3, "refine": 0}, "trials": 8, "batch": 4}
    changes |= {"objectives": [{"qoi": "interface_density", "direction": "minimize"}], "stop": "budget"}
    changes["verify"] = {"top": 1, "random": 0}
    whole = Study.from_config(small.study_data(tmp_path, output="whole", **changes)).run(
        client, progress=False, report=False
    )
    points = np.array([[p["parameters"][n] for n in ("mobility", "kappa")] for p in whole.best])
    assert ((points >= [0.5, 0.5]) & (points <= [2.0, 1.5])).all()

    class Killed(BaseException):
        pass

    study, calls = Study.from_config(small.study_data(tmp_path, output="killed", **changes)), [0]
    original = runner_module.StudyRunner._record

    def dying(self: Any, *args: Any) -> None:
        calls[0] += 1
        if calls[0] == 2:
            raise Killed
        original(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner_module.StudyRunner, "_record", dying)
        with pytest.raises(Killed):
            study.run(client, progress=False, report=False)
    again = study.run(client, progress=False, report=False)
    names = ("parameters", "qois", "objectives")
    assert [{n: p[n] for n in names} for p in again.best] == [{n: p[n] for n in names} for p in whole.best]


@pytest.mark.parametrize("mobility", [0.5, 0.52, 1.0, 1.9, 2.0])
def test_points_on_a_trajectory_stay_in_the_box(mobility: float, tmp_path: Path) -> None:
    study = Study.from_config(small.study_data(tmp_path))
    space = SearchSpace.of(study.config, study.sweep)
    own = np.array([[mobility, 0.7]])
    points = along_trajectory(space, own)[0]
    np.testing.assert_array_equal(points[0], own[0])
    assert len(np.unique(points[:, 0])) == POINTS
    assert ((points >= space.low) & (points <= space.high)).all()
    assert (points[:, 1] == 0.7).all()
    assert on_trajectory(space, points, own[0]).all()
    assert not on_trajectory(space, np.array([[mobility, 0.71]]), own[0]).any()


def test_two_variables_that_scale_time_need_no_points_beside(tmp_path: Path) -> None:
    ends = {"low": 0.5, "high": 2.0}
    study = Study.from_config(small.study_data(tmp_path, variables={"mobility": ends, "time": {"low": 20, "high": 40}}))
    space = SearchSpace.of(study.config, study.sweep)
    assert along_trajectory(space, np.array([[1.0, 30.0]])).shape == (1, 1, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_proposals_depend_on_what_was_told_alone(kind: str, tmp_path: Path) -> None:
    study = Study.from_config(small.study_data(tmp_path, sampler={"kind": kind, "seed": 5}, batch=4))
    space = SearchSpace.of(study.config, study.sweep)
    rng = np.random.default_rng(0)
    values = space.values(rng.random((20, 2)))
    trials = TrialWindow(values, rng.random((20, 1)), {}, [{}] * 20, batch=7, proposed=20, study=study.config)
    sampler = resolve(SAMPLERS.get(kind).sampler)
    found = [sampler(space, 11, trials, 4) for _ in range(2)]
    one, two = (p.values if isinstance(p, Proposal) else p for p in found)
    np.testing.assert_array_equal(one, two)
    assert one.shape == (4, 2)
    assert ((one >= space.low) & (one <= space.high)).all()
    assert sum(SAMPLERS.get(kind).window) <= 500


def test_several_objectives(tmp_path: Path, client: Client) -> None:
    data = small.study_data(
        tmp_path,
        variables={"kappa": {"low": 0.5, "high": 1.5}, "composition": {"low": 0.0, "high": 0.3}},
        objectives=[{"qoi": n, "direction": "minimize"} for n in ("domain_size", "interface_density")],
        changes={"parameters": {"mobility": 2.0}},
        sampler={"kind": "nsga2", "seed": 0},
        trials=24,
        verify={"top": 3, "random": 1, "rounds": 2},
    )
    result = Study.from_config(data).run(client, progress=False)
    front = np.array([p["objectives"] for p in result.best])
    assert len(front) >= 2
    for a in front:  # none dominates another
        assert not ((front <= a).all(1) & (front < a).any(1)).any()
    assert {p.name for p in (result.folder / "report").iterdir()} >= {"index.html", "front.png", "parity.png"}


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], client: Client) -> None:
    import yaml

    path = tmp_path / "study.yaml"
    address = client.scheduler.address  # type: ignore[union-attr]
    path.write_text(yaml.safe_dump(small.study_data(tmp_path, verify={"top": 2, "random": 2, "equivalents": 2})))
    # Workers as threads are not reached from a second client: the study starts a worker of its own.
    assert address.startswith("inproc")
    assert phasetwin.main(["optimize", str(path), "--set", "changes.cluster={workers: 1}"]) == 0
    shown = capsys.readouterr().out
    assert "a verified optimum meets every target" in shown
    assert "(verified)" in shown
    page = (tmp_path / "study" / "report" / "index.html").read_text()
    assert "Verified optima" in page
    assert "data:image/png;base64," in page
    best = json.loads((tmp_path / "study" / "best.json").read_text())
    assert list(best[0])[:5] == ["parameters", "qois", "objectives", "verified", "within_band"]
    equivalents = json.loads((tmp_path / "study" / "equivalents.json").read_text())
    assert "mobility acts as time does" in equivalents["statement"]
    assert len(equivalents["verified"]) == 2


def test_sensitivity_of_a_finished_sweep(tmp_path: Path, client: Client) -> None:
    store = str(tmp_path / "sobol.zarr")
    parameters = {"mobility": {"low": 0.5, "high": 2.0}, "kappa": {"low": 0.9, "high": 1.0}, "composition": 0.0}
    design = {"sampler": "sobol", "n": 64}
    data = {**small.SWEEP, "parameters": parameters, "design": design, "output": {"path": store, "retain": "qoi"}}
    Sweep.from_config({**data, "realizations": {"count": 1}}).run(client, progress=False)
    found = of_sweep(store, "free_energy")
    assert found is not None
    assert found.names == ("mobility", "kappa")
    # Mobility varies by a factor of four, kappa by a tenth.
    assert found.delta[0] > found.delta[1]
    assert found.first[0] > found.first[1]


@pytest.mark.parametrize("points", range(24, 96, 8))
def test_sensitivity_of_any_number_of_points(points: int) -> None:
    values = np.random.default_rng(points).random((points, 2))
    found = given_data("q", ("a", "b"), values, values[:, 0] ** 2)
    assert found is not None
    assert found.pawn[0] > found.pawn[1]


def test_importances_ask_what_makes_an_objective_good() -> None:
    """b alone makes the second objective high, which is wanted; a alone makes it low."""
    study = optuna.create_study(directions=["minimize", "maximize"], sampler=optuna.samplers.RandomSampler(seed=0))

    def objectives(trial: optuna.Trial) -> tuple[float, float]:
        a, b = trial.suggest_float("a", 0, 1), trial.suggest_float("b", 0, 1)
        return a, max(0.0, b - 0.8) - max(0.0, a - 0.8)

    study.optimize(objectives, n_trials=120)
    first, second = importances(study)
    assert first["a"] > first["b"]
    assert second["b"] > second["a"]


def test_sensitivity_leaves_no_trace() -> None:
    import warnings

    rng = np.random.default_rng(0)
    values = rng.random((64, 2))
    form = warnings.formatwarning
    np.random.seed(3)
    before = np.random.get_state()[1].copy()
    found = given_data("q", ("a", "b"), values, values[:, 0])
    assert found is not None
    assert warnings.formatwarning is form
    assert (np.random.get_state()[1] == before).all()
