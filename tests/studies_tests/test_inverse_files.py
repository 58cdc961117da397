"""Wrong study files: one clear line with file, line and key, and status 2; right ones lint, and have a schema."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import inverse_studies as small
import numpy as np
import pytest
import yaml
from distributed import Client
from PIL import Image

import phasetwin
from solvers.errors import InputError
from studies import Study
from studies.inverse.config import StudyConfig
from studies.inverse.problem import design_problem, read_study
from sweeps import Sweep

FOLDER = Path(__file__).parents[2] / "studies" / "examples"
# Files of twins are in the same folder.
EXAMPLES = sorted(path for path in FOLDER.glob("*.yaml") if "\nobjectives:" in path.read_text())


def test_there_are_some() -> None:
    assert {p.stem for p in EXAMPLES} >= {"domain-size", "pareto", "target-image", "grain-size"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_examples_lint(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert phasetwin.main(["lint", str(path)]) == 0
    assert "ok (study, " in capsys.readouterr().out
    study, sweep = read_study(path)
    assert study.name == path.stem
    assert study.output.path == f"runs/{path.stem}"
    design_problem(study, sweep)


def test_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert phasetwin.main(["schema", "study"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert {"variables", "objectives", "sampler", "warm_start"} <= set(schema["properties"])


def test_a_resolved_study_is_a_study(tmp_path: Path) -> None:
    config = Study.from_config(small.study_data(tmp_path)).config
    again = Study.from_config(config.model_dump(mode="json")).config
    assert again == config
    assert isinstance(again, StudyConfig)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "unknown qoi": (
        {"objectives": [{"qoi": "domain_sise", "target": 8.0}]},
        "objectives.0.qoi: found 'domain_sise', allowed .*; did you mean 'domain_size'?",
    ),
    "qoi of the other process": (
        {"objectives": [{"qoi": "grain_count", "target": 8.0}]},
        "objectives.0.qoi: found 'grain_count', allowed .* for process cahn_hilliard",
    ),
    "time outside the range": (
        {"objectives": [{"qoi": "domain_size", "at": 41, "target": 8.0}]},
        "objectives.0.at: found 41, allowed 0 to 40",
    ),
    "time between stored ones": (
        {"objectives": [{"qoi": "domain_size", "at": 30, "target": 8.0}]},
        "objectives.0.at: found 30, allowed a time among the sweep's",
    ),
    "window outside the range": (
        {"objectives": [{"qoi": "domain_size", "window": [20, 50], "target": 8.0}]},
        "objectives.0.window.1: found 50, allowed 0 to 40",
    ),
    "window that holds one time": (
        {"objectives": [{"qoi": "domain_size", "window": [15, 25], "target": 8.0}]},
        "objectives.0.window: found 1 stored times in it, allowed at least 2",
    ),
    "target that nothing has": (
        {"objectives": [{"qoi": "domain_size", "target": 99.0}]},
        "objectives.0.target: found 99, which no domain_size can be, allowed a number from 0 to 32",
    ),
    "target and direction": (
        {"objectives": [{"qoi": "domain_size", "target": 9.0, "direction": "minimize"}]},
        "objectives.0.direction: found both `target` and `direction`, allowed one of them",
    ),
    "infeasible constraint": (
        {"constraints": [{"qoi": "interface_density", "max": -0.1}]},
        "constraints.0.max: found -0.1, which nothing can meet, allowed a number >= 0",
    ),
    "contradictory constraint": (
        {"constraints": [{"qoi": "domain_size", "min": 9.0, "max": 8.0}]},
        "constraints.0.max: found min 9 and max 8, allowed min <= max",
    ),
    "unknown key": ({"trails": 5}, "trails: found unknown key 'trails', allowed .*; did you mean 'trials'?"),
    "unknown variable": (
        {"variables": {"kapa": {"low": 1.0, "high": 2.0}}},
        "variables.kapa: found unknown key 'kapa', allowed .*; did you mean 'kappa'?",
    ),
    "variable of the other process": (
        {"variables": {"gamma": {"low": 1.0, "high": 2.0}}},
        "variables.gamma: found 'gamma', allowed mobility, kappa",
    ),
    "variable out of bounds": (
        {"variables": {"kappa": {"low": -1.0, "high": 2.0}}},
        "variables.kappa.low: found -1, allowed a number > 0",
    ),
    "sampler that cannot": (
        {"sampler": {"kind": "cmaes"}, "variables": {"kappa": {"low": 1.0, "high": 2.0}}},
        "sampler.kind: found 'cmaes' with one variable",
    ),
    "curve without a file": (
        {"objectives": [{"qoi": "structure_factor", "direction": "minimize"}]},
        "objectives.0.qoi: found 'structure_factor' without a curve",
    ),
    "a change that is wrong": (
        {"changes": {"engine": {"kind": "solver", "tolerance": 2.0}}},
        "changes.engine.tolerance: found 2.0, allowed a number <= 0.5",
    ),
    "a quantity of fields on an emulator": (
        {"objectives": [{"qoi": "effective_diffusivity", "target": 0.5}], "explore": {"learn": 8}},
        "objectives.0: found a quantity of fields, allowed with an engine that makes fields",
    ),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("verb", ["lint", "optimize"])
def test_wrong_files(name: str, verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes, message = WRONG[name]
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(small.study_data(tmp_path, **changes), sort_keys=False))
    assert phasetwin.main([verb, str(path)]) == 2
    shown = capsys.readouterr().err.strip()
    assert len(shown.splitlines()) == 1
    assert re.search(rf"study\.yaml:\d+: {message}", shown), shown
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("variables.kappa.low=-1", "--set variables.kappa.low: found -1, allowed a number > 0"),
        ("objectives.0.at=39", "--set objectives.0.at: found 39, allowed a time among the sweep's (the nearest is 40)"),
        ("changes.engine={kind: solver, tolerance: 9}", "--set changes.engine: changes.engine.tolerance: found 9, "),
        ("changes.engine.tolerance=9", "--set changes.engine.tolerance: found 9, allowed a number <= 0.5"),
    ],
)
@pytest.mark.parametrize("verb", ["lint", "optimize"])
def test_a_wrong_override_names_its_key_once(
    override: str, message: str, verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "study.yaml"
    changes = {"engine": {"kind": "solver", "tolerance": 1e-2}}
    path.write_text(yaml.safe_dump(small.study_data(tmp_path, changes=changes)))
    assert phasetwin.main([verb, str(path), "--set", override]) == 2
    assert capsys.readouterr().err.strip().startswith(message)


def test_a_mistake_in_the_sweep_is_told_at_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = small.write_sweep(tmp_path, grid={"shape": [2, 2]})
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(small.study_data(tmp_path, sweep=sweep)))
    assert phasetwin.main(["optimize", str(path)]) == 2
    assert "small.yaml:" in capsys.readouterr().err


def test_a_store_of_another_process(tmp_path: Path, client: Client) -> None:
    store = str(tmp_path / "grains.zarr")
    grains = {
        **{k: v for k, v in small.SWEEP.items() if k != "parameters"},
        "process": "grain_growth",
        "initial": {"kind": "voronoi", "grains": 10},
        "times": [0, 1],
        "output": {"path": store},
    }
    Sweep.from_config(grains).run(client, progress=False)
    data = small.study_data(tmp_path, warm_start=[store])
    with pytest.raises(InputError, match=r"^warm_start\.0: found .*, a store of grain_growth, allowed one of cahn_h"):
        Study.from_config(data).run(client, progress=False, report=False)


def test_something_else_at_the_place(tmp_path: Path, client: Client) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="other things are there"):
        Study.from_config(small.study_data(tmp_path)).run(client, progress=False, report=False)
    assert (tmp_path / "study" / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("content", ["flat", "text", "thin"])
def test_wrong_images(content: str, tmp_path: Path) -> None:
    picture = tmp_path / "wanted.png"
    if content == "text":
        picture.write_text("not a picture")
    else:
        shape = (4, 40) if content == "thin" else (16, 16)
        Image.fromarray(np.full(shape, 7, dtype=np.uint8)).save(picture)
    study = Study.from_config(small.study_data(tmp_path, objectives=[{"image": str(picture)}]))
    with pytest.raises(InputError, match=r"^objectives\.0\.image: found "):
        study.prepare()


def test_running_twice_at_once(tmp_path: Path, client: Client) -> None:
    from sweeps.store.lock import store_lock

    study = Study.from_config(small.study_data(tmp_path))
    with store_lock(str(study.folder)), pytest.raises(InputError, match="has been writing to it since"):
        study.run(client, progress=False, report=False)
    shutil.rmtree(study.folder, ignore_errors=True)
