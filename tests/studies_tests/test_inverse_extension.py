"""A user's sampler and a user's quantities in a study."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import inverse_studies as small
import numpy as np
import pytest
import torch
from distributed import Client

from solvers import register_qoi
from solvers.errors import InputError
from solvers.qois.analysis import FrameAnalysis
from solvers.qois.registry import QOIS, ExtraAxis, Qoi
from studies import SamplerKind, Study, register_sampler
from studies.inverse.config import StudyConfig
from studies.inverse.objectives.point_view import PointView
from studies.inverse.samplers.registry import SAMPLERS, TrialWindow
from studies.inverse.search.runner import StudyRunner
from studies.inverse.space import SearchSpace
from sweeps import Sweep


def around_the_best(space: SearchSpace, seed: int, trials: TrialWindow, count: int) -> np.ndarray:
    """As in the documentation of the registry."""
    rng = np.random.default_rng(seed)
    if not len(trials.values):
        return space.values(rng.random((count, space.size)))
    best = space.unit(trials.values)[np.argmin(trials.losses[:, 0])]
    near = best + 0.1 * rng.standard_normal((count, space.size))
    return space.values(np.clip(near, 0.0, 1.0))


@pytest.fixture
def sampler() -> Iterator[str]:
    kind = register_sampler(SamplerKind("around_the_best", around_the_best, several_objectives=False))
    yield kind.name
    SAMPLERS.unregister(kind.name)


def study_with(folder: Path, output: str, kind: str) -> Study:
    changes: dict[str, Any] = {
        "sampler": {"kind": kind, "seed": 3, "refine": 0},
        "objectives": [{"qoi": "interface_density", "direction": "minimize"}],
        "stop": "budget",
        "trials": 12,
        "batch": 4,
        "verify": {"top": 1, "random": 0},
    }
    return Study.from_config(small.study_data(folder, output=output, **changes))


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


def test_a_sampler_of_ones_own(sampler: str, tmp_path: Path, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """It improves from batch to batch, and a study with it that was killed goes on with the same trials."""
    whole = study_with(tmp_path, "whole", sampler).run(client, progress=False, report=False)
    study, original, calls = study_with(tmp_path, "killed", sampler), StudyRunner._record, [0]

    def dying(self: StudyRunner, *args: Any) -> None:
        calls[0] += 1
        if calls[0] == 2:
            raise Killed
        original(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(StudyRunner, "_record", dying)
        with pytest.raises(Killed):
            study.run(client, progress=False, report=False)
    again = study.run(client, progress=False, report=False)
    names = ("parameters", "qois", "objectives")
    assert [{n: p[n] for n in names} for p in again.best] == [{n: p[n] for n in names} for p in whole.best]
    values = [t.values[0] for t in _complete(whole.folder)]
    assert min(values[4:]) < min(values[:4])


def _complete(folder: Path) -> list[Any]:
    from optuna import load_study
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    storage = JournalStorage(JournalFileBackend(str(folder / "journal.log")))
    return load_study(study_name=None, storage=storage).trials


@pytest.mark.parametrize(
    ("proposed", "message"),
    [
        (np.zeros((3, 2)), r"proposed an array of shape \(3, 2\), expected \(4, 2\)"),
        (np.full((4, 2), 9.0), "proposed a point outside the variables' bounds"),
        (np.full((4, 2), np.nan), "proposed a point outside the variables' bounds"),
    ],
)
def test_wrong_proposals(proposed: np.ndarray, message: str, tmp_path: Path, client: Client) -> None:
    register_sampler(SamplerKind("wrong", lambda *_: proposed))
    try:
        with pytest.raises(InputError, match=rf"^sampler\.kind: 'wrong' {message}"):
            study_with(tmp_path, "study", "wrong").run(client, progress=False, report=False)
    finally:
        SAMPLERS.unregister("wrong")


def test_what_a_sampler_does_not_take(sampler: str, tmp_path: Path) -> None:
    objectives = [{"qoi": n, "direction": "minimize"} for n in ("domain_size", "interface_density")]
    data = small.study_data(tmp_path, sampler={"kind": sampler}, objectives=objectives)
    with pytest.raises(
        InputError, match=r"sampler\.kind: found 'around_the_best' with several objectives, allowed tpe"
    ):
        Study.from_config(data)
    with pytest.raises(
        InputError, match=r"sampler\.kind: found 'around_best', allowed 'tpe', .* or 'around_the_best'; did"
    ):
        Study.from_config(small.study_data(tmp_path, sampler={"kind": "around_best"}))
    kinds = StudyConfig.model_json_schema()["$defs"]["SamplerConfig"]["properties"]["kind"]["enum"]
    assert kinds[-1] == "around_the_best"


def largest(analysis: FrameAnalysis) -> torch.Tensor:
    return analysis.field.flatten(2).amax(-1)


def row_means(analysis: FrameAnalysis) -> torch.Tensor:
    return analysis.field.mean(-1)


def rows(grid: Any) -> torch.Tensor:
    return grid.spacing * torch.arange(grid.shape[0], dtype=torch.float64)


@pytest.fixture
def quantities() -> Iterator[None]:
    axis = ExtraAxis("row", rows, lambda shape: shape[0], "length", "position")
    of_two_phases = ("cahn_hilliard",)
    register_qoi(Qoi("largest", "1", "largest composition", largest, processes=of_two_phases, low=-2.0, high=2.0))
    register_qoi(Qoi("row_means", "1", "means of rows", row_means, processes=of_two_phases, axis=axis))
    yield
    QOIS.unregister("largest")
    QOIS.unregister("row_means")


def test_quantities_of_ones_own(quantities: None, tmp_path: Path, client: Client) -> None:
    """As an objective, as a constraint at a place on the further axis, and as a curve."""
    store = str(tmp_path / "one.zarr")
    Sweep.from_config({**small.SWEEP, "output": {"path": store}}).run(client, progress=False)
    view = PointView(store)
    curve = tmp_path / "curve.csv"
    wanted = view.get("row_means")[0, :, -1].mean(axis=0)
    np.savetxt(curve, np.stack([np.arange(32.0), wanted], axis=1), delimiter=",", header="row,mean", comments="")
    data = small.study_data(
        tmp_path,
        objectives=[{"qoi": "largest", "direction": "maximize"}, {"qoi": "row_means", "target": str(curve)}],
        constraints=[{"qoi": "row_means", "coordinate": 3.0, "min": -5.0}],
    )
    criteria = Study.from_config(data).prepare().criteria
    assert [criterion.label for criterion in criteria] == ["largest@40", "row_means@40", "row_means@40[3]"]
    features = [criterion.feature.read(view) for criterion in criteria]
    assert features[0] == pytest.approx(view.get("largest")[:, :, [-1]])
    assert features[2] == pytest.approx(view.get("row_means")[:, :, -1, [3]])
    assert criteria.assess(features).losses[0, 1] < 1e-12  # the curve is that of this very point


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ({"qoi": "largest", "target": 3.0}, "objectives.0.target: found 3, which no largest can be, allowed a number"),
        ({"qoi": "row_means", "target": 0.1}, "objectives.0.qoi: found 'row_means' without a curve, allowed `target"),
        ({"qoi": "row_means", "coordinate": 3.5, "target": 0.1}, "objectives.0.coordinate: found 3.5, allowed one of"),
        ({"qoi": "largest", "coordinate": 3.0, "target": 0.1}, "objectives.0.coordinate: found 3, allowed with qoi "),
    ],
)
def test_wrong_uses_of_a_quantity(objective: dict[str, Any], message: str, quantities: None, tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        Study.from_config(small.study_data(tmp_path, objectives=[objective])).prepare()
    assert str(raised.value).startswith(message)


def test_a_study_with_a_quantity_of_ones_own(quantities: None, tmp_path: Path, client: Client) -> None:
    wanted = {"qoi": "largest", "target": 0.97, "tolerance": 0.02}
    data = small.study_data(tmp_path, objectives=[wanted], trials=24, verify={"top": 1, "random": 0})
    result = Study.from_config(data).run(client, progress=False, report=False)
    best = json.loads((result.folder / "best.json").read_text())[0]
    assert abs(best["qois"]["largest"] - 0.97) <= 0.02 * 0.97
