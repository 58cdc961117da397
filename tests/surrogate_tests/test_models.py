"""Models on disk and as engines: damaged files, wrong problems, exact scaling, the guard."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from solvers import CahnHilliard, GrainGrowth, Grid, simulate, simulate_grains
from solvers.errors import InputError
from solvers.initial import noise, voronoi
from surrogate import load_surrogate
from surrogate.models.files import MODEL, WEIGHTS, load_rollout_surrogate, read_about, save_model
from surrogate.networks.jump import JumpNet, JumpSettings
from surrogate.networks.registry import NETWORKS, NetworkKind
from surrogate.processes import FirstStage, learned_process
from surrogate.rollout.cahn_hilliard import TAKEOVER_AGES

torch.set_num_threads(1)
CAHN_HILLIARD, GRAIN_GROWTH = "cahn_hilliard", "grain_growth"
GRID = Grid((16, 16))
BOX = {
    CAHN_HILLIARD: {"kappa": [0.25, 2.0], "composition": [-0.6, 0.6], "contrast": [0.0, 1.0], "age": [20.0, 800.0]},
    GRAIN_GROWTH: {"kappa": [0.25, 2.0], "gamma": [1.0, 2.0], "age": [10.0, 400.0]},
}


def saved(folder: Path, process: str = CAHN_HILLIARD, spread: float = 0.05) -> Path:
    """A small network with random weights: what it predicts is nonsense, what is promised of any model holds."""
    torch.manual_seed(3)
    conserve = process == CAHN_HILLIARD
    settings = JumpSettings(
        groups=len(learned_process(process).groups), width=8, blocks=2, reach=20.0, conserve=conserve
    )
    net = JumpNet(settings)
    for value in net.parameters():
        torch.nn.init.normal_(value, std=spread)
    about = {
        "name": "small",
        "process": process,
        "kind": "jump",
        "settings": asdict(settings),
        "schedule": {"ages": [0.0], "lengths": [20.0]},
        "domain": BOX[process],
    }
    save_model(folder, net.state_dict(), about)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return saved(tmp_path / "model")


def composition(problem: CahnHilliard, batch: int = 2) -> torch.Tensor:
    return noise(problem.grid, 0.0, 0.3, range(batch))


def test_a_model_comes_back_as_it_was_saved(folder):
    model = load_surrogate(folder)
    assert (model.name, model.process, model.kind) == ("small", CAHN_HILLIARD, "jump")
    assert model.sha256 == read_about(folder)["weights_sha256"]
    again = load_surrogate(folder / WEIGHTS)
    for a, b in zip(model.net.parameters(), again.net.parameters(), strict=True):
        assert torch.equal(a, b)


def truncate(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])


def flip(folder: Path) -> None:
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-5] ^= 1
    (folder / WEIGHTS).write_bytes(bytes(content))


def lose(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


def describe(folder: Path, **changes: object) -> None:
    about = json.loads((folder / MODEL).read_text()) | changes
    (folder / MODEL).write_text(json.dumps(about))


def foreign_weights(folder: Path) -> None:
    about = read_about(folder)
    save_model(folder, {"other": torch.zeros(3)}, {k: v for k, v in about.items() if k != "weights_sha256"})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "corrupted or of another model"),
        (flip, "corrupted or of another model"),
        (lose, "cannot be read"),
        (foreign_weights, "do not fit the network"),
        (lambda f: describe(f, format=99), "format: found 99, allowed 1"),
        (lambda f: describe(f, kind="oracle"), "kind 'oracle'"),
        (lambda f: (f / MODEL).write_text("{"), "not a model description"),
        (lambda f: (f / MODEL).write_text('{"format": 1}'), "entries name, process"),
        (lambda f: (f / MODEL).unlink(), "allowed a folder with model.json"),
    ],
)
def test_damaged_and_foreign_files_are_refused_in_one_line(folder, damage, message):
    damage(folder)
    with pytest.raises(InputError, match=message) as caught:
        load_surrogate(folder)
    assert "\n" not in str(caught.value)


def test_unknown_names_are_told():
    with pytest.raises(InputError, match="found 'no-such-model'"):
        load_surrogate("no-such-model")


class Unchanging:
    """A model of another kind of network: nothing ever changes."""

    def __init__(self, about: dict, _tensors: dict[str, torch.Tensor], device: str) -> None:
        self.about, self.name, self.process, self.kind = about, about["name"], about["process"], "unchanging"
        self.sha256, self.calibration, self.device = about["weights_sha256"], None, device

    def forecast(self, _problem, frames: torch.Tensor, _frame_times: np.ndarray, times: np.ndarray) -> torch.Tensor:
        return frames[:, -1:].expand(-1, len(times), -1, -1)


def test_a_kind_of_network_of_ones_own_loads(tmp_path):
    NETWORKS.register(NetworkKind("unchanging", block=None, model=Unchanging))
    try:
        about = {"name": "still", "process": CAHN_HILLIARD, "kind": "unchanging", "settings": {}}
        save_model(tmp_path / "still", {}, about)
        model = load_surrogate(tmp_path / "still")
        frames = torch.rand(2, 3, 8, 8)
        assert torch.equal(model.forecast(None, frames, np.arange(3), np.arange(3, 5))[:, 1], frames[:, 2])
        with pytest.raises(InputError, match="found a network of kind unchanging"):
            load_rollout_surrogate(tmp_path / "still")
    finally:
        NETWORKS.unregister("unchanging")


def test_a_process_without_learned_models_is_refused_in_one_line(folder):
    with pytest.raises(InputError, match="found 'melting', allowed cahn_hilliard, grain_growth") as caught:
        learned_process("melting")
    assert "\n" not in str(caught.value)
    describe(folder, process="melting")
    with pytest.raises(InputError, match="found 'melting'"):
        load_surrogate(folder)


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (GrainGrowth(GRID), "found a problem of grain_growth, allowed cahn_hilliard"),
        (CahnHilliard(Grid((16, 18))), "found a grid of 16 x 18 cells"),
        (CahnHilliard(Grid((8, 8, 8))), "found a grid of 8 x 8 x 8 cells"),
    ],
)
def test_what_a_model_cannot_take_is_refused(folder, problem, message):
    with pytest.raises(InputError, match=message):
        load_surrogate(folder).check(problem)


def test_first_frames_are_the_solver_s(folder):
    """Up to the hand-over a rollout is the solver to its tolerance, 1e-2; after it, the network."""
    model, problem = load_surrogate(folder), CahnHilliard(GRID)
    start = composition(problem)
    times = torch.tensor([0.0, 5.0, 18.0, 150.0, 200.0]).expand(2, 5)
    found = model.rollout(problem, start, times)
    exact = simulate(problem, start, times[0, :3].tolist(), tolerance=1e-4)
    error = (found.frames.field[:, :3] - exact).square().mean((2, 3)).sqrt() / exact.square().mean((2, 3)).sqrt()
    assert error.max() <= 1.2e-2  # both tolerances
    assert set(found.start_ages) <= set(TAKEOVER_AGES)
    assert torch.isfinite(found.frames.field).all()
    assert torch.isfinite(found.frames.free_energy).all()


def test_mass_is_conserved(folder):
    model, problem = load_surrogate(folder), CahnHilliard(GRID)
    found = model.rollout(problem, composition(problem), torch.linspace(0, 300, 7).expand(2, 7))
    assert found.mass_drift.max() <= 1e-6


def test_mobility_is_only_a_clock(folder):
    """c(t; M) = c(M t; 1) to float32 rounding, the solver's part included."""
    model = load_surrogate(folder)
    one = CahnHilliard(GRID, mobility=1.0, kappa=0.8)
    start = composition(one)
    times = torch.tensor([10.0, 60.0, 130.0, 200.0]).expand(2, 4)
    slow = model.rollout(one, start, times).frames.field
    fast = model.rollout(replace(one, mobility=2.5), start, times / 2.5).frames.field
    torch.testing.assert_close(fast, slow, rtol=0, atol=2e-6)


