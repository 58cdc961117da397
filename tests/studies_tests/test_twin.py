"""The digital twin on small synthetic furnaces: recovery, streaming, damage, wrong process, bad input."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from PIL import Image

from phasetwin import main
from solvers import CahnHilliard, GrainGrowth, Grid, InputError, simulate, simulate_grains
from solvers.grains.simulation import order_parameters
from solvers.initial import noise, voronoi
from solvers.integrators.fixed_step import phi_functions
from solvers.processes.registry import PROCESSES, process_named, register_process
from studies import Twin
from studies.twin.config import TwinConfig
from studies.twin.diagnostics.determined_part import determined_part
from studies.twin.forecast import crossing_times, forecast_members
from studies.twin.model.process_model import FirstGuess, Members
from studies.twin.model.window import Window
from studies.twin.observations.frames import ObservedFrames, camera_for, estimate_noise, make_frames
from studies.twin.observations.readers import read_frames
from studies.twin.observations.segmentation import segment
from studies.twin.processes import CAHN_HILLIARD
from studies.twin.store import folder_for
from studies.twin.twin import Forecast
from sweeps.engines.solver_kind import SolverBlock

CELLS, FRAMES, SIGMA = 24, 5, 0.03
TRUTH = {"mobility": 1.2, "kappa": 1.1}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def furnace() -> ObservedFrames:
    """Five noisy frames of phase separation and two clean later ones."""
    grid = Grid((CELLS, CELLS), 1.0, "no_flux")
    times = 50.0 + 12.0 * np.arange(FRAMES + 2)
    problem = CahnHilliard(grid, mobility=TRUTH["mobility"], kappa=TRUTH["kappa"])
    field = simulate(problem, noise(grid, 0.1, 0.05, [5]), times.tolist(), tolerance=1e-3)[0].numpy()
    grey = 0.5 * (field + 1.0)
    grey[:FRAMES] += SIGMA * np.random.default_rng(5).standard_normal(grey[:FRAMES].shape)
    return make_frames(times - times[0], grey, "test")


def seen(furnace: ObservedFrames) -> ObservedFrames:
    return ObservedFrames(furnace.times[:FRAMES], furnace.grey[:FRAMES].copy())


def config(path: Path, **changes: object) -> TwinConfig:
    data: dict[str, object] = {
        "schema_version": 1,
        "name": "test",
        "process": "cahn_hilliard",
        "observations": {"path": str(path), "noise": SIGMA},
        "parameters": {
            "mobility": {"prior": "lognormal", "median": 1.0, "sigma": 0.5},
            "kappa": {"prior": "uniform", "low": 0.5, "high": 2.0},
        },
        "assimilation": {"members": 8, "iterations": 25},
        "forecast": {"until": 72.0, "every": 12.0},
        "engine": {"kind": "solver", "tolerance": 0.01},
    }
    return TwinConfig.model_validate(data | changes)


@pytest.fixture(scope="module")
def twin(furnace: ObservedFrames, tmp_path_factory: pytest.TempPathFactory) -> Twin:
    followed = Twin(config(tmp_path_factory.mktemp("twin")))
    followed.assimilate(seen(furnace))
    return followed


def test_recovers_the_material(twin: Twin) -> None:
    """24 x 24 cells and five frames: 10 % is twice what 64 x 64 and ten frames give in the median."""
    known = {row.name: row for row in twin.identifiability()}
    for name, value in TRUTH.items():
        assert known[name].value == pytest.approx(value, rel=0.1)
        assert known[name].verdict == "determined"


def test_forecast_beats_persistence(twin: Twin, furnace: ObservedFrames) -> None:
    forecast = twin.forecast([60.0, 72.0])
    still = np.sqrt(np.mean((furnace.grey[FRAMES - 1] - furnace.grey[FRAMES:]) ** 2))
    error = np.sqrt(np.mean((forecast.grey.mean(0) - furnace.grey[FRAMES:]) ** 2))
    assert error < 0.5 * still


def test_members_conserve_mass_and_keep_bounds(twin: Twin) -> None:
    forecast = twin.forecast([60.0, 72.0])
    means = forecast.field.mean((2, 3))
    # Single precision over a few hundred steps.
    np.testing.assert_allclose(means[:, 0], means[:, 1], atol=1e-5)
    assert np.abs(forecast.field).max() < 1.2


def test_right_process_is_not_flagged(twin: Twin) -> None:
    assert not twin.check().flagged


def test_one_frame_leaves_mobility_to_the_prior(furnace: ObservedFrames, tmp_path: Path) -> None:
    alone = Twin(config(tmp_path))
    alone.update(furnace.grey[0], 0.0)
    known = {row.name: row for row in alone.identifiability()}
    assert known["mobility"].verdict == "not determined"


def test_half_the_pixels_and_a_dead_column_still_recover(furnace: ObservedFrames, tmp_path: Path) -> None:
    damaged = seen(furnace)
    hidden = np.random.default_rng(1).random(damaged.grey.shape) < 0.5
    damaged.grey[hidden] = np.nan
    damaged.grey[:, :, 7] = np.nan
    followed = Twin(config(tmp_path))
    followed.assimilate(damaged)
    known = {row.name: row.value for row in followed.identifiability()}
    for name, value in TRUTH.items():
        assert known[name] == pytest.approx(value, rel=0.15)  # half the pixels: 1.4 times the error


def test_wrong_process_is_flagged(tmp_path: Path) -> None:
    grid = Grid((32, 32), 1.0, "no_flux")
    times = [6.0, 11.0, 16.0, 21.0, 26.0]
    field = simulate_grains(GrainGrowth(grid), voronoi(grid, 20, [3]), times, tolerance=1e-2).field[0].numpy()
    grey = field + SIGMA * np.random.default_rng(3).standard_normal(field.shape)
    followed = Twin(config(tmp_path))
    followed.assimilate(make_frames(np.array(times), grey, "test"))
    assert followed.check().flagged


def test_window_follows_the_solver() -> None:
    """Third order at steps of 1: 0.1 % of the range where steps were calibrated; the limit leaves a factor of three."""
    grid = Grid((32, 32), 1.0, "no_flux")
    problem = CahnHilliard(grid, mobility=1.0, kappa=1.0)
    start = simulate(problem, noise(grid, 0.0, 0.05, [1]), [80.0], tolerance=1e-4)[:, 0]
    times = np.array([0.0, 10.0, 30.0])
    window = Window(CAHN_HILLIARD, grid, times, 1.0, 1.0, dtype=torch.float64)
    one = torch.ones(1, dtype=torch.float64)
    with torch.no_grad():
        frames, _ = window.run(window.basis.forward(start)[:, None], {"mobility": one, "kappa": one})
    truth = simulate(problem, start, times.tolist(), tolerance=1e-4)
    assert float((frames - truth).square().mean().sqrt()) < 0.003 * 2.0


def test_window_is_differentiable() -> None:
    """The gradient with respect to mobility against a difference quotient."""
    grid = Grid((16, 16), 1.0, "periodic")
    start = noise(grid, 0.0, 0.5, [2])
    window = Window(CAHN_HILLIARD, grid, np.array([0.0, 5.0]), 1.0, 1.0, dtype=torch.float64)
    kappa = torch.ones(1, dtype=torch.float64)

    def cost(mobility: torch.Tensor) -> torch.Tensor:
        frames, _ = window.run(window.basis.forward(start)[:, None], {"mobility": mobility, "kappa": kappa})
        return frames[0, -1].square().sum()

    mobility = torch.ones(1, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(cost(mobility), mobility)
    with torch.no_grad():
        up, down = (cost(torch.tensor([1.0 + h], dtype=torch.float64)) for h in (1e-4, -1e-4))
    quotient = (up - down) / 2e-4
    assert float(slope) == pytest.approx(float(quotient), rel=1e-4)  # of a central difference with step 1e-4


def test_phi_functions_join_smoothly() -> None:
    z = torch.tensor([-0.4999999, -0.5000001], dtype=torch.float64)
    for values in phi_functions(z, 3):
        assert float(values[0]) == pytest.approx(float(values[1]), rel=1e-6)


def test_segmentation_finds_the_grains() -> None:
    grid = Grid((48, 48), 1.0, "periodic")
    frames = simulate_grains(GrainGrowth(grid), voronoi(grid, 15, [4]), [20.0], tolerance=1e-2)
    assert frames.grain_id is not None
    labels = segment(frames.field[0, 0].numpy(), grid)
    areas = torch.bincount(frames.grain_id.flatten())
    # A grain about to vanish has no bright core: those of 3 x 3 cells and less may be missed.
    assert int((areas > 9).sum()) <= labels.max() + 1 <= int((areas > 0).sum())


@pytest.mark.parametrize(("grains", "age", "sigma"), [(60, 6.0, 0.05), (24, 12.0, 0.2)])
def test_segmentation_in_noise(grains: int, age: float, sigma: float) -> None:
    """All grains but small ones about to vanish, and none that is not there: a watershed alone misses others too."""
    grid = Grid((48, 48), 1.0, "periodic")
    frames = simulate_grains(GrainGrowth(grid), voronoi(grid, grains, [5]), [age], tolerance=1e-2)
    assert frames.grain_id is not None
    phi, truth = frames.field[0, 0].numpy(), frames.grain_id[0, 0].numpy()
    noisy = phi + sigma * np.random.default_rng(6).standard_normal(phi.shape)
    labels = segment(noisy.clip(0.0, 1.1), grid, sigma)[2::4, 2::4]
    overlap = np.array([[((truth == a) & (labels == b)).sum() for b in np.unique(labels)] for a in np.unique(truth)])
    union = overlap.sum(1)[:, None] + overlap.sum(0) - overlap
    found = (overlap / union).max(1) > 0.6
    assert found[overlap.sum(1) > 20].all()
    assert len(np.unique(labels)) <= len(np.unique(truth))


def test_grains_start_from_order_parameters() -> None:
    """Order parameters given as a start are those that labels would have made: the same run."""
    grid = Grid((24, 24), 1.0, "periodic")
    labels = voronoi(grid, 6, [1])
    by_labels = simulate_grains(GrainGrowth(grid), labels, [5.0], tolerance=1e-3)
    given = simulate_grains(GrainGrowth(grid), labels, [5.0], tolerance=1e-3, start=order_parameters(labels, grid))
    torch.testing.assert_close(by_labels.field, given.field, atol=1e-9, rtol=0)  # round-off


def test_bad_start_of_grains_is_refused() -> None:
    grid = Grid((24, 24), 1.0, "periodic")
    with pytest.raises(InputError, match="start"):
        simulate_grains(GrainGrowth(grid), voronoi(grid, 6, [1]), [5.0], start=torch.zeros(1, 2, 24, 24))


def test_crossings_are_interpolated() -> None:
    values = np.array([[0.0, 1.0, 3.0], [0.0, 0.5, 0.9], [5.0, 6.0, 7.0]])
    found = crossing_times(np.array([0.0, 10.0, 20.0]), values, 2.0, upward=True)
    np.testing.assert_allclose(found, [15.0, np.nan, 0.0])


def test_noise_is_estimated(furnace: ObservedFrames) -> None:
    """Interfaces add to it; a fifth is enough to weigh frames."""
    assert estimate_noise(seen(furnace)) == pytest.approx(SIGMA, rel=0.2)


def test_noise_is_not_mistaken_for_boundaries() -> None:
    """Thin lines that move slowly look like noise in each frame, not from frame to frame; what is fast does in time."""
    rng = np.random.default_rng(7)
    lines = (rng.random((32, 32)) < 0.4).astype(float)
    slow = make_frames(np.array([0.0, 1.0, 3.0, 4.0]), lines + 0.05 * rng.standard_normal((4, 32, 32)), "test")
    smooth = np.sin(np.arange(32.0) / 8.0)[:, None] * np.array([0.0, 1.0, -1.0, 2.0])[:, None, None]
    fast = make_frames(slow.times, smooth + 0.05 * rng.standard_normal((4, 32, 32)), "test")
    for frames in (slow, fast):
        assert estimate_noise(frames) == pytest.approx(0.05, rel=0.1)


@pytest.mark.parametrize("kind", ["zarr", "nc", "npy", "tif", "png"])
def test_readers_agree(kind: str, tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 255, (3, 12, 10)).astype(np.uint8)
    times = [3.0, 0.0, 1.5]
    path = tmp_path / f"frames.{kind}"
    extra: dict[str, object] = {}
    if kind in ("zarr", "nc"):
        dataset = xr.Dataset({"c": (("time", "y", "x"), grey.astype(np.float32))}, {"time": times})
        dataset.to_zarr(path, consolidated=False) if kind == "zarr" else dataset.to_netcdf(path, engine="h5netcdf")
    elif kind == "npy":
        np.save(path, grey)
        extra["times"] = times
    elif kind == "tif":
        pages = [Image.fromarray(frame) for frame in grey]
        pages[0].save(path, save_all=True, append_images=pages[1:])
        extra["times"] = times
    else:
        path = tmp_path
        write_folder(tmp_path, grey, times)
    frames = read_frames(config(path, observations={"path": str(path), **extra}).observations)
    np.testing.assert_array_equal(frames.times, sorted(times))
    np.testing.assert_array_equal(frames.grey, grey[[1, 2, 0]])


def write_folder(folder: Path, grey: np.ndarray, times: list[float]) -> None:
    rows = ["file,time"]
    for i, (frame, time_) in enumerate(zip(grey, times, strict=True)):
        Image.fromarray(frame).save(folder / f"f{i}.png")
        rows.append(f"f{i}.png,{time_}")
    (folder / "times.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def test_camera_sees_block_means_of_a_crop() -> None:
    camera = camera_for((4, 5), 1.0, "no_flux", (12, 14), 2.0, (2.0, 3.0))
    values = torch.arange(12 * 14, dtype=torch.float64).reshape(12, 14)
    torch.testing.assert_close(camera.view(values)[0, 0], values[2:4, 3:5].mean())
    assert camera.spread(np.zeros((4, 5))).shape == (12, 14)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make_frames(np.array([0.0, 0.0]), np.zeros((2, 9, 9)), "f"), "twice"),
        (lambda: make_frames(np.array([0.0]), np.full((1, 9, 9), np.nan), "f"), "no frame"),
        (lambda: make_frames(np.array([np.nan]), np.zeros((1, 9, 9)), "f"), "not a number"),
        (lambda: make_frames(np.array([0.0]), np.zeros((9, 9)), "f"), "axes"),
        (lambda: camera_for((9, 9), 1.0, "no_flux", pixel_size=1.5), "pixel_size"),
        (lambda: camera_for((9, 9), 1.0, "no_flux", (8, 8)), "grid.shape"),
    ],
)
def test_bad_frames_are_refused(make: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()  # type: ignore[operator]


YAML = """schema_version: 1
name: t
process: cahn_hilliard
observations: {{path: {path}, noise: 0.03, interval: 12}}
parameters:
  mobility: {{prior: lognormal, median: 1.0, sigma: 0.5}}
  kappa: {{prior: uniform, low: 0.5, high: 2.0}}
