"""Error against cost: envelopes, decisions, the files that keep rows, a small run, and the command."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from phasetwin import main
from solvers import CahnHilliard, Frames, Grid
from surrogate.evaluation.frontier import bench, choice, rows
from surrogate.evaluation.frontier.bench import Lineup, persisted, references, run, seed_floor, truth_frames
from surrogate.evaluation.frontier.candidates import model_candidates
from surrogate.evaluation.frontier.cases import CASES, FrontierCase, chosen_cases, quick_case
from surrogate.evaluation.frontier.choice import auto_choice, decide, ensure_table
from surrogate.evaluation.frontier.curves import cost_at, envelope, speed_ups
from surrogate.evaluation.frontier.report import row_table, write_report
from surrogate.evaluation.frontier.rows import Row, RowFile, row_of
from surrogate.evaluation.statistics import field_errors

torch.set_num_threads(1)
GRAIN_GROWTH = "grain_growth"
TINY = FrontierCase("tiny", GRAIN_GROWTH, 32, 2, 60.0, 1e-2)


def row(kind: str = "solver", error: float = 0.01, ms: float = 10.0, **others: object) -> Row:
    plain = {
        "key": f"{kind}{error}{ms}{others}",
        "case": "grains-64",
        "process": GRAIN_GROWTH,
        "cells": 64,
        "trajectories": 8,
        "contrast": 0.0,
        "composition": 0.0,
        "candidate": kind,
        "kind": kind,
        "model": "gg-jump" if kind == "model" else "",
        "tolerance": 0.1 if kind == "solver" else None,
        "stride": 1.0 if kind == "model" else None,
        "field_error": 10 * error,
        "qoi_error": error,
        "ms": ms,
    }
    return Row(**{**plain, **others})


SOLVER = [row(error=0.04, ms=5.0, tolerance=0.5), row(error=0.01, ms=10.0), row(error=0.001, ms=40.0, tolerance=0.01)]
SIZE = (64, 64)


def test_envelope_keeps_what_nothing_beats():
    points = [(0.1, 1.0), (0.01, 4.0), (0.02, 8.0), (0.001, 16.0), (math.nan, 0.5), (0.0, 0.1)]
    assert envelope(points) == [(0.1, 1.0), (0.01, 4.0), (0.001, 16.0)]
    assert envelope([]) == []


def test_costs_follow_a_power_law_and_end_where_the_points_do():
    points = [(error, error**-0.5) for error in (0.1, 0.01, 0.0001)]
    assert cost_at(points, 0.001) == pytest.approx(0.001**-0.5)
    assert cost_at(points, 0.5) == pytest.approx(0.1**-0.5)  # the cheapest setting, not a cheaper one
    assert cost_at(points, 0.00009) is None
    assert cost_at([], 0.1) is None


def test_speed_up_says_who_does_not_reach_an_error():
    found = speed_ups([*SOLVER, row("model", 0.03, 2.0)])
    at = {(item.measure, item.error): item for item in found}
    assert at["qoi", 0.05].ratio == pytest.approx(2.5)
    assert at["qoi", 0.02].ratio is None
    assert at["qoi", 0.02].text() == "not reached by the model"
    own = next(item for item in found if item.own and item.measure == "qoi")
    assert own.error == 0.03
    assert own.ratio == pytest.approx(cost_at([(0.04, 5.0), (0.01, 10.0)], 0.03) / 2.0)
    assert speed_ups(SOLVER) == []


def test_the_cheapest_that_meets_the_tolerance_is_chosen():
    rows = [*SOLVER, row("model", 0.015, 2.0)]
    found = decide(rows, GRAIN_GROWTH, SIZE, 0.02)
    assert (found.engine, found.model, found.stride, found.solver_tolerance) == ("gg-jump", "gg-jump", 1.0, 0.1)
    assert found.reason.startswith("gg-jump: 2 ms a trajectory at a QoI error of 0.015; the solver takes 10 ms")
    json.dumps(found.measured, allow_nan=False)
    assert decide(rows, GRAIN_GROWTH, SIZE, 0.02, kind="field").model is None


def test_a_model_that_misses_is_named_with_its_error():
    found = decide([*SOLVER, row("model", 0.034, 2.0)], GRAIN_GROWTH, SIZE, 0.02)
    assert (found.engine, found.model, found.solver_tolerance) == ("solver", None, 0.1)
    assert (
        "solver: 10 ms a trajectory at a QoI error of 0.01 (tolerance 0.1); gg-jump misses 0.02 (0.034)" in found.reason
    )


def test_a_model_that_is_dearer_is_not_chosen():
    found = decide([*SOLVER, row("model", 0.015, 20.0)], GRAIN_GROWTH, SIZE, 0.02)
    assert found.model is None
    assert "gg-jump takes 20 ms" in found.reason


def test_nothing_is_extrapolated():
    found = decide([*SOLVER, row("model", 0.015, 2.0)], GRAIN_GROWTH, SIZE, 1e-4)
    assert (found.model, found.solver_tolerance) == (None, 1e-4)
    assert "the solver misses 0.0001 (0.001)" in found.reason
    # Failed runs meet no tolerance.
    broken = [row(error=math.nan, ms=1.0), row("model", math.inf, 1.0)]
    assert decide(broken, GRAIN_GROWTH, SIZE, 0.5).solver_tolerance == 0.5


def test_the_nearest_size_and_the_right_mobility_decide():
    large = [replace(r, key=r.key + "l", case="grains-256", cells=256, ms=20 * r.ms) for r in SOLVER]
    rows = [*SOLVER, *large, row("model", 0.001, 1.0), row("model", 0.001, 999.0, case="grains-256", cells=256)]
    assert decide(rows, GRAIN_GROWTH, (100, 100), 0.02).model == "gg-jump"
    assert decide(rows, GRAIN_GROWTH, (512, 200), 0.02).model is None
    assert "nothing was measured" in decide(rows, "cahn_hilliard", SIZE, 0.02).reason
    separation = [replace(r, process="cahn_hilliard") for r in rows]
    assert "nothing was measured" in decide(separation, "cahn_hilliard", SIZE, 0.02, contrast=0.5).reason
    assert decide(separation, "cahn_hilliard", SIZE, 0.02, models=["other"]).model is None
    assert decide(separation, "cahn_hilliard", SIZE, 0.02, strides=[0.5]).model is None


def test_more_trajectories_count_before_fewer():
    rows = [row(error=0.01), row("model", 0.015, 2.0), row(error=0.01, trajectories=4), row("model", 0.5, 2.0)]
    quick = replace(rows[3], trajectories=4)
    assert decide([*rows[:3], quick], GRAIN_GROWTH, SIZE, 0.02).model == "gg-jump"


def test_rows_survive_the_file(tmp_path: Path):
    keep = RowFile(tmp_path / "deep" / "rows.json")
    kept = [row(ms=math.nan, qois={"free_energy": (0.1, math.nan)}), row("model")]
    keep.add(kept, ("grains-64", 8))
    again = RowFile(keep.path)
    assert list(again.rows) == [r.key for r in kept]
    assert again.rows[kept[1].key] == kept[1]
    assert math.isnan(again.rows[kept[0].key].ms)
    assert again.complete == {("grains-64", 8)}
    assert len(again.complete_rows()) == 2
    assert [p.name for p in keep.path.parent.iterdir()] == ["rows.json"]
    assert row_table(kept).csv().splitlines()[0].startswith("case,process,cells")
    assert row_of(kept[1].as_dict()) == kept[1]


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"edition": 0}', '{"edition": 1, "rows": [{}]}'])
def test_a_damaged_table_counts_as_empty(tmp_path: Path, content: str):
    path = tmp_path / "rows.json"
    path.write_text(content)
    keep = RowFile(path)
    assert not keep.rows
    assert not keep.complete


def test_the_machines_table_is_measured_once_and_again_when_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
):
    caplog.set_level("INFO", "phasetwin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    calls = []

    def measure(cases: list[FrontierCase], lineup: Lineup, keep: RowFile, *args: object, **options: object) -> None:
        calls.append([case.name for case in cases])
        keep.add(SOLVER, (cases[0].name, cases[0].trajectories))

    monkeypatch.setattr(bench, "run", measure)
    table = ensure_table(GRAIN_GROWTH)
    assert table.path.parent == tmp_path / "phasetwin"
    assert len(caplog.messages) == 1
    ensure_table(GRAIN_GROWTH)
    assert calls == [["grains-64"]]
    table.path.write_text("{")
    ensure_table(GRAIN_GROWTH)
    ensure_table("cahn_hilliard", contrast=0.3)
    assert calls == [["grains-64"], ["grains-64"], ["contrast-64"]]


def test_auto_choice_reads_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    rows.machine_table().add([*SOLVER, row("model", 0.015, 2.0), row("model", 0.01, 1.0, stride=2.0)], ("grains-64", 8))
    monkeypatch.setattr(choice, "usable_models", lambda *_: (["gg-jump"], ["gg-other has no calibrated bands"]))
    found = auto_choice(GRAIN_GROWTH, SIZE, contrast=0.0, tolerance=0.02)
    assert (found.model, found.stride) == ("gg-jump", 1.0)
    assert found.reason.endswith("gg-other has no calibrated bands")
    assert auto_choice(GRAIN_GROWTH, SIZE, contrast=0.0, tolerance=0.02, of="fields").model is None
    monkeypatch.setattr(choice, "usable_models", lambda *_: ([], []))
    assert "no model of grain_growth ships" in auto_choice(GRAIN_GROWTH, SIZE, contrast=0.0, tolerance=0.02).reason


def test_usable_models_are_calibrated_and_take_the_grid(monkeypatch: pytest.MonkeyPatch):
    about = {"process": GRAIN_GROWTH, "kind": "jump", "settings": {"patch": 4, "kernel": 3}}
    monkeypatch.setattr(choice, "shipped", lambda: ["gg-jump"])
    monkeypatch.setattr(choice, "read_about", lambda _: about)
    assert choice.usable_models(GRAIN_GROWTH, SIZE) == ([], ["gg-jump has no calibrated bands"])
    about["calibration"] = "there"
    assert choice.usable_models(GRAIN_GROWTH, SIZE) == (["gg-jump"], [])
    assert choice.usable_models(GRAIN_GROWTH, (63, 63)) == ([], ["gg-jump does not take 63 x 63 cells"])
    assert choice.usable_models("cahn_hilliard", SIZE) == ([], [])


def test_choosing_needs_no_torch():
    modules = "surrogate.evaluation.frontier.choice, surrogate.evaluation.frontier.cli"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_cases_are_fixed_and_halves_share_parameters():
    for case in CASES.values():
        kappa, half = case.kappa(), case.trajectories // 2
        assert len(kappa) == case.trajectories
        assert np.array_equal(kappa[:half], kappa[half : 2 * half])
        assert len({case.seed(i) for i in range(case.trajectories)}) == case.trajectories
    assert {case.cells for case in chosen_cases(quick=True)} == {64}
    assert quick_case("cahn_hilliard", 0.5).name == "contrast-64"


def test_a_uniform_field_has_an_error_of_one():
    problem = CahnHilliard(Grid((8, 8)))
    truth = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1)) + 0.3
    flat = truth.mean((2, 3), keepdim=True).expand_as(truth)
    assert field_errors(problem, flat, truth) == pytest.approx(np.ones((2, 3)), abs=1e-6)
    assert field_errors(problem, truth, truth).max() == 0.0


def test_persistence_keeps_the_first_separated_frame():
    problem = CahnHilliard(Grid((4, 4)))
    stripes = torch.ones(4, 4)
    stripes[:2] = -1.0
    field = torch.stack([0.1 * stripes, 0.8 * stripes, stripes])[None]
    still = persisted(problem, Frames(field, torch.tensor([[3.0, 2.0, 1.0]])), np.array([1.0, 2.0, 3.0]))
    assert torch.equal(still.field[0], field[0, [0, 1, 1]])
    assert still.free_energy.tolist() == [[3.0, 2.0, 2.0]]


def test_the_floor_compares_halves():
    values = {"a": np.array([[1.0], [2.0], [1.1], [2.2]]), "b": np.ones((4, 1))}
    floor = seed_floor(values)
    assert floor is not None
    assert floor.qoi_worst == "a"
    assert floor.qoi_error == pytest.approx(0.1)
    assert seed_floor({"a": np.ones((1, 2))}) is None


def test_strides_end_at_the_reach_of_the_network():
    from surrogate import load_surrogate

    model = load_surrogate("gg-jump")
    found = {c.stride: c.identity["schedule"]["lengths"] for c in model_candidates("gg-jump", model)}
    plain = model.schedule.lengths
    assert found[1.0] == plain
    assert found[0.5] == tuple(0.5 * length for length in plain)
    assert all(length <= model.settings.reach for lengths in found.values() for length in lengths)
    assert len(set(found.values())) == len(found)
    assert model.schedule.lengths == plain


def test_a_small_run_resumes_and_is_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    lineup = Lineup((0.3, 0.02), (), (1.0,), ["gg-jump"])
    keep = RowFile(tmp_path / "frontier.json")
    result = run([TINY], lineup, keep, tmp_path / "truth", rounds=1)
    by_name = {r.candidate: r for r in result.rows}
    assert list(by_name) == ["solver 0.3 float32", "gg-jump", "emulator", "persistence", "seed to seed"]
    assert [item[1] for item in result.skipped] == ["solver 0.02 float32"]
    solver, model = by_name["solver 0.3 float32"], by_name["gg-jump"]
    assert 0 < solver.field_error < model.field_error < by_name["persistence"].field_error
    assert model.trust == 1.0
    emulator = by_name["emulator"]
    assert 0 < emulator.ms < solver.ms
    assert emulator.trust == 1.0
    # It knows the mean over starts: no field, and an error about as large as that of another start.
    assert math.isnan(emulator.field_error)
    assert 0.2 < emulator.qoi_error / by_name["seed to seed"].qoi_error < 2.0
    assert keep.complete == {("tiny", 2)}

    def again(*_: object) -> Row:
        raise AssertionError("measured again")

    monkeypatch.setattr(bench.CaseBench, "measured", again)
    resumed = run([TINY], lineup, RowFile(keep.path), tmp_path / "truth", rounds=1)
    assert row_table(resumed.rows).csv() == row_table(result.rows).csv()
    path = write_report(tmp_path / "out", result, "phasetwin bench frontier")
    text = path.read_text()
    assert "Made by `phasetwin bench frontier`" in text
    assert "## Not measured" in text
    assert {p.suffix for p in path.parent.iterdir()} == {".md", ".csv", ".json", ".png"}


def test_a_damaged_truth_is_computed_again(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO", "phasetwin")
    case = replace(TINY, end=4.0, reference=0.1, trajectories=1)
    first = truth_frames(case, tmp_path)
    path = references(case, tmp_path).path(0)
    assert torch.equal(truth_frames(case, tmp_path).field, first.field)
    assert len(caplog.messages) == 1
    path.write_bytes(path.read_bytes()[:100])
    assert torch.equal(truth_frames(case, tmp_path).field, first.field)
    assert "damaged" in caplog.messages[1]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--process", "boiling"], "found 'boiling', allowed cahn_hilliard or grain_growth"),
        (["--case", "grains-65"], "found 'grains-65', allowed here"),
        (["--quick", "--case", "grains-512"], "found 'grains-512', allowed here"),
        (["--case", "grains-64", "--model", "nowhere"], "found 'nowhere'"),
        (["--rounds", "0"], "--rounds"),
    ],
)
def test_wrong_options_are_one_line(options: list[str], found: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["bench", "frontier", "--out", str(tmp_path), *options]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert found in lines[0]
