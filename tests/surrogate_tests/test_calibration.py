"""Calibrated models: stores to cases, bands on other boxes, the domain, and what is refused."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from mock_stores import write_sweep

from phasetwin import main
from solvers import CahnHilliard, Frames, GrainGrowth, Grid, simulate_grains, solve
from solvers.errors import InputError
from solvers.initial import noise, voronoi
from solvers.qois import evaluate_qois, extra_coordinates, structure_factor_wavenumbers
from surrogate import load_surrogate
from surrogate.evaluation.calibration.coverage import measure_coverage
from surrogate.evaluation.calibration.fit import at_wavenumbers, calibrate
from surrogate.evaluation.calibration.samples import roll_out, store_samples
from surrogate.evaluation.calibration.trust_domain import admit, fit_model_domain
from surrogate.models.files import MODEL, read_about, save_model, update_model
from surrogate.models.gsta import GstaSurrogate
from surrogate.models.jump import JumpSurrogate
from surrogate.networks.jump import JumpNet, JumpSettings
from surrogate.processes import learned_process
from surrogate.rollout.prediction import Prediction
from surrogate.uncertainty.bands import Calibration, QoiBands, comparable
from surrogate.uncertainty.domain import SIDE, Domain, read_domain

torch.set_num_threads(1)
CAHN_HILLIARD, GRAIN_GROWTH = "cahn_hilliard", "grain_growth"
PROCESSES = (CAHN_HILLIARD, GRAIN_GROWTH)
TIMES = {CAHN_HILLIARD: (0.0, 60.0, 90.0, 120.0, 160.0), GRAIN_GROWTH: (0.0, 5.0, 12.5, 20.0, 30.0, 40.0)}
BOX = {
    CAHN_HILLIARD: {"kappa": [0.25, 2.0], "composition": [-0.6, 0.6], "contrast": [0.0, 1.0], "age": [20.0, 800.0]},
    GRAIN_GROWTH: {"kappa": [0.25, 2.0], "gamma": [1.0, 2.0], "age": [10.0, 400.0]},
}


def problem_of(process: str, grid: Grid, count: int, seed: int) -> tuple[CahnHilliard | GrainGrowth, torch.Tensor]:
    """A batch with kappa from 0.5 to 1.5, mobilities that make scaled ages equal to times, and its starts."""
    kappa = 0.5 + torch.from_numpy(np.random.default_rng(seed).random(count))
    seeds = range(1000 * seed, 1000 * seed + count)
    if process == GRAIN_GROWTH:
        return GrainGrowth(grid, mobility=1 / kappa, kappa=kappa), voronoi(grid, grid.cells // 50, seeds)
    return CahnHilliard(grid, mobility=kappa**-0.5, kappa=kappa), noise(grid, 0.1, 0.3, seeds)


def write_store(
    path: Path, process: str, count: int, seed: int, side: int = 32, times: tuple[float, ...] = (), fields: bool = False
) -> Path:
    """A store as a sweep of the solver leaves it; the last sample has failed."""
    grid, ages = Grid((side, side)), np.asarray(times or TIMES[process])
    problem, start = problem_of(process, grid, count, seed)
    rows = torch.from_numpy(ages).expand(count, -1)
    if isinstance(problem, GrainGrowth):
        frames = simulate_grains(problem, start, rows, 1e-2, dtype=torch.float32)
    else:
        found = solve(problem, start.float(), rows, 1e-2, dtype=torch.float32)
        frames = Frames(found.states, found.free_energy)
    dims = ("point", "realization", "time")
    arrays = {}
    for name, values in evaluate_qois(problem, frames).items():
        extra = {"structure_factor": ("k",), "grain_area_quantile": ("quantile",)}.get(name, ())
        arrays[name] = (dims + extra, values.double().numpy()[:, None])
    axis = "time" if fields else "time_field"
    kept = slice(None) if fields else slice(0, 1)
    arrays["field"] = (("point", "realization", axis, "y", "x"), frames.field[:, None, kept].float().numpy())
    if process == GRAIN_GROWTH:
        arrays["grain_id"] = (("point", "realization", axis, "y", "x"), frames.grain_id[:, None, kept].int().numpy())
    status = np.ones((count, 1), dtype=np.int8)
    status[-1] = 2
    flags = {"flag_values": [0, 1, 2, 3, 4], "flag_meanings": "pending done failed diverged verified"}
    arrays["status"] = (("point", "realization"), status, flags)
    cells = np.arange(side) + 0.5
    coordinates = {"time": ages, axis: ages[kept], "y": cells, "x": cells}
    coordinates |= {n: v.numpy() for n, v in extra_coordinates(problem.process, grid).items()}
    names = ("mobility", "kappa", "gamma") if process == GRAIN_GROWTH else ("mobility", "kappa", "mobility_contrast")
    for name in names:
        values = torch.as_tensor(getattr(problem, name), dtype=torch.float64).expand(count)
        coordinates[name] = ("point", values.numpy().copy())
    if process == CAHN_HILLIARD:
        coordinates["composition"] = ("point", np.full(count, 0.1))
    config = {
        "process": process,
        "grid": {"shape": [side, side], "spacing": 1.0, "boundary": "periodic"},
        "well": None,
        "engine": {"kind": "solver"},
        "initial": {"kind": learned_process(process).random_start},
    }
    return write_sweep(path, xr.Dataset(arrays, coordinates), config)


def save(folder: Path, process: str, training: Path) -> Path:
    """A network with random weights: its errors are large, and what is promised of its bands holds all the same."""
    torch.manual_seed(3)
    settings = JumpSettings(
        groups=len(learned_process(process).groups), width=8, blocks=2, reach=20.0, conserve=process != GRAIN_GROWTH
    )
    net = JumpNet(settings)
    for value in net.parameters():
        torch.nn.init.normal_(value, std=0.02)
    about = {
        "name": "small",
        "process": process,
        "kind": "jump",
        "settings": asdict(settings),
        "schedule": {"ages": [0.0], "lengths": [20.0]},
        "domain": BOX[process],
        "recipe": {"data": {"train": [str(training)]}},
    }
    save_model(folder, net.state_dict(), about)
    return folder


class Setting:
    """One process: stores and a model."""

    def __init__(self, folder: Path, process: str) -> None:
        self.process = process
        later = tuple(t for t in TIMES[process] if t >= 10.0)
        self.training = write_store(folder / "train.zarr", process, 13, 1, times=later, fields=True)
        self.calibration = write_store(folder / "calibration.zarr", process, 21, 2)
        self.other = write_store(folder / "calibration-40.zarr", process, 11, 3, side=40)
        self.coverage = write_store(folder / "coverage.zarr", process, 13, 4)
        self.outside = write_store(folder / "outside.zarr", process, 4, 5, side=16)
        self.folder = save(folder / "model", process, self.training)
        model = load_surrogate(self.folder)
        stores = (self.calibration, self.other)
        self.outcomes = [roll_out(model, store_samples(store, process)) for store in stores]
        update_model(
            self.folder,
            calibration=calibrate(self.outcomes).as_dict(),
            domain=admit(fit_model_domain(process, [self.training]), self.outcomes).as_dict(),
        )
        self.model: JumpSurrogate = load_surrogate(self.folder)


@pytest.fixture(scope="module", params=PROCESSES)
def setting(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Setting:
    return Setting(tmp_path_factory.mktemp(request.param), request.param)


def rolled(
    setting: Setting, side: int, count: int = 2, kappa: float | None = None
) -> tuple[Prediction, dict[str, np.ndarray]]:
    """A prediction on a box of that side and its quantities."""
    problem, start = problem_of(setting.process, Grid((side, side)), count, 6)
    if kappa is not None:
        problem = replace(problem, kappa=kappa, mobility=1 / kappa if setting.process == GRAIN_GROWTH else kappa**-0.5)
    times = torch.tensor(TIMES[setting.process]).double().expand(count, -1)
    found = setting.model.rollout(problem, start, times)
    return found, {n: v.double().numpy() for n, v in evaluate_qois(problem, found.frames).items()}


def solvers_tolerance(setting: Setting) -> float:
    """Of the frames up to the hand-over."""
    return learned_process(setting.process).first_tolerance(setting.model.first_stage)


def test_a_store_becomes_starts_and_truth(setting: Setting) -> None:
    samples = store_samples(setting.calibration, setting.process)
    case = samples.case
    assert case.initial().shape == (20, 32, 32)  # the failed sample is left out
    assert case.times.tolist() == list(TIMES[setting.process])
    assert all(np.isfinite(v).all() and v.shape[:2] == (20, len(case.times)) for v in samples.truth.values())


def test_frames_up_to_the_hand_over_are_the_solvers(setting: Setting) -> None:
    outcome = setting.outcomes[0]
    solved = outcome.prediction.lead <= 0
    assert solved.any()
    assert outcome.taken.all()
    energy, truth = outcome.qois["free_energy"], outcome.samples.truth["free_energy"]
    np.testing.assert_allclose(energy[solved], truth[solved], rtol=1e-2)
    # The guard hands what raises the energy of a composition to the solver; grains have none.
    assert setting.process == CAHN_HILLIARD or not np.allclose(energy[~solved], truth[~solved], rtol=1e-2)


def test_bands_cover_fresh_trajectories(setting: Setting) -> None:
    model = setting.model
    measured = measure_coverage(model, [roll_out(model, store_samples(setting.coverage, setting.process))])
    assert measured.trajectories == 12
    assert {row.qoi for row in measured.pooled} == set(setting.outcomes[0].qois)
    # 99 % intervals of 12 trajectories; both means are conserved or nearly so.
    assert all(row.holds for row in measured.pooled)
    assert all(row.finite == 1.0 for row in measured.pooled)
    assert measured.flagged <= 1
    assert json.loads(json.dumps(measured.as_dict(), allow_nan=False))["trajectories"] == 12


@pytest.mark.parametrize("side", [32, 48])
def test_bands_on_boxes_of_other_sizes(setting: Setting, side: int) -> None:
    found, qois = rolled(setting, side)
    np.testing.assert_allclose(found.groups["box"], np.log2(side / 64))
    bands = setting.model.bands(found, qois)
    assert set(bands) == set(qois)
    solved = found.lead <= 0
    assert solved.any(1).all()
    assert (~solved).any(1).all()
    for name, (low, high) in bands.items():
        assert low.shape == high.shape == qois[name].shape
        assert np.isfinite(low).all()
        assert np.isfinite(high).all()
        assert (low <= qois[name]).all()
        assert (qois[name] <= high).all()
        margin = solvers_tolerance(setting) * np.abs(qois[name][solved])
        np.testing.assert_allclose(high[solved] - qois[name][solved], margin, atol=1e-12)
        assert (high > low)[~solved].all()


def test_beyond_the_longest_lead_bands_are_infinite_and_trust_is_kept(setting: Setting) -> None:
    found, qois = rolled(setting, 32)
    late = replace(found, lead=found.lead + 1000.0)
    assert np.isinf(setting.model.bands(late, qois)["free_energy"][1]).all()
    assert found.trust.tolist() == [1.0, 1.0]


def test_a_model_that_never_took_over_has_the_solvers_bands(setting: Setting) -> None:
    problem, start = problem_of(setting.process, Grid((32, 32)), 1, 6)
    found = setting.model.rollout(problem, start, torch.tensor([[0.0, 5.0]]))
    assert np.isneginf(found.lead).all()
    assert found.trust.tolist() == [1.0]
    qois = {n: v.double().numpy() for n, v in evaluate_qois(problem, found.frames).items()}
    low, high = setting.model.bands(found, qois)["free_energy"]
    np.testing.assert_allclose(high - low, 2 * solvers_tolerance(setting) * qois["free_energy"])


def test_calibration_and_domain_come_back_from_the_file(setting: Setting) -> None:
    about = read_about(setting.folder)
    assert setting.model.calibration == calibrate(setting.outcomes)
    assert setting.model.domain == Domain.from_dict(about["domain"])
    own = setting.model.calibration.qois.get("structure_factor")
    if own is not None:
        np.testing.assert_allclose(own.extra, structure_factor_wavenumbers(Grid((40, 40))))


def test_what_is_outside_is_flagged(setting: Setting) -> None:
    assert rolled(setting, 32)[0].reasons == ["", ""]
    far, _ = rolled(setting, 32, kappa=0.2)
    assert far.trust.tolist() == [0.0, 0.0]
    assert far.reasons[0].startswith("kappa 0.2, allowed ")
    small, _ = rolled(setting, 16)
    assert any(reason.startswith("side 16, allowed 32 to 1024") for reason in small.reasons)


def test_frames_unlike_the_trainings_are_flagged(setting: Setting) -> None:
    found, _ = rolled(setting, 32)
    box = setting.model.domain.box
    groups = {**{n: np.full(2, np.mean(limits)) for n, limits in box.items()}, SIDE: np.full(2, 32.0)}
    features = found.features
    assert setting.model.domain.inside(groups, features).all()
    assert not setting.model.domain.inside(groups, features + 1.0).any()


def test_without_calibration_bands_are_refused(setting: Setting, tmp_path: Path) -> None:
    model = load_surrogate(save(tmp_path / "model", setting.process, setting.training))
    assert model.calibration is None
    found, qois = rolled(setting, 32)
    with pytest.raises(InputError, match=r"small: has no calibrated bands; `phasetwin evaluate small --calibrate`"):
        model.bands(found, qois)
    with pytest.raises(InputError, match="no calibrated bands"):
        measure_coverage(model, setting.outcomes)
    assert GstaSurrogate.calibration is None


def test_the_command_writes_model_and_card(setting: Setting, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = save(tmp_path / "model", setting.process, setting.training)
    (folder / "card.md").write_text(
        "# Card\n\n## Domain of validity\n\nold\n\n## Accuracy\n\nkept\n\n## Calibration\n\nold\n"
    )
    options = ["--calibration-store", str(setting.calibration), "--coverage-store", str(setting.coverage)]
    options += ["--outside-store", str(setting.outside), "--threads", "1"]
    assert main(["evaluate", str(folder), "--calibrate", *options]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"flagged beyond the domain: ([1-3]) of \1 trajectories", printed)
    assert printed.splitlines()[-1] == str(folder / MODEL)
    about = read_about(folder)
    assert {"domain", "calibration", "coverage"} <= set(about)
    assert about["coverage"]["outside_flagged"] == 1.0
    card = (folder / "card.md").read_text()
    assert "kept" in card
    assert "old" not in card
    assert "| side | 32 to 1024 |" in card
    assert "Coverage on fresh trajectories" in card
    assert load_surrogate(folder).calibration is not None


MISSING = [([], "make calibration-data"), (["--protocol", "spinodal-64"], "not allowed with")]


@pytest.mark.parametrize(("options", "message"), MISSING)
def test_the_command_says_what_is_missing(
    setting: Setting, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, options, message
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", str(setting.folder), "--calibrate", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_a_store_is_not_measured_on_after_it_was_calibrated_on(setting: Setting) -> None:
    store = [str(setting.calibration)]
    options = ["--calibration-store", *store, "--coverage-store", *store, "--outside-store", str(setting.outside)]
    assert main(["evaluate", str(setting.folder), "--calibrate", *options]) == 2


def test_foreign_stores_are_refused(setting: Setting, tmp_path: Path) -> None:
    other = next(p for p in PROCESSES if p != setting.process)
    with pytest.raises(InputError, match="a sweep of"):
        store_samples(setting.calibration, other)
    with pytest.raises(InputError, match="nothing is there"):
        store_samples(tmp_path / "none.zarr", setting.process)
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(InputError, match=r"empty\.zarr: expected a sweep store"):
        store_samples(tmp_path / "empty.zarr", setting.process)
    with pytest.raises(InputError, match="holds no start"):
        store_samples(setting.training, setting.process)
    ds = xr.open_zarr(setting.calibration, consolidated=False).load()
    learned = json.loads(ds.attrs["config"]) | {"engine": {"kind": "surrogate"}}
    ds.assign_attrs(config=json.dumps(learned)).to_zarr(tmp_path / "learned.zarr", consolidated=False)
    with pytest.raises(InputError, match="found engine surrogate, allowed solver"):
        store_samples(tmp_path / "learned.zarr", setting.process)
    ds.assign(status=ds["status"] * 0).assign_attrs(ds.attrs).to_zarr(tmp_path / "none-done.zarr", consolidated=False)
    with pytest.raises(InputError, match=r"no finished sample|not a sweep store"):
        store_samples(tmp_path / "none-done.zarr", setting.process)


def test_plain_boxes_of_older_models_are_read() -> None:
    domain = read_domain(GRAIN_GROWTH, BOX[GRAIN_GROWTH])
    assert domain == Domain(GRAIN_GROWTH, {"kappa": (0.25, 2.0), "gamma": (1.0, 2.0)})
    assert domain.side_of((16, 64)) == 64.0
    with pytest.raises(InputError, match="groups among kappa, gamma, side of grain_growth, but got none"):
        read_domain(GRAIN_GROWTH, {})
    with pytest.raises(InputError, match="expected name"):
        read_domain(GRAIN_GROWTH, {"kappa": 1.0})


def test_wavenumbers_of_a_smaller_box_serve_the_nearest_of_a_larger_one() -> None:
    own, wanted = np.array([0.2, 0.4, 0.6]), np.array([0.05, 0.1, 0.2, 0.29, 0.5, 0.65, 0.8])
    found = at_wavenumbers(np.array([[1.0, 2.0, 3.0]]), own, wanted)[0]
    np.testing.assert_array_equal(found[[1, 2, 3, 5]], [1.0, 1.0, 1.0, 3.0])
    assert np.isnan(found[[0, 6]]).all()
    assert found[4] in (2.0, 3.0)


def test_half_widths_between_wavenumbers() -> None:
    own = QoiBands("relative", ((0.1, 0.3, np.inf),), ((9, 9, 0),), False, None, (0.1, 0.2, 0.3))
    calibration = Calibration(0.9, (0.0, 10.0), {"structure_factor": own})
    values, lead = np.ones((1, 1, 5)), np.ones((1, 1))
    wanted = {"structure_factor": [0.05, 0.1, 0.15, 0.2, 0.25]}
    _, high = calibration.bands({"structure_factor": values}, lead, extra=wanted)["structure_factor"]
    np.testing.assert_allclose(np.log(high[0, 0]), [0.1, 0.1, 0.2, 0.3, np.inf])
    again = Calibration.from_dict(json.loads(json.dumps(calibration.as_dict(), allow_nan=False)))
    assert again == calibration
    with pytest.raises(InputError, match="last axis of 3, but got 5"):
        calibration.bands({"structure_factor": values}, lead)


def test_one_grain_is_no_infinite_error() -> None:
    groups = {"kappa": np.array([0.5]), "gamma": np.array([1.5]), "box": np.array([-1.0])}
    values = {"free_energy": np.array([[0.0, 50.0]]), "mean": np.array([[1.0, 0.5]])}
    found = comparable(values, learned_process(GRAIN_GROWTH).band_floors(groups, 1.0), 1.0)
    np.testing.assert_allclose(found["free_energy"], [[32 / 3, 50.0]])  # sqrt(2 kappa) / 3 for each of 32 cells
    assert (found["mean"] == values["mean"]).all()


def test_enough_hand_overs_decide_the_threshold(setting: Setting) -> None:
    outcome, domain = setting.outcomes[0], setting.model.domain
    assert domain.frames is not None
    wide = replace(domain, frames=replace(domain.frames, threshold=50.0))
    assert admit(wide, [outcome]) == wide  # 20 are too few for one in 200
    features, lead = outcome.prediction.features, outcome.prediction.lead
    tiled = replace(outcome.prediction, features=np.tile(features, (12, 1)), lead=np.tile(lead, (12, 1)))
    many = replace(outcome, prediction=tiled)
    found = admit(wide, [many])
    assert found.frames is not None
    assert found.frames.threshold == pytest.approx(domain.frames.nearest(features)[0].max())


def test_bands_follow_units_of_length_and_composition(setting: Setting) -> None:
    # The same states in cells half as large, and for Cahn-Hilliard between wells at 0 and 1 (W = 1 for rho = 1).
    grid, half = Grid((32, 32)), Grid((32, 32), spacing=0.5)
    problem, start = problem_of(setting.process, grid, 2, 6)
    kappa, mobility = problem.kappa / 4, problem.mobility
    if setting.process == GRAIN_GROWTH:
        other, begin = GrainGrowth(half, mobility=mobility, kappa=kappa), start
    else:
        well = {"rho": 1.0, "ca": 0.0, "cb": 1.0}
        other, begin = CahnHilliard(half, mobility=mobility / 4, kappa=kappa, well=well), (start + 1) / 2
    times = torch.tensor(TIMES[setting.process]).double().expand(2, -1)
    bands = []
    for material, state in ((problem, start), (other, begin)):
        found = setting.model.rollout(material, state, times)
        qois = {n: v.double().numpy() for n, v in evaluate_qois(material, found.frames).items()}
        bands.append((found, setting.model.bands(found, qois)))
    np.testing.assert_allclose(bands[0][0].lead, bands[1][0].lead, rtol=1e-9)
    np.testing.assert_allclose(bands[0][0].wavenumbers, bands[1][0].wavenumbers)
    late = bands[0][0].lead > 0
    low, high = (np.stack([b[1]["mean"][i][late] for b in bands]) for i in (0, 1))
    np.testing.assert_allclose((high - low)[0], (high - low)[1] * (1 if setting.process == GRAIN_GROWTH else 2))
    low, high = (np.stack([b[1]["free_energy"][i][late] for b in bands]) for i in (0, 1))
    np.testing.assert_allclose(high[0] / low[0], high[1] / low[1], rtol=1e-3)