assimilation: {{members: 8, iterations: 12}}
forecast: {{until: 72, every: 12, thresholds: [{{qoi: domain_size, above: 3}}]}}
output: {{path: {out}}}
"""


def write_yaml(folder: Path, path: Path) -> Path:
    file = folder / "twin.yaml"
    file.write_text(YAML.format(path=path, out=folder / "out.zarr"), encoding="utf-8")
    return file


def test_killed_before_the_first_state(tmp_path: Path) -> None:
    """A state still under its temporary name, and nothing else, is none; anything more is somebody's."""
    np.save(tmp_path / "f.npy", np.zeros((2, 8, 8)))
    twin = Twin.from_yaml(write_yaml(tmp_path, tmp_path / "f.npy"))
    out = tmp_path / "out.zarr"
    out.mkdir()
    (out / "state.npz.partial").write_bytes(b"PK")
    assert folder_for(twin) == out
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="other things"):
        folder_for(twin)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("parameters.kapa=1", "kapa"),
        ("parameters.gamma=1.5", "gamma"),
        ("engine={kind: auto}", "allowed 'solver', 'surrogate'"),
        ("forecast.thresholds=[{qoi: domain_sise, above: 3}]", "domain_sise"),
        ("observations.path=nowhere.zarr", "nowhere"),
        ("assimilation.members=2", "members"),
        ("parameters.kappa={prior: uniform, low: 2, high: 1}", "low < high"),
    ],
)
def test_bad_files_are_one_line(change: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "f.npy", np.zeros((2, 12, 12)))
    assert main(["lint", str(write_yaml(tmp_path, tmp_path / "f.npy")), "--set", change]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error


def test_a_process_that_twins_do_not_know_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "f.npy", np.zeros((2, 12, 12)))
    register_process(replace(process_named("cahn_hilliard"), name="alloy"))
    try:
        assert main(["lint", str(write_yaml(tmp_path, tmp_path / "f.npy")), "--set", "process=alloy"]) == 2
    finally:
        PROCESSES.unregister("alloy")
    error = capsys.readouterr().err.strip()
    assert "allowed cahn_hilliard or grain_growth (a twin needs a TwinProcess" in error
    assert "\n" not in error


