"""Whole studies: what they find, that it is verified, that a biased model is caught, that a kill changes nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from wsgiref.util import setup_testing_defaults

import inverse_studies as small
import numpy as np
import optuna
import optuna_dashboard
import pytest
from distributed import Client
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from solvers.errors import InputError
from studies import Study
from studies.inverse.search import runner as runner_module
from studies.inverse.study import claim
from sweeps import Sweep, open_sweep
from sweeps.engines.protocol import Answer, Request
from sweeps.engines.registry import ENGINES
from sweeps.engines.solver import SolverEngine


def journal_of(folder: Path) -> optuna.Study:
    storage = JournalStorage(JournalFileBackend(str(folder / "journal.log")))
    return optuna.load_study(study_name=None, storage=storage)


def counted(folder: Path) -> dict[tuple[int, int], tuple[dict[str, float], list[float]]]:
    """(batch, row) -> parameters and values of the trials that count; each must be there once."""
    found = {}
    for trial in journal_of(folder).get_trials():
        assert trial.state.is_finished()
        if "interrupted" in trial.user_attrs:
            continue
        place = (trial.user_attrs["batch"], trial.user_attrs["row"])
        assert place not in found, "a trial was doubled"
        found[place] = (trial.params, trial.values)
    return found


def outcome(folder: Path) -> list[dict[str, Any]]:
    """best.json without what tells where and in which attempt."""
    points = json.loads((folder / "best.json").read_text())
    return [{k: v for k, v in p.items() if k not in ("store", "trial")} for p in points]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, client: Client) -> Any:
    folder = tmp_path_factory.mktemp("found")
    return Study.from_config(small.study_data(folder)).run(client, progress=False, report=False)


def test_finds_the_target_and_verifies_it(found: Any) -> None:
    assert found.why == "a verified optimum meets every target"
    best = found.best[0]
    # The study's own tolerance of a target, 0.5 %.
    assert best["objectives"][0] <= 5e-3 * small.TARGET
    assert best["verified"] is True
    assert best["met"] is True
    assert found.trials <= 48


def test_what_is_reported_is_what_the_solver_says(found: Any, tmp_path: Path, client: Client) -> None:
    """Solved once more, alone, by an ordinary sweep at the reference tolerance."""
    point = found.best[0]
    data = {
        **small.SWEEP,
        "name": "again",
        "parameters": {**small.SWEEP["parameters"], **point["parameters"]},
        "engine": {"kind": "solver", "tolerance": 5e-4, "dtype": "float64"},
        "output": {"path": str(tmp_path / "again.zarr")},
    }
    Sweep.from_config(data).run(client, progress=False)
    again = float(open_sweep(str(tmp_path / "again.zarr")).interface_density.isel(point=0, time=-1).mean())
    # The study's solution shared its trajectory with the rest of its fan, so its steps ended at other times: the two
    # agree to the tolerance of the solver, 5e-4.
    assert again == pytest.approx(point["qois"]["interface_density"], rel=5e-4)


def test_every_optimum_is_in_a_store_of_the_reference_solver(found: Any) -> None:
    for point in found.best:
        ds = open_sweep(point["store"])
        assert json.loads(ds.attrs["config"])["engine"]["tolerance"] == 5e-4
        row = ds.isel(point=point["row"])
        assert {n: float(row[n]) for n in point["parameters"]} == point["parameters"]


def test_a_candidate_is_solved_with_what_lies_on_its_trajectory(found: Any) -> None:
    verified = json.loads((found.folder / "verified.json").read_text())
    first = [p for p in verified if p["round"] == 1 and p["role"] == "candidate"]
    kappas = [p["parameters"]["kappa"] for p in first]
    # Two candidates are asked for; the better one brings the 20 others of its fan.
    assert len(first) > 20
    assert len(set(kappas)) <= 2
    mobilities = [p["parameters"]["mobility"] for p in first if p["parameters"]["kappa"] == kappas[0]]
    assert max(mobilities) / min(mobilities) > 1.15


def test_the_same_seed_gives_the_same_study(found: Any, tmp_path: Path, client: Client) -> None:
    again = Study.from_config(small.study_data(tmp_path)).run(client, progress=False, report=False)
    assert outcome(again.folder) == outcome(found.folder)
    assert counted(again.folder) == counted(found.folder)


def test_running_again_computes_nothing(found: Any, client: Client) -> None:
    before = outcome(found.folder)
    study = Study.from_config(json.loads((found.folder / "study.json").read_text())["study"])
    again = study.run(client, progress=False, report=False)
    assert (again.rollouts, outcome(found.folder)) == (0, before)


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


POINTS = {
    "proposed, not run": ("evaluate", "before"),
    "run, not recorded": ("_record", "before"),
    "recorded, not used": ("_record", "after"),
    "verification not run": ("_run_level", "before"),
    "verified, not used": ("_run_level", "after"),
}


@pytest.mark.parametrize(("when", "call"), [*((when, 1) for when in POINTS), ("run, not recorded", 2)])
def test_killed_and_run_again(
    when: str, call: int, found: Any, tmp_path: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, side = POINTS[when]
    original, calls = getattr(runner_module.StudyRunner, name), [0]

    def dying(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if side == "before" and calls[0] == call:
            raise Killed
        result = original(*args, **kwargs)
        if side == "after" and calls[0] == call:
            raise Killed
        return result

    study = Study.from_config(small.study_data(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(runner_module.StudyRunner, name, dying)
        try:
            study.run(client, progress=False, report=False)
        except Killed:
            pass
        else:
            assert calls[0] < call  # there was no such moment: nothing to resume
    result = study.run(client, progress=False, report=False)
    assert outcome(result.folder) == outcome(found.folder)
    assert counted(result.folder) == counted(found.folder)


def test_half_a_line_in_the_journal(found: Any, tmp_path: Path, client: Client) -> None:
    """A writer killed inside a write leaves half a line, and a lock."""
    study = Study.from_config(small.study_data(tmp_path))
    study.run(client, progress=False, report=False)
    journal = study.folder / "journal.log"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[: len(lines) // 2]) + lines[len(lines) // 2][:10])
    (study.folder / "journal.log.lock").symlink_to(journal)
    result = study.run(client, progress=False, report=False)
    assert outcome(result.folder) == outcome(found.folder)
    assert counted(result.folder) == counted(found.folder)


class Biased:
    """A test double of a learned engine: the solver, but every interface density is 8 % too high, said with
    confidence.
    """

    name = "biased double"

    def __init__(self, only_below: float = np.inf) -> None:
        self._solver = SolverEngine(1e-2, "float32")
        self._only_below = only_below

    def answer(self, request: Request) -> Answer:
        answer = self._solver.answer(request)
        kappa = request.samples["kappa"].numpy()[:, None]
        answer.values["interface_density"] *= np.where(kappa < self._only_below, 1.08, 1.0)
        bands = {f"{n}_{end}": v * f for n, v in answer.values.items() for end, f in (("low", 0.99), ("high", 1.01))}
        shape = answer.finite.shape
        return replace(
            answer,
            values=answer.values | bands,
            modelled=np.ones(shape, dtype=bool),
            trust=np.ones(shape[0], dtype=np.float32),
            reasons=[""] * shape[0],
        )


@pytest.mark.parametrize("only_below", [np.inf, 0.9], ids=["everywhere", "in a part of the box"])
def test_a_planted_bias_is_caught_and_recovered_from(
    only_below: float, tmp_path: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        ENGINES.loaded(), "surrogate", replace(ENGINES["surrogate"], build=lambda _config: Biased(only_below))
    )
    changes = {"engine": {"kind": "surrogate", "model": "ch-jump"}}
    data = small.study_data(tmp_path, changes=changes, trials=96)
    result = Study.from_config(data).run(client, progress=False, report=False)
    best = result.best[0]
    assert result.why == "a verified optimum meets every target"
    assert best["objectives"][0] <= 5e-3 * small.TARGET
    verified = json.loads((result.folder / "verified.json").read_text())
    # Caught: the first candidates looked right to the double and were not.
    first = [p for p in verified if p["round"] == 1 and p["role"] == "candidate"]
    assert any(abs(p["predicted"]["interface_density"] - small.TARGET) < 5e-3 * small.TARGET for p in verified)
    missed = [p for p in first if abs(p["qois"]["interface_density"] - small.TARGET) > 0.03 * small.TARGET]
    if np.isinf(only_below):
        assert missed
        # The double says 8 % more than there is, so the right answer lies where it says 8 % too much.
        assert best["predicted"]["interface_density"] == pytest.approx(1.08 * small.TARGET, rel=0.01)
        assert best["within_band"] is False


def test_warm_start_needs_less(found: Any, tmp_path: Path, client: Client) -> None:
    grid = {"mobility": {"logspace": [0.5, 2.0, 6]}, "kappa": {"linspace": [0.5, 1.5, 6]}, "composition": 0.0}
    store = str(tmp_path / "grid.zarr")
    Sweep.from_config({**small.SWEEP, "name": "grid", "parameters": grid, "output": {"path": store}}).run(
        client, progress=False
    )
    data = small.study_data(tmp_path, warm_start=[store], verify={"top": 2, "random": 2, "equivalents": 0})
    warm = Study.from_config(data).run(client, progress=False, report=False)
    assert warm.warm == 36
    assert warm.best[0]["met"]
    assert 2 * warm.rollouts <= found.rollouts
    sources = {t.user_attrs["source"] for t in journal_of(warm.folder).get_trials()}
    assert "warm start" in sources


def test_a_store_that_has_it_is_not_computed_again(found: Any, tmp_path: Path, client: Client) -> None:
    """Another study of the same points takes them from the first one's stores, found by key."""
    data = small.study_data(tmp_path, warm_start=[str(p) for p in sorted(found.folder.glob("verified/*.zarr"))])
    again = Study.from_config(data).run(client, progress=False, report=False)
    assert again.counts["verified"] == 0
    assert outcome(again.folder) == outcome(found.folder)


