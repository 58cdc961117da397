"""Objectives: what is read of results, what is made of it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import inverse_studies as small
import numpy as np
import pytest
import torch
from distributed import Client
from PIL import Image

from solvers.grids.grid import Grid
from solvers.qois import domain_size, two_point_correlation
from studies import Study
from studies.inverse.config import Conductor, ImageObjective, Quantile
from studies.inverse.objectives.criteria import Criteria
from studies.inverse.objectives.features import reduced
from studies.inverse.objectives.losses import CurveLoss, DirectionLoss, LimitLoss, TargetLoss
from studies.inverse.objectives.pareto import dominated, fronts, hypervolume_share, improvement
from studies.inverse.objectives.point_view import PointView
from studies.inverse.objectives.target_image import image_criterion
from studies.inverse.search.kriging import FeatureTransform, fit
from studies.inverse.space import SearchSpace
from sweeps import Sweep, open_sweep

FEATURES = np.array([[[1.0], [3.0]], [[2.0], [2.5]]])  # two points, two starts


@pytest.mark.parametrize(
    ("loss", "losses"),
    [
        (TargetLoss(2.0, 0.1), [0.0, 0.25]),
        (TargetLoss(2.0, 0.1, "worst"), [1.0, 0.5]),
        (TargetLoss(2.0, 0.1, Quantile(quantile=0.5)), [1.0, 0.25]),
        (DirectionLoss(1.0, 0.1), [2.0, 2.25]),
        (DirectionLoss(-1.0, 0.1, "worst"), [-1.0, -2.0]),
        (DirectionLoss(1.0, 0.1, Quantile(quantile=0.9)), [2.8, 2.45]),
        (LimitLoss(None, 2.0), [0.0, 0.125]),
        (LimitLoss(2.0, None, "worst"), [0.5, 0.0]),
    ],
)
def test_losses(loss: Any, losses: list[float]) -> None:
    # Rounding alone.
    assert loss(FEATURES) == pytest.approx(losses, abs=1e-12)


def test_a_curve_is_met_by_itself() -> None:
    wanted = np.array([1.0, 2.0, 3.0])
    loss = CurveLoss(wanted, np.array([1.0, 1.0, 0.0]), ((0, 3),), 0.1)
    same, other = np.tile(wanted, (1, 2, 1)), np.tile([2.0, 2.0, 9.0], (1, 2, 1))
    assert loss(same) == pytest.approx([0.0])
    # The third has no weight: |(1, 0)| / |(1, 2)|.
    assert loss(other) == pytest.approx([1 / np.sqrt(5)])


@pytest.mark.parametrize(("how", "value"), [("mean", 4.0), ("min", 1.0), ("max", 7.0), ("slope", 2.0)])
def test_windows(how: str, value: float) -> None:
    times = np.array([0.0, 1.0, 3.0])
    assert reduced((1.0 + 2.0 * times)[None, None], times, how)[0, 0] == pytest.approx(
        value if how != "mean" else 11 / 3
    )


def test_variables_there_and_back() -> None:
    space = SearchSpace(("mobility", "kappa"), np.array([0.5, 1.0]), np.array([2.0, 3.0]), np.array([True, False]))
    unit = np.random.default_rng(0).random((20, 2))
    np.testing.assert_allclose(space.unit(space.values(unit)), unit, atol=1e-12)
    assert space.values(np.array([[0.5, 0.5]]))[0] == pytest.approx([1.0, 2.0])
    assert (space.values(np.ones((1, 2))) == space.high).all()


def test_time_is_mobility(tmp_path: Path, client: Client) -> None:
    """A process of half the length at twice the mobility is the same, so it is computed as such."""
    variables = {"time": {"low": 10.0, "high": 40.0}, "mobility": {"low": 0.5, "high": 2.0}}
    data = small.study_data(
        tmp_path,
        variables=variables,
        objectives=[{"qoi": "domain_size", "target": 10.4}],
        verify={"top": 1, "random": 0, "equivalents": 2},
    )
    result = Study.from_config(data).run(client, progress=False, report=False)
    point = result.best[0]
    store = str(tmp_path / "direct.zarr")
    direct = {
        **small.SWEEP,
        "parameters": {**small.SWEEP["parameters"], "mobility": point["parameters"]["mobility"]},
        "times": [0.0, point["parameters"]["time"]],
        "engine": {"kind": "solver", "tolerance": 5e-4, "dtype": "float64"},
        "output": {"path": store},
    }
    Sweep.from_config(direct).run(client, progress=False)
    found = float(open_sweep(store).domain_size.isel(point=0, time=-1).mean())
    # Two solutions to a tolerance of 5e-4 of the field.
    assert found == pytest.approx(point["qois"]["domain_size"], rel=1e-3)
    equivalents = (result.folder / "equivalents.json").read_text()
    assert "Exact: mobility and time act through their product alone" in equivalents

    products = [np.prod(list(p["parameters"].values())) for p in json.loads(equivalents)["curve"]]
    assert np.ptp(products) < 1e-9 * np.mean(products)
    for other in json.loads(equivalents)["verified"]:
        assert other["met"]
        # The same scaled time to rounding: the same trajectory.
        assert other["qois"]["domain_size"] == pytest.approx(point["qois"]["domain_size"], rel=1e-6)


def test_fronts() -> None:
    losses = np.array([[0.0, 3.0], [1.0, 1.0], [3.0, 0.0], [2.0, 2.0], [4.0, 4.0]])
    assert fronts(losses).tolist() == [0, 0, 0, 1, 2]
    assert dominated(losses, losses[[1]]).tolist() == [False, False, False, True, True]
    assert improvement(losses[:3], losses[:3]) == 0.0
    assert improvement(losses[:3], losses[[0, 2]]) == pytest.approx(2 / 3)
    # Of the unit square: all but the corner below (0.5, 0.5).
    assert hypervolume_share(np.array([[0.5, 0.0], [0.0, 0.5]]), np.zeros(2), np.ones(2)) == pytest.approx(0.75)


def test_models_predict_smooth_quantities() -> None:
    rng = np.random.default_rng(0)

    def quantity(u: np.ndarray) -> np.ndarray:
        return np.exp(0.3 * u[:, :1] - 0.5 * u[:, 1:] ** 2)

    known, asked = rng.random((40, 2)), 0.1 + 0.8 * rng.random((50, 2))
    model = fit(known, quantity(known))
    # Forty points of a function without features: a hundredth of its range of 0.7.
    assert np.abs(model(asked) - quantity(asked)).max() < 7e-3


def test_corrections_are_exact_where_known() -> None:
    rng = np.random.default_rng(0)
    known = rng.random((8, 2))
    off = np.where(known[:, :1] > 0.5, 0.08, 0.0)
    model = fit(known, off, corrections=True)
    # The nugget of 1e-4 allows a hundredth of the spread.
    assert np.abs(model(known) - off).max() < 2e-3


def test_scales_there_and_back() -> None:
    features = [np.abs(np.random.default_rng(0).standard_normal((3, 2, 4))), np.array([[[-1.0], [2.0]]] * 3)]
    scale = FeatureTransform.of(features)
    assert scale.logarithmic == (True, False)
    for a, b in zip(features, scale.unflatten(scale.flatten(features), [(2, 4), (2, 1)]), strict=True):
        np.testing.assert_allclose(a, b)


def test_statistics_of_an_image(tmp_path: Path) -> None:
    """A picture of stripes: half of it bright, domains as long as the stripes' period."""
    stripes = np.cos(2 * np.pi * np.arange(32) / 8)[None] * np.ones((32, 1))
    path = tmp_path / "stripes.png"
    Image.fromarray(np.round(127.5 * (1 + stripes)).astype(np.uint8)).save(path)
    sweep = Study.from_config(small.study_data(tmp_path)).sweep
    objective = ImageObjective(image=str(path), boundary="periodic", levels=(0.0, 255.0))
    criterion = image_criterion(objective, sweep, 40.0, "objectives.0")
    fraction, size = criterion.loss.target
    assert fraction == pytest.approx(np.mean(stripes > 0), abs=1e-12)
    assert size == pytest.approx(8.0, rel=1e-3)  # grey values are whole numbers
    fields = torch.from_numpy(stripes)[None]
    assert criterion.feature.statistic(fields, sweep.grid.build())[0].numpy() == pytest.approx(
        [fraction, size], rel=1e-3
    )


