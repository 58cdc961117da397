"""Windows of larger specimens: the estimate from the interior, the open box, and the check of what is assumed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from phasetwin import main
from solvers import CahnHilliard, GrainGrowth, Grid, InputError, simulate, simulate_grains
from solvers.grids.grid import Boundary
from solvers.initial import noise, voronoi
from studies.twin.config import Observations, TwinConfig
from studies.twin.inference.estimate import levels_by_dynamics
from studies.twin.model.weak_form import interior_estimate, well_levels
from studies.twin.observations.alignment import aligned
from studies.twin.observations.boundaries import told_boundary
from studies.twin.observations.frames import ObservedFrames, estimate_levels, make_frames, open_camera
from studies.twin.observations.readers import read_frames
from studies.twin.processes import CAHN_HILLIARD
from studies.twin.twin import Twin

MOBILITY, KAPPA = 1.3, 0.9
SIGMA = 0.1


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def specimen() -> ObservedFrames:
    """Ten clean frames of a whole specimen, composition as grey value."""
    grid = Grid((96, 96))
    times = 30.0 + 8.0 * np.arange(10)
    field = simulate(CahnHilliard(grid, MOBILITY, KAPPA), noise(grid, 0.1, 0.05, [11]), times.tolist(), 1e-3)
    return ObservedFrames(times, field[0].numpy())


def window(specimen: ObservedFrames, cells: int, sigma: float) -> ObservedFrames:
    grey = specimen.grey[:, 20 : 20 + cells, 30 : 30 + cells]
    return make_frames(specimen.times, grey + sigma * np.random.default_rng(2).standard_normal(grey.shape), "test")


@pytest.mark.parametrize(("sigma", "mobility", "kappa"), [(0.0, 0.01, 0.003), (SIGMA, 0.1, 0.04)])
def test_interior_tells_the_material(specimen: ObservedFrames, sigma: float, mobility: float, kappa: float) -> None:
    frames = window(specimen, 64, sigma)
    found = interior_estimate(frames.grey, frames.seen, frames.times, sigma, 1.0)
    assert found is not None
    assert found.mobility == pytest.approx(MOBILITY, rel=mobility)
    assert found.kappa == pytest.approx(KAPPA, rel=kappa)


def test_interior_does_not_depend_on_the_units_of_length(specimen: ObservedFrames) -> None:
    """dc/dt = M lap mu: with pixels of 0.5, M and kappa are a quarter in numbers."""
    frames = window(specimen, 64, SIGMA)
    one, half = (interior_estimate(frames.grey, frames.seen, frames.times, SIGMA, spacing) for spacing in (1.0, 0.5))
    assert one is not None
    assert half is not None
    assert half.mobility == pytest.approx(0.25 * one.mobility, rel=1e-12)
    assert half.kappa == pytest.approx(0.25 * one.kappa, rel=1e-12)


def test_pixels_that_were_not_seen_do_not_count(specimen: ObservedFrames) -> None:
    frames = window(specimen, 64, 0.0)
    spoilt, seen = frames.grey.copy(), frames.seen
    spoilt[:, :4], seen[:, :4] = 7.0, False
    found = interior_estimate(spoilt, seen, frames.times, 0.0, 1.0)
    assert found is not None
    assert found.mobility == pytest.approx(MOBILITY, rel=0.01)


def test_dynamics_tell_where_the_wells_are(specimen: ObservedFrames) -> None:
    values = 0.05 + 0.85 * window(specimen, 64, 0.0).grey
    assert well_levels(values, np.ones(values.shape, dtype=bool), specimen.times, 0.0, 10) == pytest.approx(
        (0.05, 0.85), abs=2e-3
    )


def test_too_little_to_tell_is_no_estimate(specimen: ObservedFrames) -> None:
    frames = window(specimen, 24, 0.0)
    assert interior_estimate(frames.grey, frames.seen, frames.times, 0.0, 1.0) is None
    three = window(specimen, 64, 0.0).first(3)
    assert interior_estimate(three.grey, three.seen, three.times, 0.0, 1.0) is None


def test_open_box_goes_on_around_the_frames(specimen: ObservedFrames) -> None:
    frames = window(specimen, 48, SIGMA)
    camera = open_camera(frames, 1.0)
    margin = camera.origin[0]
    assert camera.open
    assert camera.origin == (margin, margin)
    assert camera.grid.shape == (48 + 2 * margin, 48 + 2 * margin)
    assert 8 <= margin <= 48
    outside = camera.outside(camera.grid.shape)
    assert outside[0, 0] == pytest.approx(1.0)
    assert outside[margin + 24, margin + 24] == pytest.approx(0.0)
    assert torch.equal(camera.view(torch.from_numpy(camera.spread(frames.grey[0]))), torch.from_numpy(frames.grey[0]))


@pytest.mark.parametrize(("axis", "after", "side"), [(1, True, "bottom"), (1, False, "top"), (2, True, "right")])
def test_information_bars_are_found_and_named(specimen: ObservedFrames, axis: int, after: bool, side: str) -> None:
    grey = window(specimen, 64, SIGMA).grey
    bar = np.zeros((10, 8, 64) if axis == 1 else (10, 64, 8))
    bar[:, 2:6, 2:6] = 1.0
    framed = make_frames(specimen.times, np.concatenate([grey, bar] if after else [bar, grey], axis), "test")
    assert [side in note and note.startswith("8 ") for note in framed.notes] == [True]
    inside = slice(None, 64) if after else slice(8, None)
    seen = np.moveaxis(framed.seen, axis, 0)
    assert seen[inside].all()
    assert seen.sum() == grey.size
    found = interior_estimate(np.nan_to_num(framed.grey), framed.seen, framed.times, SIGMA, 1.0)
    assert found is not None
    assert found.mobility == pytest.approx(MOBILITY, rel=0.1)


def test_bar_of_a_later_frame_is_left_out_too(specimen: ObservedFrames) -> None:
    """Frames that arrive one by one meet those whose bars are hidden already."""
    grey = window(specimen, 48, SIGMA).grey
    framed = np.concatenate([grey, np.zeros((10, 8, 48))], 1)
    before = make_frames(specimen.times[:9], framed[:9], "test")
    after = make_frames(specimen.times, np.concatenate([before.grey, framed[9:]]), "test")
    assert not after.seen[:, 48:].any()
    assert after.seen[:, :48].all()


@pytest.mark.parametrize(
    ("line", "key"),
    [("grid: {boundary: open, shape: [64, 64]}", "grid.shape"), ("grid: {boundary: open}", "observations.origin")],
)
def test_open_box_takes_no_shape_and_no_origin(tmp_path: Path, line: str, key: str) -> None:
    path = write(tmp_path, "open")
    np.save(tmp_path / "frames.npy", np.zeros((4, 40, 40)))
    text = path.read_text().replace("grid: {boundary: open}", line)
    if key == "observations.origin":
        text = text.replace("interval: 8.0", "interval: 8.0, origin: [4.0, 4.0]")
    path.write_text(text)
    with pytest.raises(InputError, match=key):
        Twin.from_yaml(path)


def test_frames_without_contrast_are_said_with_an_open_box(tmp_path: Path) -> None:
    np.save(tmp_path / "frames.npy", np.zeros((4, 40, 40)))
    twin = Twin.from_yaml(write(tmp_path, "open"))
    with pytest.raises(InputError, match="without contrast"):
        twin.assimilate(ObservedFrames(np.arange(4.0), np.zeros((4, 40, 40))))


def test_interval_of_the_file_wins_over_a_tag(specimen: ObservedFrames, tmp_path: Path) -> None:
    tags = {"axes": "TYX", "TimeIncrement": 2.5}
    tifffile.imwrite(tmp_path / "a.ome.tif", window(specimen, 40, 0.0).grey, metadata=tags)
    for interval, step in ((None, 2.5), (8.0, 8.0)):
        frames = read_frames(Observations(path=str(tmp_path / "a.ome.tif"), interval=interval))
        np.testing.assert_allclose(np.diff(frames.times), step)


def test_saturated_frame_is_left_out_and_named(specimen: ObservedFrames) -> None:
    grey = window(specimen, 40, SIGMA).grey.copy()
    grey[4] = 1.0
    frames = make_frames(specimen.times, grey, "test")
    assert len(frames.times) == 9
    assert frames.notes == ("frame at 62 left out: it is 1 everywhere",)


def test_frames_without_bars_keep_their_edges(specimen: ObservedFrames) -> None:
    for sigma in (0.0, SIGMA):
        frames = window(specimen, 48, sigma)
        assert frames.seen.all()
        assert frames.notes == ()


def followed(tmp_path: Path, frames: ObservedFrames, boundary: str) -> Twin:
    np.save(tmp_path / "frames.npy", frames.grey)
    twin = Twin.from_yaml(write(tmp_path, boundary))
    twin.assimilate(frames)
    return twin


def write(tmp_path: Path, boundary: str) -> Path:
    path = tmp_path / f"{boundary}.yaml"
    path.write_text(
        "schema_version: 1\nname: window\nprocess: cahn_hilliard\n"
        f"observations: {{path: frames.npy, interval: 8.0}}\ngrid: {{boundary: {boundary}}}\n"
        "assimilation: {members: 8}\nforecast: {until: 200, every: 20}\n"
    )
    return path


def test_open_box_recovers_what_a_wall_does_not(specimen: ObservedFrames, tmp_path: Path) -> None:
    frames = window(specimen, 48, SIGMA)
    opened = followed(tmp_path, frames, "open")
    values = opened.history[-1].values
    assert np.median(values["mobility"]) == pytest.approx(MOBILITY, rel=0.15)
    assert np.median(values["kappa"]) == pytest.approx(KAPPA, rel=0.08)
    # What lies outside never settles quite: bands say so.
    assert np.log(values["mobility"]).std() > 0.01
    assert not opened.check().flagged
    assert opened.box().startswith("a window of a larger specimen, with a margin of ")
    assert followed(tmp_path, frames, "no_flux").check().flagged


def test_inspect_says_what_was_understood(
    specimen: ObservedFrames, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = window(specimen, 64, SIGMA)
    np.save(tmp_path / "frames.npy", frames.grey)
    arguments = ["inspect", str(tmp_path / "frames.npy"), "--interval", "8", "--process", "cahn_hilliard"]
    assert main([*arguments, "--sheet", str(tmp_path / "sheet.png")]) == 0
    rows = dict(line.split(":", 1) for line in capsys.readouterr().out.splitlines()[:6])
    assert rows["frames"].split()[:4] == ["10", "of", "64", "x"]
    assert float(rows["mobility"].split()[0]) == pytest.approx(MOBILITY, rel=0.15)
    assert float(rows["kappa"].split()[0]) == pytest.approx(KAPPA, rel=0.06)
    assert (tmp_path / "sheet.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ([], "found no times"),
        (["--interval", "-1"], "--interval: found -1"),
        (["--interval", "8", "--pixel-size", "0"], "--pixel-size: found 0"),
        (["--interval", "8", "--process", "grain_growth"], "--process: found nothing"),
    ],
)
def test_inspect_says_what_is_missing(
    specimen: ObservedFrames, tmp_path: Path, capsys: pytest.CaptureFixture[str], extra: list[str], message: str
) -> None:
    np.save(tmp_path / "frames.npy", window(specimen, 40, 0.0).grey)
    assert main(["inspect", str(tmp_path / "frames.npy"), *extra]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("sigma", [0.05, 0.2, 0.4])
def test_levels_are_told_by_the_dynamics(specimen: ObservedFrames, sigma: float) -> None:
    """A histogram has them a tenth of the range off and more, as few cells reach the wells."""
    frames = window(specimen, 64, sigma)
    by_histogram = estimate_levels(frames, CAHN_HILLIARD, sigma)
    found = levels_by_dynamics(frames, CAHN_HILLIARD, by_histogram)
    assert found.low == pytest.approx(-1.0, abs=0.02 + 0.2 * sigma)
    assert found.high == pytest.approx(1.0, abs=0.02 + 0.2 * sigma)
    assert found.span - 2.0 > by_histogram.span - 2.0


class TestToldBoundary:
    """Whole specimens are told from windows by how they meet their edges."""

    @pytest.mark.parametrize("sigma", [0.0, 0.1, 0.3])
    @pytest.mark.parametrize("boundary", ["periodic", "no_flux"])
    @pytest.mark.parametrize("seed", [1, 2, 3])
    def test_phases(self, boundary: Boundary, sigma: float, seed: int) -> None:
        grid = Grid((48, 48), boundary=boundary)
        times = (40.0 + 8.0 * np.arange(6)).tolist()
        whole = simulate(CahnHilliard(grid, 1.0, 1.0), noise(grid, 0.1, 0.05, [seed]), times, 1e-2)[0].numpy()
        whole = whole + sigma * np.random.default_rng(seed).standard_normal(whole.shape)
        frames = make_frames(np.array(times), whole, "test")
        assert told_boundary(frames, sigma) == boundary
        cut = make_frames(np.array(times), whole[:, 4:40, 6:42], "test")
        assert told_boundary(cut, sigma) is None

    @pytest.mark.parametrize("boundary", ["periodic", "no_flux"])
    def test_grains(self, boundary: Boundary) -> None:
        grid, times = Grid((48, 48), boundary=boundary), (10.0 + 4.0 * np.arange(4))
        solution = simulate_grains(GrainGrowth(grid, 1.0, 1.0), voronoi(grid, 25, [4]), times.tolist(), tolerance=2e-2)
        whole = solution.field[0].double().numpy()
        assert told_boundary(make_frames(times, whole, "test"), 0.0) == boundary
        assert told_boundary(make_frames(times, whole[:, 6:42, 5:41], "test"), 0.0) is None

    def test_nothing_is_told_where_an_edge_is_not_seen(self) -> None:
        grey = np.random.default_rng(0).standard_normal((3, 24, 24))
        grey[:, -1] = np.nan
        assert told_boundary(make_frames(np.arange(3.0), grey, "test"), 0.1) is None

    def test_a_known_box_has_walls_unless_the_file_says_otherwise(self, tmp_path: Path) -> None:
        np.save(tmp_path / "frames.npy", np.zeros((2, 16, 16)))
        config = {
            "schema_version": 1,
            "name": "t",
            "process": "cahn_hilliard",
            "forecast": {"until": 1.0, "every": 1.0},
        }
        seen: dict[str, object] = {"path": str(tmp_path / "frames.npy")}
        made = [
            TwinConfig.model_validate({**config, "observations": seen, **more}).grid.boundary
            for more in ({}, {"grid": {"shape": [64, 64]}}, {"grid": {"shape": [64, 64], "boundary": "periodic"}})
        ]
        assert made == ["open", "no_flux", "periodic"]


class TestAlignment:
    """Drift is taken out, a frame unlike its neighbours is left out, right frames are left alone."""

    def aligned(self, specimen: ObservedFrames, grey: np.ndarray, sigma: float) -> ObservedFrames:
        noisy = grey + sigma * np.random.default_rng(5).standard_normal(grey.shape)
        return aligned(make_frames(specimen.times, noisy, "test"))

    @pytest.mark.parametrize("sigma", [0.0, SIGMA, 0.4])
    def test_right_frames_are_left_alone(self, specimen: ObservedFrames, sigma: float) -> None:
        found = self.aligned(specimen, specimen.grey[:, 20:84, 30:78], sigma)
        assert found.notes == ()
        assert found.seen.all()

    @pytest.mark.parametrize("sigma", [SIGMA, 0.4])
    def test_drift(self, specimen: ObservedFrames, sigma: float) -> None:
        cut = np.stack([specimen.grey[i, 10 + i : 74 + i, 30 - i // 2 : 78 - i // 2] for i in range(10)])
        found = self.aligned(specimen, cut, sigma)
        assert len(found.notes) == 9
        # What moves in the specimen counts a little as drift.
        down, right = (float(word.rstrip(",")) for word in found.notes[-1].split()[6:8])
        assert (down, right) == (pytest.approx(-9.0, abs=0.8), pytest.approx(4.0, abs=0.5))
        off = (found.grey - specimen.grey[:, 10:74, 30:78])[:, 12:-12, 8:-8]
        assert np.isfinite(off).all()
        assert float(np.sqrt(np.square(off).mean())) < np.hypot(sigma, 0.15)

    def test_one_shifted_frame(self, specimen: ObservedFrames) -> None:
        grey = specimen.grey[:, 20:84, 30:78].copy()
        grey[4] = specimen.grey[4, 24:88, 33:81]
        found = self.aligned(specimen, grey, SIGMA)
        assert found.notes == ("frame at 62 left out: it is unlike those before and after it",)
        assert len(found.times) == 9

    def test_swapped_frames(self, specimen: ObservedFrames) -> None:
        grey = specimen.grey[:, 20:84, 30:78].copy()
        grey[[4, 5]] = grey[[5, 4]]
        found = self.aligned(specimen, grey, SIGMA)
        assert found.notes == ("frames at 62 and 70 left out: they look swapped",)

    def test_a_file_may_say_not_to(self, specimen: ObservedFrames, tmp_path: Path) -> None:
        grey = specimen.grey[:, 20:84, 30:78].copy()
        grey[4] = specimen.grey[4, 24:88, 33:81]
        np.save(tmp_path / "frames.npy", grey)
        block = {"path": str(tmp_path / "frames.npy"), "interval": 8.0}
        assert len(read_frames(Observations.model_validate(block)).times) == 9
        as_they_are = Observations.model_validate({**block, "bad_frames": "off", "register": "off"})
        assert len(read_frames(as_they_are).times) == 10
        assert as_they_are.model_dump()["register"] == "off"