def test_a_target_over_a_window(tmp_path: Path, client: Client) -> None:
    """The mean between two times, and how fast it falls there; both as an ordinary reading of the store has them."""
    fall = {"qoi": "interface_density", "window": [20, 40], "reduce": "slope", "max": -8e-4}
    wanted = {"qoi": "interface_density", "window": [20, 40], "target": 0.2}
    data = small.study_data(tmp_path, objectives=[wanted], constraints=[fall])
    result = Study.from_config(data).run(client, progress=False)
    point = result.best[0]
    assert point["met"]
    assert point["feasible"]
    curve = open_sweep(point["store"]).interface_density.isel(point=point["row"]).sel(time=[20, 40]).values
    means, slopes = curve.mean(axis=1), (curve[:, 1] - curve[:, 0]) / 20
    found = {name.split("@")[1].split("(")[0]: value for name, value in point["qois"].items()}
    # Means over starts in another order: equal to rounding.
    assert found["mean"] == pytest.approx(means.mean(), rel=1e-12)
    assert found["slope"] == pytest.approx(slopes.mean(), rel=1e-12)
    assert slopes.mean() <= -8e-4
    assert abs(means.mean() - 0.2) <= 5e-3 * 0.2
    assert result.report is not None
    assert "@mean(20..40)" in result.report.read_text()