@pytest.mark.parametrize("statistics", [["structure_factor"], ["two_point_correlation", "fraction"]])
def test_an_image_of_the_sweep_itself_is_met(statistics: list[str], tmp_path: Path, client: Client) -> None:
    store = str(tmp_path / "one.zarr")
    Sweep.from_config({**small.SWEEP, "realizations": {"count": 1}, "output": {"path": store}}).run(
        client, progress=False
    )
    field = open_sweep(store).field.isel(point=0, realization=0, time=-1).values
    path = tmp_path / "wanted.npy"
    np.save(path, field)
    objective = {"image": str(path), "at": 40, "statistics": statistics, "levels": [-1.0, 1.0], "boundary": "periodic"}
    changes = {"realizations": {"count": 1}}
    study = Study.from_config(small.study_data(tmp_path, objectives=[objective], changes=changes))
    criterion = study.prepare().criteria[0]
    # float32 in the store.
    assert criterion.loss(criterion.feature.read(PointView(store)))[0] < 1e-5


def test_two_point_correlation_is_periodic() -> None:
    """A zero-padded correlation of stripes falls off with the distance; the periodic one comes back to 1."""
    grid = Grid(shape=(32, 32))
    stripes = torch.cos(2 * torch.pi * torch.arange(32, dtype=torch.float64) / 8)[None].repeat(32, 1)
    _, correlation = two_point_correlation(stripes[None], grid)
    assert correlation[0, 0] == pytest.approx(1.0)
    assert float(domain_size(stripes[None], grid)[0]) == pytest.approx(8.0)