def test_samples_and_times_do_not_depend_on_their_neighbours(folder):
    model, problem = load_surrogate(folder), CahnHilliard(GRID, kappa=torch.tensor([0.6, 1.7]))
    start = composition(problem)
    times = torch.tensor([30.0, 120.0, 155.0]).expand(2, 3)
    together = model.rollout(problem, start, times).frames.field
    for i in range(2):
        alone = model.rollout(problem.take(torch.tensor([i])), start[i : i + 1], times[i : i + 1, 1:2]).frames.field
        torch.testing.assert_close(alone[0, 0], together[i, 1], rtol=0, atol=1e-5)


def test_wells_and_cell_sizes_are_units(folder):
    """The same dimensionless problem: twice the cell, a well of other composition and height."""
    model = load_surrogate(folder)
    plain = CahnHilliard(GRID, kappa=0.8)
    well = {"rho": 5.0, "ca": 0.3, "cb": 0.7}
    other = CahnHilliard(Grid((16, 16), 2.0), kappa=0.8 * 4.0 * 4 * 5.0 * 0.2**2, well=well)
    start = composition(plain)
    times = torch.tensor([10.0, 120.0]).expand(2, 2)
    a = model.rollout(plain, start, times).frames.field
    rate = (plain.time_scale(2) / other.time_scale(2))[:, None] * 4.0  # dx^2 in the diffusion time
    b = model.rollout(other, 0.5 + 0.2 * start, times * rate).frames.field
    torch.testing.assert_close((b - 0.5) / 0.2, a, rtol=0, atol=2e-5)


