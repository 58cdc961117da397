"""The paper's network: its size, its symmetry, its task."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from mock_stores import write_sweep
from safetensors.torch import load_file, save_file
from torch import nn

from solvers import CahnHilliard, GrainGrowth, Grid, simulate, simulate_grains
from solvers.errors import InputError
from solvers.initial import noise, voronoi
from surrogate.networks.gsta import GstaNet, GstaSettings, frames_after
from surrogate.networks.periodic import wrap
from surrogate.recipes import points
from surrogate.training.clips import equally_spaced, split
from surrogate.training.data import TrajectorySet, load_trajectories
from surrogate.training.gsta_task import gsta_task

torch.set_num_threads(1)
CAHN_HILLIARD, GRAIN_GROWTH = "cahn_hilliard", "grain_growth"
TINY = GstaSettings(hid_s=4, hid_t=16, blocks_temporal=3, mlp_ratio=2)


def lively(settings: GstaSettings = TINY) -> GstaNet:
    """A network in which every layer matters, with running means of its own: fresh layer scales hide the blocks."""
    torch.manual_seed(0)
    net = GstaNet(settings)
    for name, value in net.named_parameters():
        if "scale_" in name:
            torch.nn.init.normal_(value, std=0.5)
    with torch.no_grad():
        for _ in range(3):
            net(torch.rand(4, settings.frames, 32, 32))
    return net.eval()


def trajectory_set(process: str, frames: int = 32, side: int = 16, count: int = 4) -> TrajectorySet:
    """Real trajectories, small: frames 2 apart from age 20 on."""
    grid = Grid((side, side))
    ages = 20.0 + 2.0 * np.arange(frames)
    seeds = list(range(count))
    if process == CAHN_HILLIARD:
        found = simulate(CahnHilliard(grid), noise(grid, 0.1, 0.2, seeds), ages.tolist(), 1e-2)
        groups = {"kappa": np.ones(count), "composition": np.full(count, 0.1), "contrast": np.zeros(count)}
    else:
        found = simulate_grains(GrainGrowth(grid), voronoi(grid, 8, seeds), ages.tolist(), 1e-2).field
        groups = {"kappa": np.ones(count), "gamma": np.full(count, 1.5)}
    return TrajectorySet(
        process, found.numpy().astype(np.float16), ages, groups, np.ones((count, frames), dtype=bool), "none"
    )


@pytest.fixture(scope="module")
def spinodal() -> TrajectorySet:
    return trajectory_set(CAHN_HILLIARD)


def multiply_adds(settings: GstaSettings, shape: tuple[int, int]) -> int:
    """Operations for one clip on a box of ``shape`` cells, counted as the paper's 9.327 G are.

    That is the convention of fvcore: a multiplication with addition of a convolution is one, a value that GroupNorm
    makes is five, one of BatchNorm two; activations and sums are free. Convolutions are 99.4 % of the paper's size.
    """
    total = 0

    def count(layer: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal total
        each = layer.weight[0].numel() if isinstance(layer, nn.Conv2d) else 5 if isinstance(layer, nn.GroupNorm) else 2
        total += output.numel() * each

    with torch.device("meta"):
        net = GstaNet(settings).eval()
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d | nn.GroupNorm | nn.BatchNorm2d):
                layer.register_forward_hook(count)
        net(torch.empty(1, settings.frames, *shape))
    return total


def test_has_the_published_size() -> None:
    settings = GstaSettings(hid_s=64, hid_t=256, blocks_spatial=4, blocks_temporal=8, mlp_ratio=8, frames=10)
    assert settings == GstaSettings()
    # The paper prints 9.327 G.
    assert multiply_adds(settings, (64, 64)) == pytest.approx(9.32692e9, rel=1e-6)
    assert multiply_adds(settings, (256, 256)) == 16 * multiply_adds(settings, (64, 64))
    with torch.device("meta"):
        parameters = sum(p.numel() for p in GstaNet(settings).parameters())
    assert parameters == pytest.approx(18.6e6, rel=1e-3)


@pytest.mark.parametrize("shift", [(4, 0), (0, -8), (12, 20)])
def test_commutes_with_shifts_by_multiples_of_four(shift: tuple[int, int]) -> None:
    net, frames = lively(), torch.rand(2, 10, 32, 48)

    def difference(frames: torch.Tensor) -> float:
        """Of shift and forecast in either order, largest, in roundings of the largest value."""
        with torch.inference_mode():
            plain, moved = net(frames), net(frames.roll(shift, (-2, -1)))
        assert float((plain.roll(shift, (-2, -1)) - plain).abs().max()) > 0.1 * float(plain.abs().max())
        error = (moved - plain.roll(shift, (-2, -1))).abs().max() / plain.abs().max()
        return float(error) / torch.finfo(frames.dtype).eps

    # Sums run in another order at the moved place, and that is all: some tens of roundings. Where a pixel's channels
    # lie together, as they do by default, torch's GroupNorm takes variances as differences of two means and loses a
    # digit or two: 37 to 146 roundings in float32 as measured, against 7 to 9.
    assert difference(frames) <= 256
    net.to(memory_format=torch.contiguous_format)
    assert difference(frames) <= 64
    net.double()
    assert difference(frames.double()) <= 64


def test_commutes_with_no_smaller_shift() -> None:
    """So that the test above shows something: by two cells the strides see other cells."""
    net, frames = lively(), torch.rand(1, 10, 32, 32)
    with torch.inference_mode():
        difference = net(frames.roll(2, -1)) - net(frames).roll(2, -1)
    assert float(difference.abs().max()) > 1e-3


def test_runs_on_any_box_of_multiples_of_four() -> None:
    net = lively()
    with torch.inference_mode():
        for shape in ((64, 64), (32, 96), (256, 256), (8, 12)):
            frames = net(torch.rand(1, 10, *shape))
            assert frames.shape == (1, 10, *shape)
            assert bool(torch.isfinite(frames).all())


def test_a_box_twice_tiled_gives_a_forecast_twice_tiled() -> None:
    """One picture in boxes of 32 and 64 cells: the far, dilated taps wrap as they should too."""
    net, frames = lively().double(), torch.rand(1, 10, 32, 32, dtype=torch.float64)
    with torch.inference_mode():
        once, twice = net(frames), net(frames.repeat(1, 1, 2, 2))
    # GroupNorm sums four times as many values, in another order: float64 round-off as above.
    torch.testing.assert_close(twice, once.repeat(1, 1, 2, 2), rtol=0, atol=1e-12 * float(once.abs().max()))


def test_wrapping_matches_indices_and_its_gradient_is_exact() -> None:
    for shape, margin in (((6, 8), 3), ((2, 4), 5)):
        x = torch.rand(1, 2, *shape, dtype=torch.float64, requires_grad=True)
        rows, columns = (torch.arange(-margin, n + margin) % n for n in shape)
        assert torch.equal(wrap(x, margin), x[..., rows, :][..., columns])
        assert torch.autograd.gradcheck(lambda values, m=margin: wrap(values, m), x)


def test_weights_survive_safetensors(tmp_path: Path) -> None:
    net, frames = lively(), torch.rand(1, 10, 16, 16)
    save_file({name: value.contiguous() for name, value in net.state_dict().items()}, tmp_path / "net.safetensors")
    again = GstaNet(GstaSettings(**asdict(net.settings))).eval()
    again.load_state_dict(load_file(tmp_path / "net.safetensors"))
    with torch.inference_mode():
        assert torch.equal(again(frames), net(frames))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hid_s": 7}, "hid_s"),
        ({"hid_t": 0}, "hid_t"),
        ({"blocks_spatial": 2}, "blocks_spatial"),
        ({"blocks_temporal": 1}, "blocks_temporal"),
        ({"mlp_ratio": 0}, "mlp_ratio"),
        ({"frames": 0}, "frames"),
    ],
)
def test_refuses_shapes_that_make_no_network(changes: dict[str, int], words: str) -> None:
    with pytest.raises(InputError, match=words):
        GstaSettings(**changes)


@pytest.mark.parametrize("shape", [(1, 9, 16, 16), (10, 16, 16), (1, 10, 16, 18), (1, 10, 0, 16)])
def test_refuses_other_frames_and_boxes(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="frames"):
        GstaNet(TINY)(torch.zeros(shape))


def test_clips_are_equally_spaced_frames_of_one_trajectory() -> None:
    # Trajectory, age and place can be read off every value, exactly in float16.
    ages = np.array([1.0, 2, 3, 4, 6, 8, 10, 12, 14, 19])
    values = np.arange(2)[:, None] * 0.5 + np.arange(len(ages))[None, :] * 2.0**-5
    fields = np.broadcast_to(values[:, :, None, None], (2, len(ages), 8, 8)).astype(np.float16)
    data = TrajectorySet(GRAIN_GROWTH, fields, ages, {}, np.ones((2, len(ages)), dtype=bool), "none")
    clips = equally_spaced(data, 2.0, 2.0)
    assert np.array_equal(clips.fields[:, :, 0, 0], values[:, [1, 3, 4, 5, 6, 7, 8]].astype(np.float16))
    wide = equally_spaced(data, 4.0, 4.0)
    assert np.array_equal(wide.fields[:, :, 0, 0], values[:, [3, 5, 7]].astype(np.float16))
    drawn = clips.sample(np.random.default_rng(0), 64, 3)[:, :, 0, 0].numpy()
    possible = {tuple(row[i : i + 3]) for row in clips.fields[:, :, 0, 0].astype(np.float32) for i in range(5)}
    assert {tuple(row) for row in drawn} == possible
    for start, spacing in ((5.0, 1.0), (14.0, 4.0), (30.0, 1.0), (2.0, 0.0)):
        with pytest.raises(InputError, match="spacing"):
            equally_spaced(data, start, spacing)
    with pytest.raises(InputError, match="7 frames"):
        clips.sample(np.random.default_rng(0), 1, 8)


def test_clips_of_cahn_hilliard_are_moved_by_its_symmetries(spinodal: TrajectorySet) -> None:
    clips = equally_spaced(spinodal, 20.0, 2.0)
    known = 0.5 * (clips.fields.astype(np.float32) + 1.0)
    drawn = clips.sample(np.random.default_rng(1), 32, 5).numpy()
    assert drawn.shape == (32, 5, 16, 16)
    assert drawn.dtype == np.float32
    swapped = 0
    for clip in drawn:
        # Sorted values do not change under any move of cells.
        whole = np.sort(clip.reshape(5, -1), axis=1)
        distance = {
            swap: min(
                np.abs(whole - np.sort((1 - k if swap else k).reshape(5, -1), axis=1)).max()
                for row in known
                for k in (row[i : i + 5] for i in range(len(row) - 4))
            )
            for swap in (False, True)
        }
        assert min(distance.values()) < 1e-6  # 1 - (1 - x) rounds once in float32
        swapped += distance[True] < distance[False]
    assert 0 < swapped < 32


def test_boxes_that_are_not_square_keep_their_shape(spinodal: TrajectorySet) -> None:
    clips = equally_spaced(spinodal, 20.0, 2.0)
    cut = replace(clips, fields=clips.fields[..., :8])
    assert cut.sample(np.random.default_rng(0), 16, 2).shape == (16, 2, 16, 8)


def test_split_holds_out_whole_trajectories_by_seed(spinodal: TrajectorySet) -> None:
    clips = equally_spaced(spinodal, 20.0, 2.0)
    train, held = split(clips, 0.25, 3)
    assert (len(train.fields), len(held.fields)) == (3, 1)
    together = np.concatenate([train.fields, held.fields])
    assert {row.tobytes() for row in together} == {row.tobytes() for row in clips.fields}
    assert np.array_equal(split(clips, 0.25, 3)[1].fields, held.fields)
    for share in (0.0, 1.0, 0.9):
        with pytest.raises(InputError, match="held_out"):
            split(clips, share, 3)


def test_batches_repeat_and_lengthen_near_the_end(spinodal: TrajectorySet) -> None:
    task = gsta_task(spinodal, 20.0, 2.0, held_out=0.25, batch_size=3)
    for progress, frames, weight in ((0.0, 10, 0.0), (0.6, 10, 0.0), (0.75, 20, 0.5), (1.0, 20, 1.0)):
        start, targets, share = task.batch(np.random.default_rng(5), progress)
        assert start.shape == (3, 10, 16, 16)
        assert targets.shape == (3, frames, 16, 16)
        assert share == pytest.approx(weight)
        again = task.batch(np.random.default_rng(5), progress)
        assert torch.equal(start, again[0])
        assert torch.equal(targets, again[1])
    short = replace(task, train=replace(task.train, fields=task.train.fields[:, :25]))
    assert short.batch(np.random.default_rng(0), 1.0)[1].shape[1] == 10


def test_loss_is_the_error_of_the_forecast(spinodal: TrajectorySet) -> None:
    net = lively()
    task = gsta_task(spinodal, 20.0, 2.0, held_out=0.25, batch_size=2, noise=0.0)
    start, targets, weight = task.batch(np.random.default_rng(0), 0.75)
    first = net(start)
    second = net(first)
    errors = [(first - targets[:, :10]).square().mean(), (second - targets[:, 10:]).square().mean()]
    expected = (errors[0] + weight * errors[1]) / (1 + weight)
    # The same operations in another order of summation.
    torch.testing.assert_close(task.loss(net, (start, targets, weight)), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize(("process", "bfloat16"), [(CAHN_HILLIARD, False), (GRAIN_GROWTH, True)])
def test_learns(process: str, bfloat16: bool) -> None:
    torch.manual_seed(1)
    net = GstaNet(TINY)
    task = gsta_task(trajectory_set(process), 20.0, 2.0, held_out=0.25, batch_size=4, bfloat16=bfloat16)
    rng = np.random.default_rng(0)
    optimiser = torch.optim.AdamW(net.parameters(), lr=5e-3)
    before = task.validate(net.eval())
    net.train()
    for step in range(30):
        optimiser.zero_grad()
        loss = task.loss(net, task.batch(rng, step / 30))
        loss.backward()
        optimiser.step()
    after = task.validate(net.eval())
    assert after["score"] < 0.5 * before["score"]


def test_validation_feeds_forecasts_back(spinodal: TrajectorySet) -> None:
    net = lively()
    task = gsta_task(spinodal, 20.0, 2.0, held_out=0.25)
    found = task.validate(net)
    # 32 frames are stored: ten go in, so leads of 50 and 90 are out of reach.
    assert set(found) == {"score", "rmse_1", "rmse_10", "rmse_20", "persistence"}
    known = task.validation.opening(32)
    with torch.inference_mode():
        first = net(known[:, :10])
        second = net(first)
        forecast = [image for image, _ in zip(frames_after(net, known[:, :10]), range(15), strict=False)]
    assert torch.equal(forecast[14], second[:, 4])
    for name, image, truth in (("rmse_1", first[:, 0], 10), ("rmse_20", second[:, 9], 29)):
        assert found[name] == pytest.approx(float((image - known[:, truth]).square().mean().sqrt()), rel=1e-5)
    assert found["persistence"] == pytest.approx(float((known[:, 9] - known[:, 29]).square().mean().sqrt()), rel=1e-5)
    assert found["score"] == pytest.approx(np.mean([found[f"rmse_{lead}"] for lead in (1, 10, 20)]))


def test_task_refuses_data_that_are_too_short(spinodal: TrajectorySet) -> None:
    with pytest.raises(InputError, match="clips of 20 frames"):
        gsta_task(spinodal, 20.0, 4.0, held_out=0.25)


def test_reads_sweep_stores(tmp_path: Path, spinodal: TrajectorySet) -> None:
    """The variables of a store that training reads, as sweeps write them."""
    store = tmp_path / "store.zarr"
    flags = {"flag_values": [0, 1, 2, 3, 4], "flag_meanings": "pending done failed diverged verified"}
    ds = xr.Dataset(
        {
            "field": (("point", "realization", "time", "y", "x"), spinodal.fields.astype(np.float32)[:, None]),
            "status": (("point", "realization"), np.array([[1], [1], [2], [4]], dtype=np.int8), flags),
        },
        {
            "kappa": ("point", np.full(4, 4.0)),
            "mobility": ("point", np.full(4, 0.5)),
            "composition": ("point", np.full(4, 0.1)),
            "mobility_contrast": ("point", np.zeros(4)),
            "time": spinodal.ages,
        },
    )
    config = {
        "process": CAHN_HILLIARD,
        "grid": {"shape": [16, 16], "spacing": 1.0, "boundary": "periodic"},
        "initial": {"kind": "noise"},
    }
    write_sweep(store, ds, config)
    clips = equally_spaced(load_trajectories([store], CAHN_HILLIARD), 20.0, 2.0)
    assert np.array_equal(clips.fields, spinodal.fields[[0, 1, 3]])


def test_recipes_hold_the_frames_of_the_protocol() -> None:
    from surrogate.evaluation.protocol import PROTOCOLS
    from sweeps import Sweep

    for name, protocol in (("gsta-spinodal", "spinodal-64"), ("gsta-grain", "grains-64")):
        ages = Sweep.from_yaml(points.FOLDER / f"{name}.yaml").config.time_values()
        np.testing.assert_allclose(ages, PROTOCOLS[protocol].times, rtol=1e-12)


def test_tables_are_those_that_the_program_writes(tmp_path: Path) -> None:
    points.write(tmp_path)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (points.FOLDER / path.name).read_bytes()