class TestDiffusivity:
    """taufactor's answers for structures with known ones."""

    grid = Grid(shape=(24, 24))

    def stripes(self, along: str) -> torch.Tensor:
        line = torch.where(torch.arange(24) % 8 < 4, 1.0, -1.0).double()
        return (line[:, None] if along == "x" else line[None, :]).expand(24, 24)[None]

    def value(self, fields: torch.Tensor, **settings: Any) -> float:
        pytest.importorskip("taufactor")
        from studies.inverse.objectives.effective_diffusivity import diffusivity

        return float(diffusivity(Conductor(**settings), 0.0)(fields, self.grid)[0, 0])

    def test_along_stripes(self) -> None:
        # Half of the section conducts, without a detour; 1e-3 is the solver's own criterion.
        assert self.value(self.stripes("x"), along="x") == pytest.approx(0.5, rel=2e-3)

    def test_across_insulating_stripes(self) -> None:
        assert self.value(self.stripes("y"), along="x") == 0.0

    def test_two_conductors_across_stripes(self) -> None:
        # In series: 1 / mean(1 / D); the open faces cut a cell off the stripes.
        assert self.value(self.stripes("y"), along="x", low=0.5, high=1.0) == pytest.approx(2 / 3, rel=0.03)

    def test_a_uniform_conductor(self) -> None:
        assert self.value(torch.ones(1, 24, 24).double(), high=2.0) == pytest.approx(2.0, rel=2e-3)


def test_a_diffusivity_is_designed(tmp_path: Path, client: Client) -> None:
    pytest.importorskip("taufactor")
    data = small.study_data(
        tmp_path,
        variables={"composition": {"low": 0.3, "high": 0.7}},
        objectives=[{"qoi": "effective_diffusivity", "target": 0.75, "conductor": {"along": "y"}, "tolerance": 0.02}],
        trials=24,
        verify={"top": 2, "random": 0, "equivalents": 0},
    )
    result = Study.from_config(data).run(client, progress=False, report=False)
    assert result.best[0]["met"]
    assert abs(result.best[0]["qois"]["effective_diffusivity"] - 0.75) <= 0.02 * 0.75


def test_a_structure_factor_is_matched(tmp_path: Path, client: Client) -> None:
    """The curve of a run of the same starts at known parameters is found again."""
    store = str(tmp_path / "known.zarr")
    hidden = {"mobility": 1.3, "kappa": 0.9, "composition": 0.0}
    Sweep.from_config({**small.SWEEP, "parameters": hidden, "output": {"path": store}}).run(client, progress=False)
    ds = open_sweep(store)
    curve = ds.structure_factor.isel(point=0, time=-1).mean("realization")
    path = tmp_path / "curve.csv"
    rows = np.stack([ds.k.values, curve.values], axis=1)
    np.savetxt(path, rows, delimiter=",", header="k,structure_factor", comments="")
    objective = {"qoi": "structure_factor", "target": str(path), "tolerance": 0.02}
    result = Study.from_config(small.study_data(tmp_path, objectives=[objective], trials=96)).run(
        client, progress=False
    )
    assert result.best[0]["objectives"][0] <= 0.02
    # At one time several pairs give nearly the same curve; the distance says how nearly.
    assert result.best[0]["met"]


def test_judges_prefer_what_is_feasible() -> None:
    class Fixed:
        size = 1
        field_times = ()

    from studies.inverse.objectives.criteria import Criterion

    feature: Any = Fixed()
    criteria = Criteria(
        [Criterion("q", "objectives.0", feature, TargetLoss(1.0, 0.1))],
        [Criterion("q", "c", feature, LimitLoss(None, 2.0))],
    )
    good, bad = np.full((1, 1, 1), 1.9), np.full((1, 1, 1), 2.1)
    judged = criteria.assess([np.concatenate([good, good]), np.concatenate([good, bad])])
    assert judged.feasible.tolist() == [True, False]
    assert judged.merit[0] < judged.merit[1]
    assert list(itertools.chain(criteria.met(judged.losses))) == [False, False]