def test_energy_rises_are_handed_to_the_solver(tmp_path):
    """A network that adds noise raises the energy at every step: the guard makes it a solver, to its tolerance."""
    model, problem = load_surrogate(saved(tmp_path / "noisy", spread=0.5)), CahnHilliard(GRID)
    start = composition(problem, 1)
    times = torch.tensor([[90.0, 101.0]])
    found = model.rollout(problem, start, times)
    assert found.guarded[0] == np.ceil((101.0 - found.start_ages[0]) / 20.0)
    assert found.energy_rises[0] == 0
    exact = simulate(problem, start, [90.0, 101.0], tolerance=1e-4)
    # A dozen stretches at a tolerance of 1e-2, whose errors coarsening magnifies.
    error = (found.frames.field - exact).square().mean((2, 3)).sqrt() / exact.square().mean((2, 3)).sqrt()
    assert error.max() <= 5e-2


def test_outside_the_box_trust_is_lost_with_a_reason(folder):
    model = load_surrogate(folder)
    problem = CahnHilliard(GRID, kappa=torch.tensor([1.0, 0.2]))
    found = model.rollout(problem, composition(problem), torch.tensor([200.0]).expand(2, 1))
    assert found.trust.tolist() == [1.0, 0.0]
    assert found.reasons[0] == ""
    assert found.reasons[1] == "kappa 0.2, allowed 0.25 to 2"


def test_what_the_solver_did_alone_needs_no_trust(folder):
    model = load_surrogate(folder)
    problem = CahnHilliard(GRID, kappa=4.0)
    found = model.rollout(problem, composition(problem), torch.tensor([5.0]).expand(2, 1))
    assert found.trust.tolist() == [1.0, 1.0]
    assert np.isinf(found.start_ages).all()


def test_grains_are_followed(tmp_path):
    model, problem = load_surrogate(saved(tmp_path / "grains", GRAIN_GROWTH)), GrainGrowth(GRID)
    labels = voronoi(GRID, 5, [1, 2])
    times = torch.tensor([0.0, 5.0, 20.0, 60.0]).expand(2, 4)
    found = model.rollout(problem, labels, times)
    assert found.start_ages.tolist() == [FirstStage().age] * 2
    assert torch.isfinite(found.frames.field).all()
    assert found.frames.grain_id is not None
    early = simulate_grains(problem, labels, [0.0, 5.0], tolerance=1e-2, dtype=torch.float32)
    assert torch.equal(found.frames.grain_id[:, :2], early.grain_id)
    assert torch.isfinite(found.frames.free_energy).all()


def test_forecasts_go_on_from_the_last_frame(folder):
    model, problem = load_surrogate(folder), CahnHilliard(GRID, mobility=2.0)
    frames = simulate(problem, composition(problem), [20.0, 25.0], tolerance=1e-2, dtype=torch.float32)
    found = model.forecast(problem, frames, np.array([20.0, 25.0]), np.array([25.0, 30.0, 60.0]))
    assert found.shape == (2, 3, 16, 16)
    torch.testing.assert_close(found[:, 0], frames[:, 1].float(), rtol=0, atol=0)


def test_a_no_flux_box_is_forecast_by_its_even_extension(folder):
    model = load_surrogate(folder)
    box = CahnHilliard(Grid((16, 16), 1.0, "no_flux"))
    frames = composition(box)[:, None].float()
    whole = torch.cat([torch.cat([frames, frames.flip(-1)], -1), torch.cat([frames, frames.flip(-1)], -1).flip(-2)], -2)
    found = model.forecast(box, frames, np.array([20.0]), np.array([30.0]))
    periodic = model.forecast(CahnHilliard(Grid((32, 32))), whole, np.array([20.0]), np.array([30.0]))
    torch.testing.assert_close(found, periodic[..., :16, :16], rtol=0, atol=1e-5)
