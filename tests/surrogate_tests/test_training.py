"""Training from sweep stores: data by trajectory, resuming, recipes."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from distributed import Client

from phasetwin import main
from solvers.errors import InputError
from surrogate import load_surrogate
from surrogate.networks.jump import JumpNet, JumpSettings
from surrogate.processes import FirstStage, learned_process
from surrogate.rollout.stepping import StepSchedule
from surrogate.training.checkpoint import STATE
from surrogate.training.curve import loss_figure
from surrogate.training.data import load_trajectories
from surrogate.training.jump_task import JumpTask
from surrogate.training.loop import LoopSettings, learning_rate, train
from sweeps import Sweep

torch.set_num_threads(1)
AGES = [10, 15, 20, 25, 30, 40, 50, 60, 80]
RECIPE = """\
schema_version: 1
name: tiny
process: grain_growth
network: {{kind: jump, width: 8, blocks: 1}}
schedule: {{ages: [0], lengths: [10]}}
data: {{train: [{train}], validation: [{validation}]}}
training: {{minutes: 0.02, batch: 4, validation_start: 10}}
"""


@pytest.fixture(scope="module")
def sweep() -> Iterator[Callable[..., Path]]:
    """A function that runs a small sweep; one worker, a thread of this process, for all."""
    with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None) as client:
        yield partial(run_sweep, client)


def run_sweep(client: Client, folder: Path, name: str, seed: int, **blocks: object) -> Path:
    config = {
        "schema_version": 1,
        "name": name,
        "process": "grain_growth",
        "grid": {"shape": [16, 16]},
        "parameters": {"mobility": 1.0, "kappa": 1.0, "gamma": [1.2, 1.5]},
        "realizations": {"count": 2, "seed": seed, "independent": True},
        "initial": {"kind": "voronoi", "grains": 6},
        "times": AGES,
        "engine": {"kind": "solver", "tolerance": 3e-2},
        "output": {"path": str(folder / f"{name}.zarr"), "retain": "fields"},
        "verify": {"count": 0},
    } | blocks
    Sweep.from_config(config).run(client, progress=False)
    return folder / f"{name}.zarr"


@pytest.fixture(scope="module")
def stores(sweep: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("stores")
    return sweep(folder, "train", 1), sweep(folder, "validation", 2)


def task(stores: tuple[Path, Path], **settings: object) -> JumpTask:
    sets = [load_trajectories([store], "grain_growth") for store in stores]
    return JumpTask(*sets, StepSchedule((0.0,), (10.0,)), batch_size=4, validation_start=10.0, **settings)  # type: ignore[arg-type]


def network() -> JumpNet:
    torch.manual_seed(0)
    return JumpNet(JumpSettings(groups=2, width=8, blocks=1, reach=10.0))


def test_trajectories_are_those_of_the_store(stores):
    found = load_trajectories([stores[0]], "grain_growth")
    assert found.fields.shape == (4, len(AGES), 16, 16)
    assert found.ages == pytest.approx(AGES)
    assert sorted(found.groups["gamma"].tolist()) == [1.2, 1.2, 1.5, 1.5]
    starts = [field[0].tobytes() for field in found.fields]
    assert len(set(starts)) == 4  # every trajectory its own start
    again = load_trajectories([stores[0]], "grain_growth")
    assert again.digest == found.digest != load_trajectories([stores[1]], "grain_growth").digest


def test_what_cannot_be_trained_on_is_refused(stores, sweep, tmp_path):
    with pytest.raises(InputError, match="nothing is there"):
        load_trajectories([tmp_path / "none.zarr"], "grain_growth")
    with pytest.raises(InputError, match="a sweep of grain_growth, but the recipe is for cahn_hilliard"):
        load_trajectories([stores[0]], "cahn_hilliard")
    qoi = sweep(tmp_path, "qoi", 3, output={"path": str(tmp_path / "qoi.zarr"), "retain": "qoi"})
    with pytest.raises(InputError, match="retain: fields"):
        load_trajectories([qoi], "grain_growth")
    other = sweep(tmp_path, "other", 3, times=[10, 20, 35])
    with pytest.raises(InputError, match="scaled ages differ"):
        load_trajectories([stores[0], other], "grain_growth")


def test_a_frame_has_separated_when_it_is_most_of_two_phases():
    rng = np.random.default_rng(0)
    sign = np.where(rng.random((1, 1, 32, 32)) < 0.5, -1.0, 1.0)
    sign -= sign.mean()
    fields = np.concatenate([0.1 * sign, 0.6 * sign, 0.8 * sign], axis=1).astype(np.float16)
    found = learned_process("cahn_hilliard").trainable(fields, np.arange(3.0), {"composition": np.array([0.0])})
    assert found.tolist() == [[False, False, True]]


def test_batches_hold_what_follows_their_start(stores):
    """Every target is the stored frame at its length after the start, whatever symmetry was applied."""
    learning = task(stores)
    data = learning.train
    flat = data.fields.reshape(-1, 16, 16).astype(np.float32)
    sums = flat.sum((1, 2))  # unchanged by turns, flips and shifts
    for progress, depth in ((0.0, 1), (0.6, 2), (0.9, 3)):
        start, groups, lengths, truths, weights = learning.batch(np.random.default_rng(1), progress)
        assert len(lengths) == len(truths) == depth
        assert groups.shape == (4, 2)
        assert (weights > 0).all()
        for sample in range(4):
            position = int(np.abs(sums - float(start[sample].sum())).argmin())
            row, index = divmod(position, len(AGES))
            age = AGES[index]
            for asked, truth in zip(lengths, truths, strict=True):
                for k in range(asked.shape[1]):
                    then = int(np.flatnonzero(np.isclose(AGES, age + float(asked[sample, k])))[0])
                    expected = float(data.fields[row, then].astype(np.float32).sum())
                    assert float(truth[sample, k].sum()) == pytest.approx(expected, rel=1e-4)
                age += float(asked[sample, -1])


def test_training_lowers_the_loss_and_resumes(stores, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "phasetwin")
    # The budget is processor time here: seconds of a wall clock hold any number of steps on a busy machine.
    monkeypatch.setattr("surrogate.training.loop.time", SimpleNamespace(monotonic=time.process_time))
    learning = task(stores, noise=0.0)
    # What is compiled on first use is not in the budget of seconds that follows.
    learning.loss(network(), learning.batch(np.random.default_rng(0))).backward()
    quick = LoopSettings(minutes=0.03, learning_rate=5e-3, validate_seconds=0.5, checkpoint_seconds=0.2)
    first = train(network(), learning, quick, tmp_path, "same")
    steps, elapsed = first.step, first.elapsed
    assert steps > 10
    assert first.history[-1]["loss"] < first.history[0]["loss"] * 1.5
    longer = LoopSettings(minutes=0.05, learning_rate=5e-3, validate_seconds=0.5, checkpoint_seconds=0.2)
    second = train(network(), learning, longer, tmp_path, "same")
    assert any(line.startswith(f"resumed after {elapsed / 60:.1f} min, step {steps}") for line in caplog.messages)
    assert second.step > steps
    assert second.best <= first.best
    # The budget is spent: nothing more happens, and the best weights come back.
    net = network()
    third = train(net, learning, longer, tmp_path, "same")
    assert third.step == second.step
    assert learning.validate(net)["score"] == pytest.approx(second.best, rel=1e-5)


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_a_resumed_training_has_the_optimiser_and_the_generators_of_the_first(stores, tmp_path, optimiser):
    """Two steps, a checkpoint, two more: the same weights as four steps at once."""
    from surrogate.training.loop import _Run

    learning = task(stores)
    settings = LoopSettings(1.0, optimiser=optimiser)
    whole = _Run(network(), settings)
    for _ in range(4):
        whole.step(learning, 0.1)
    half = _Run(network(), settings)
    for _ in range(2):
        half.step(learning, 0.1)
    half.save(tmp_path, "id")
    rest = _Run(network(), settings)
    rest.resume(tmp_path, "id")
    for _ in range(2):
        rest.step(learning, 0.1)
    for a, b in zip(whole.net.parameters(), rest.net.parameters(), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(whole.average.module.parameters(), rest.average.module.parameters(), strict=True):
        assert torch.equal(a, b)


def test_muon_has_one_by_one_convolutions_among_its_matrices():
    from surrogate.training.optimiser import Optimisers

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.Conv2d(4, 4, 3), torch.nn.Conv2d(4, 4, 1, groups=4))
    before = [layer.weight.detach().clone() for layer in net]
    optimisers = Optimisers(net, "muon", 0.1, 0.0)
    net(torch.ones(1, 3, 5, 5)).square().sum().backward()
    optimisers.step()
    changes = [(layer.weight - old).detach().flatten(1) for layer, old in zip(net, before, strict=True)]
    # Muon's step has singular values of about one size (here one direction has a gradient, so one singular value);
    # AdamW's first step has entries of one size. Its scale is 0.2 sqrt(the longer side) to be of AdamW's size.
    size = torch.linalg.matrix_norm(changes[0], 2)
    assert float(size) == pytest.approx(0.1 * 0.2 * 2.0, rel=0.35)  # Newton-Schulz is loose about one
    for change in changes[1:]:
        torch.testing.assert_close(change.abs(), torch.full_like(change, 0.1), rtol=1e-3, atol=0.0)


def test_products_in_bfloat16_differ_by_their_rounding(stores):
    net, exact, rounded = network(), task(stores, noise=0.0), task(stores, noise=0.0, bfloat16=True)
    batch = exact.batch(np.random.default_rng(0), 0.9)
    losses = [float(learning.loss(net, batch).detach()) for learning in (exact, rounded)]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)  # 8 bits


def test_the_start_itself_is_no_frame_to_learn_from(sweep, tmp_path):
    """Boundaries form in the first moments; a model takes over after that."""
    store = sweep(tmp_path, "whole", 4, times=[0, 10, 20, 30])
    found = load_trajectories([store], "grain_growth")
    assert found.usable[0].tolist() == [False, True, True, True]


def test_checkpoints_of_something_else_are_refused(stores, tmp_path):
    quick = LoopSettings(minutes=0.005)
    train(network(), task(stores), quick, tmp_path, "one")
    with pytest.raises(InputError, match="another network or other data"):
        train(network(), task(stores), quick, tmp_path, "two")
    (tmp_path / STATE).write_bytes(b"junk")
    with pytest.raises(InputError, match="not a readable checkpoint"):
        train(network(), task(stores), quick, tmp_path, "one")


def test_the_learning_rate_warms_up_and_falls():
    rates = [learning_rate(p, 1.0) for p in np.linspace(0, 1, 101)]
    assert rates[0] < 0.01
    assert max(rates) == pytest.approx(1.0, abs=0.01)
    assert rates[-1] == pytest.approx(0.01)
    assert all(b <= a for a, b in itertools.pairwise(rates[3:]))


def test_the_command_trains_a_model_that_loads(stores, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "tiny.yaml"
    early = "handover: {age: 5, tolerance: 0.1}\n"
    recipe.write_text(RECIPE.format(train=stores[0], validation=stores[1]) + early)
    assert main(["lint", str(recipe)]) == 0
    assert main(["train", str(recipe), "--out", "model", "--threads", "1"]) == 0
    model = load_surrogate(tmp_path / "model")
    assert model.first_stage == FirstStage(age=5.0, tolerance=0.1)
    assert model.about["data_sha256"] == load_trajectories([stores[0]], "grain_growth").digest
    assert (tmp_path / "model" / "loss.png").stat().st_size > 5000
    about = json.loads((tmp_path / "model" / "model.json").read_text())
    assert about["training"]["minutes"] >= 0.02
    assert "score" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("width: 8", "width: 0"), "network.width"),
        (("kind: jump", "kind: oracle"), "found 'oracle', allowed 'jump', 'gsta'"),
        (("ages: [0]", "ages: [5]"), "schedule"),
        (("lengths: [10]", "lengths: [10, 20]"), "one length an age"),
        (("process: grain_growth", "process: cooking"), "process"),
        (("batch: 4", "bach: 4"), "bach"),
        (("batch: 4", "precision: float8"), "training.precision"),
        (("data:", "handover: {age: -1}\ndata:"), "handover.age"),
    ],
)
def test_wrong_recipes_are_told_in_one_line(tmp_path, capsys, change, message):
    recipe = tmp_path / "wrong.yaml"
    recipe.write_text(RECIPE.format(train="a.zarr", validation="b.zarr").replace(*change))
    assert main(["train", str(recipe)]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith(f"{recipe}:")
    assert message in error
    assert "\n" not in error


def test_data_too_short_to_validate_on_are_refused(stores):
    with pytest.raises(InputError, match="validation_start: found 75"):
        JumpTask(*2 * (task(stores).train,), StepSchedule((0.0,), (10.0,)), validation_start=75.0)


def test_a_budget_must_be_positive(tmp_path, capsys):
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(RECIPE.format(train="a.zarr", validation="b.zarr"))
    assert main(["train", str(recipe), "--minutes", "-1"]) == 2
    assert "--minutes: found -1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("errors", "title"), [(("rmse+20", "rmse+40"), "scaled age ahead"), (("rmse_1", "rmse_90"), "frames ahead")]
)
def test_the_loss_curve_shows_the_errors_of_either_network(errors: tuple[str, str], title: str) -> None:
    history = [
        {"elapsed": 60.0 * n, "loss": 0.1 / n, "score": 0.2, **dict.fromkeys(errors, 0.3 / n)} for n in (1, 2, 3)
    ]
    (axes,) = loss_figure(history, "tiny").axes
    drawn = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert drawn == {
        f"lead {errors[0][5:]}": [row[errors[0]] for row in history],
        f"lead {errors[1][5:]}": [row[errors[1]] for row in history],
        "training loss (weighted)": [row["loss"] for row in history],
    }
    assert axes.get_legend().get_title().get_text() == title