def test_checking_a_file_loads_no_torch() -> None:
    code = "import sys, studies.twin.config; sys.exit('torch' in sys.modules)"
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    assert subprocess.run([sys.executable, "-c", code], env=here, check=False).returncode == 0


@pytest.mark.parametrize("model", ["no-such-model", "gg-jump"])
def test_models_that_cannot_forecast_are_refused_at_once(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "f.npy", np.zeros((2, 12, 12)))
    change = f"engine={{kind: surrogate, model: {model}}}"
    assert main(["assimilate", str(write_yaml(tmp_path, tmp_path / "f.npy")), "--set", change]) == 2
    error = capsys.readouterr().err.strip()
    assert model in error
    assert "\n" not in error


def test_lint_and_schema_know_twins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "f.npy", np.zeros((2, 12, 12)))
    assert main(["lint", str(write_yaml(tmp_path, tmp_path / "f.npy"))]) == 0
    assert "(twin)" in capsys.readouterr().out
    assert main(["schema", "twin"]) == 0


def test_assimilate_writes_store_and_report(
    furnace: ObservedFrames, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From damaged frames: out of order, one missing, half the pixels of another masked, a dead column."""
    grey = furnace.grey[[1, 0, 2, 3]].copy()
    grey[2] = np.nan
    grey[0][np.random.default_rng(1).random(grey[0].shape) < 0.5] = np.nan
    grey[:, :, 5] = 0.5
    np.save(tmp_path / "f.npy", grey)
    file = write_yaml(tmp_path, tmp_path / "f.npy")
    assert main(["assimilate", str(file), "--set", "observations.times=[12, 0, 24, 36]"]) == 0
    assert "of the window is determined at t = " in capsys.readouterr().out
    posterior = xr.open_zarr(tmp_path / "out.zarr", group="posterior", consolidated=False)
    assert {"mobility", "kappa", "composition"} <= set(posterior.data_vars)
    assert all(np.isfinite(posterior[name]).all() for name in ("mobility", "kappa", "composition"))
    forecast = xr.open_zarr(tmp_path / "out.zarr", group="forecast", consolidated=False)
    assert {"field", "domain_size", "domain_size_low", "crossing_time", "variance_share"} <= set(forecast.data_vars)
    with np.load(tmp_path / "out.zarr" / "state.npz") as state:
        assert state["times"].tolist() == [0.0, 12.0, 36.0]
    report = tmp_path / "out.zarr" / "report"
    assert {"index.html", "animation.gif", "quantities.png"} <= {p.name for p in report.iterdir()}


def test_watch_survives_a_kill(furnace: ObservedFrames, tmp_path: Path) -> None:
    """Killed after the first update and started again: the same posterior as without the kill."""
    grey = np.clip(furnace.grey[:2, :16, :16] * 200 + 25, 0, 255).astype(np.uint8)
    source = tmp_path / "source"
    source.mkdir()
    write_folder(source, grey, [0.0, 12.0])
    found = []
    for name, kill in (("killed", True), ("whole", False)):
        folder = tmp_path / name
        folder.mkdir()
        file = write_yaml(folder, source)
        words = ["assimilate", str(file), "--watch", str(source), "--idle", "1", "--set", "observations.noise=6.0"]
        if kill:
            here = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
            command = [sys.executable, "-m", "phasetwin", *words]
            process = subprocess.Popen(command, env=here, stdout=subprocess.DEVNULL)
            while not (folder / "out.zarr" / "state.npz").exists() and process.poll() is None:
                time.sleep(0.05)
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert main(words) == 0
        with np.load(folder / "out.zarr" / "state.npz") as state:
            found.append((state["times"], state["member_z"], state["member_lasts"], state["scores"]))
            assert "persistence" in str(state["scores"])
        scores = xr.open_zarr(folder / "out.zarr", group="scores", consolidated=False)
        assert scores["time"].values.tolist() == [12.0]
    for killed, whole in zip(*found, strict=True):
        np.testing.assert_array_equal(killed, whole)


EXAMPLES = Path(__file__).resolve().parents[2] / "studies" / "examples"


@pytest.mark.parametrize("name", ["spinodal", "grains"])
def test_examples_are_right(name: str, tmp_path: Path) -> None:
    frames = tmp_path / "f.npy"
    np.save(frames, np.zeros((2, 12, 12)))
    file = EXAMPLES / f"furnace-{name}.yaml"
    assert main(["lint", str(file), "--set", f"observations.path={frames}"]) == 0


def test_furnace_script_makes_readable_frames() -> None:
    sys.path.insert(0, str(EXAMPLES))
    from make_furnace import spinodal

    dataset, truth = spinodal(cells=16, frames=2)
    assert dataset["c"].dims == ("time", "y", "x")
    assert set(truth) == {"mobility", "kappa", "composition"}


def test_grain_twin_follows_and_forecasts(tmp_path: Path) -> None:
    """Images of phi alone; 24 cells and 4 frames pin the boundary's speed to a fifth."""
    grid = Grid((24, 24), 1.0, "no_flux")
    times = [8.0, 12.0, 16.0, 20.0]
    field = simulate_grains(GrainGrowth(grid, mobility=1.2), voronoi(grid, 8, [2]), times, tolerance=1e-2).field[0]
    grey = field.numpy() + 0.02 * np.random.default_rng(2).standard_normal(field.shape)
    followed = Twin(
        config(tmp_path, process="grain_growth", observations={"path": str(tmp_path), "levels": [0.0, 1.0]})
    )
    followed.assimilate(make_frames(np.array(times), grey, "test"))
    speed = next(row for row in followed.identifiability() if row.name == "M kappa")
    assert speed.value == pytest.approx(1.2, rel=0.2)
    forecast = followed.forecast([24.0])
    assert forecast.grey.shape == (8, 1, 24, 24)
    assert np.isfinite(forecast.qois["grain_count"]).all()


def test_forecasts_that_may_exceed_the_tolerance_say_so() -> None:
    empty = np.zeros((2, 1, 4, 4), dtype=np.float32)
    crossings = [("domain_size above 17", np.array([3.0, np.nan]))]
    part = determined_part(np.array([5.0]), empty, (slice(0, 4), slice(0, 4)), 4.0)
    sure, doubtful = "solver", "solver, estimated error 0.03"
    lines = Forecast(np.array([5.0]), empty, empty, {}, [sure, doubtful], crossings, part).crossing_lines()
    (line,) = lines
    assert line.endswith("in 50% of the members; 1 of 2 members may exceed the solver's tolerance")
    (line,) = Forecast(np.array([5.0]), empty, empty, {}, [sure, sure], crossings, part).crossing_lines()
    assert "tolerance" not in line


def test_the_engine_of_a_member_says_what_the_solver_measured() -> None:
    """Round-off decides the pattern of a mixture without noise: no tolerance can be kept, and the member says so."""
    grid = Grid((16, 16))
    states = torch.stack([noise(grid, 0.3, amplitude, [1])[0] for amplitude in (0.3, 1e-9)])[:, None].float()
    values = {"mobility": np.ones(2), "kappa": np.full(2, 0.4)}
    members = Members(CAHN_HILLIARD, grid, grid.shape, states, values, FirstGuess(0.1, 1, {}), 0.0)
    found = forecast_members(members, np.array([600.0]), SolverBlock(tolerance=1e-3, dtype="float32"))
    assert found.engine[0] == "solver"
    assert found.engine[1].startswith("solver, estimated error")