def test_the_journal_is_an_optuna_study(found: Any) -> None:
    """What optuna-dashboard asks of a journal: it opens, names its objectives, and draws."""
    journal = optuna.load_study(
        study_name=None, storage=JournalStorage(JournalFileBackend(str(found.folder / "journal.log")))
    )
    assert journal.metric_names == ["interface_density@40"]
    assert len(journal.trials) == found.trials
    frame = journal.trials_dataframe()
    assert {"params_mobility", "params_kappa", "user_attrs_source", "state"} <= set(frame.columns)
    assert journal.best_value == pytest.approx(frame["value"].min() if "value" in frame else frame.iloc[:, 1].min())


def test_the_dashboard_opens_the_journal(found: Any) -> None:
    """What ``optuna-dashboard journal.log`` serves to the browser: the study with all its trials."""
    app = optuna_dashboard.wsgi(JournalStorage(JournalFileBackend(str(found.folder / "journal.log"))))
    (listed,) = _get(app, "/api/studies")["study_summaries"]
    assert listed["study_name"] == "target"
    trials = _get(app, f"/api/studies/{listed['study_id']}", after="0")["trials"]
    assert len(trials) == found.trials
    # As the study's own tests read them from the journal.
    values = {t["number"]: t.get("values") for t in trials}
    assert values == {t.number: t.values for t in journal_of(found.folder).get_trials()}


def _get(app: Any, path: str, **query: str) -> Any:
    """The JSON answer of a WSGI application."""
    asked = {"PATH_INFO": path, "QUERY_STRING": urlencode(query), "CONTENT_TYPE": "application/json"}
    setup_testing_defaults(asked)
    said: list[str] = []
    body = b"".join(app(asked, lambda status, *_: said.append(status)))
    assert said == ["200 OK"], body
    return json.loads(body)


def test_no_trial_meets_a_constraint(tmp_path: Path, client: Client) -> None:
    data = small.study_data(
        tmp_path, trials=8, constraints=[{"qoi": "domain_size", "at": 40, "min": 15.9}], verify={"top": 1, "random": 0}
    )
    with pytest.raises(InputError, match=r"^constraints\.0: found no trial of 8 that meets it .* allowed min 15\.9"):
        Study.from_config(data).run(client, progress=False, report=False)


def test_another_study_is_not_overwritten(found: Any, client: Client) -> None:
    stored = json.loads((found.folder / "study.json").read_text())["study"]
    stored["objectives"][0]["target"] = 0.19
    before = (found.folder / "best.json").read_bytes()
    with pytest.raises(InputError, match=r"holds another study \(objectives"):
        Study.from_config(stored).run(client, progress=False, report=False)
    assert (found.folder / "best.json").read_bytes() == before


def test_killed_before_the_study_was_written(tmp_path: Path) -> None:
    """Its description still under the temporary name, and nothing else; anything more is somebody's."""
    study = Study.from_config(small.study_data(tmp_path))
    study.folder.mkdir()
    (study.folder / ".study.json.partial").write_text('{"stu')
    claim(study.folder, study.config, study.sweep)
    assert [p.name for p in study.folder.iterdir()] == ["study.json"]
    (study.folder / "study.json").rename(study.folder / "thesis.json")
    with pytest.raises(InputError, match="other things are there"):
        claim(study.folder, study.config, study.sweep)


def test_variables_in_another_order_are_another_study(found: Any, client: Client) -> None:
    """The samplers' dimensions are in the order of the file: the same seed would ask for other points."""
    stored = json.loads((found.folder / "study.json").read_text())["study"]
    stored["variables"] = dict(reversed(stored["variables"].items()))
    before = {p.name: p.read_bytes() for p in found.folder.iterdir() if p.is_file()}
    with pytest.raises(InputError, match=r"another study \(variables in the order mobility, kappa there, kappa, mob"):
        Study.from_config(stored).run(client, progress=False, report=False)
    assert {p.name: p.read_bytes() for p in found.folder.iterdir() if p.is_file()} == before
