"""The domain: a box of groups, and frames like those of the training."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from solvers import CahnHilliard, GrainGrowth, Grid, simulate, simulate_grains
from solvers.errors import InputError
from solvers.initial import noise, voronoi
from solvers.qois import domain_size, interface_density
from surrogate.processes import LEARNED_PROCESSES, learned_process
from surrogate.uncertainty.domain import Domain, fit_domain

torch.set_num_threads(1)
GRID = Grid((32, 32))
FIT, FRESH = 36, 12  # trajectories
BOX = {"kappa": (0.5, 1.5)}


def groups_and_frames(process: str) -> tuple[torch.Tensor, torch.Tensor]:
    """kappa (trajectory,) over the box, fields (trajectory, time, y, x)."""
    count = FIT + FRESH
    kappa = 0.5 + torch.from_numpy(np.random.default_rng(0).random(count))
    if process == "cahn_hilliard":
        problem = CahnHilliard(GRID, kappa=kappa)
        start = noise(GRID, 0.0, 0.1, range(count))
        times = torch.linspace(30.0, 150.0, 7).tolist()
        return kappa, simulate(problem, start, times, tolerance=1e-2, dtype=torch.float32)
    grains = GrainGrowth(GRID, kappa=kappa)
    frames = simulate_grains(grains, voronoi(GRID, 12, range(count)), [5.0, 8.0, 11.0, 14.0], tolerance=2e-2)
    return kappa, frames.field


@pytest.fixture(scope="module", params=list(LEARNED_PROCESSES))
def known(request: pytest.FixtureRequest) -> tuple[str, torch.Tensor, torch.Tensor, Domain]:
    """Process, kappa (trajectory,), fields (trajectory, time, y, x), domain of the first FIT trajectories."""
    process = request.param
    kappa, fields = groups_and_frames(process)
    times = fields.shape[1]
    features = learned_process(process).frame_features(fields[:FIT].flatten(0, 1), kappa[:FIT].repeat_interleave(times))
    owner = np.repeat(np.arange(FIT), times)
    groups = {"kappa": kappa[:FIT].repeat_interleave(times)}
    return process, kappa, fields, fit_domain(process, groups, features, trajectory=owner, box=BOX)


def test_few_false_alarms_on_fresh_trajectories(known: tuple) -> None:
    process, kappa, fields, domain = known
    rows = kappa[FIT:].repeat_interleave(fields.shape[1])
    features = learned_process(process).frame_features(fields[FIT:].flatten(0, 1), rows)
    inside = domain.inside({"kappa": rows}, features)
    assert (~inside).mean() <= 0.02
    assert [bool(line) for line in domain.reasons({"kappa": rows}, features)] == (~inside).tolist()


def altered(fields: torch.Tensor) -> dict[str, torch.Tensor]:
    """Frames that no training set of this kind holds."""
    draw = torch.Generator().manual_seed(0)
    noisy = fields + 0.1 * torch.randn(fields.shape, generator=draw, dtype=fields.dtype)
    shuffled = fields.flatten(1)[:, torch.randperm(fields[0].numel(), generator=draw)].reshape(fields.shape)
    zoomed = fields[:, :16, :16].repeat_interleave(2, 1).repeat_interleave(2, 2)
    steps = fields.clone()
    for _ in range(8):
        steps = steps + 0.2 * (sum(steps.roll(s, d) for s in (1, -1) for d in (1, 2)) - 4 * steps)
    return {
        "noise": noisy,
        "shuffled": shuffled,
        "zoomed": zoomed,
        "coarsened": fields[:, ::2, ::2],
        "blurred": steps,
        "stretched": 1.25 * fields,
        "flat": torch.full_like(fields, 0.5),
    }


@pytest.mark.parametrize("kind", ["noise", "shuffled", "zoomed", "coarsened", "blurred", "stretched", "flat"])
def test_foreign_frames_are_flagged(known: tuple, kind: str) -> None:
    process, kappa, fields, domain = known
    rows = kappa[FIT:].repeat_interleave(fields.shape[1])
    frames = altered(fields[FIT:].flatten(0, 1))[kind]
    inside = domain.inside({"kappa": rows}, learned_process(process).frame_features(frames, rows))
    assert (~inside).mean() >= 0.95
    assert domain.inside({"kappa": rows}).all()  # the box alone knows nothing of frames


def test_frames_that_are_not_finite(known: tuple) -> None:
    process, kappa, fields, domain = known
    frames = fields[:2, 0].clone()
    frames[1, 3, 4] = torch.nan
    features = learned_process(process).frame_features(frames, kappa[:2])
    assert domain.inside({"kappa": kappa[:2]}, features).tolist() == [True, False]
    assert domain.reasons({"kappa": kappa[:2]}, features) == ["", "frame not finite, allowed finite values"]


def test_reason_names_the_feature(known: tuple) -> None:
    process, kappa, fields, domain = known
    features = learned_process(process).frame_features(altered(fields[:1, -1])["noise"], kappa[:1])
    (line,) = domain.reasons({"kappa": kappa[:1]}, features)
    assert line.startswith("frame ")
    assert "from the nearest training frame, allowed" in line
    assert any(name in line for name in learned_process(process).features)


def test_round_trip_through_json(known: tuple) -> None:
    domain = known[3]
    again = Domain.from_dict(json.loads(json.dumps(domain.as_dict(), allow_nan=False)))
    assert again == domain
    data = domain.as_dict()
    data["frames"] = {**data["frames"], "centre": [0.0]}
    with pytest.raises(InputError, match="centre and whitening"):
        Domain.from_dict(data)
    data["frames"] = {**domain.as_dict()["frames"], "references": [[0.0]]}
    with pytest.raises(InputError, match="references of"):
        Domain.from_dict(data)


def test_fitting_is_reproducible(known: tuple) -> None:
    process, kappa, fields, _ = known
    features = learned_process(process).frame_features(fields[:8, 0], kappa[:8])
    first, second = (fit_domain(process, {"kappa": kappa[:8]}, features, trajectory=range(8)) for _ in range(2))
    assert first == second


BOXES = {"kappa": (0.25, 2.0), "composition": (-0.6, 0.6), "contrast": (0.0, 1.0), "side": (32.0, 1024.0)}


def test_points_outside_the_box() -> None:
    rng = np.random.default_rng(1)
    domain = Domain("cahn_hilliard", BOXES)
    inside = {n: rng.uniform(low, high, 2000) for n, (low, high) in BOXES.items()}
    assert domain.inside(inside).all()
    assert domain.reasons(inside) == [""] * 2000
    wide = {n: rng.uniform(low - (high - low), high + (high - low), 2000) for n, (low, high) in BOXES.items()}
    beyond = np.zeros(2000, dtype=bool)
    for name, (low, high) in BOXES.items():
        beyond |= (wide[name] < low) | (wide[name] > high)
    assert (~domain.inside(wide) == beyond).all()
    lines = domain.reasons(wide)
    assert [bool(line) for line in lines] == beyond.tolist()


def test_edges_and_missing_values() -> None:
    domain = Domain("grain_growth", {"gamma": (1.0, 2.0)})
    values = np.array([1.0, 1.0 - 1e-9, 2.0, 2.001, np.nan, np.inf])
    assert domain.inside({"gamma": values}).tolist() == [True, True, True, False, False, False]
    assert domain.reasons({"gamma": values})[3] == "gamma 2.001, allowed 1 to 2"


def test_box_is_the_range_or_what_is_known() -> None:
    groups = {"kappa": np.array([0.3, 1.2, 0.8]), "composition": np.array([0.0, 0.1, -0.1])}
    domain = fit_domain("cahn_hilliard", groups, box={"kappa": (0.25, 2.0), "side": (32, 1024)})
    assert domain.box == {"kappa": (0.25, 2.0), "composition": (-0.1, 0.1), "side": (32.0, 1024.0)}
    assert Domain.from_dict(json.loads(json.dumps(domain.as_dict()))) == domain


def test_features_of_a_wave() -> None:
    # c = a cos(2 pi x / 16): standard deviation, wavelength and interface density in closed form.
    x = torch.arange(32, dtype=torch.float64)
    field = (0.1 + 0.8 * torch.cos(2 * math.pi * x / 16)).expand(2, 32, 32)
    kappa = torch.tensor([1.0, 0.25], dtype=torch.float64)
    found = learned_process("cahn_hilliard").frame_features(field, kappa)
    deviation, density, size, share, highest, _, _, log_kappa = found.T
    torch.testing.assert_close(deviation, torch.full((2,), 0.8 / math.sqrt(2) / math.sqrt(0.99)).double())
    torch.testing.assert_close(size, torch.full((2,), math.log(16.0)).double())
    torch.testing.assert_close(size, domain_size(field, GRID).log())
    torch.testing.assert_close(density, (interface_density(field, GRID, kappa) * kappa.sqrt() + 0.01).log())
    assert (share == math.log(0.02)).all()  # none: the offset alone
    torch.testing.assert_close(highest, torch.full((2,), -5.0).double())
    torch.testing.assert_close(log_kappa, kappa.log())


def test_interfaces_in_equilibrium_hold_equal_energies() -> None:
    # u = tanh(x / sqrt(2 kappa)), two of them in a periodic box: f = kappa/2 (du/dx)^2 everywhere.
    x = torch.arange(64, dtype=torch.float64) - 32
    profile = torch.tanh((x.abs() - 16) / math.sqrt(2 * 4.0)).expand(1, 8, 64)
    ratio = learned_process("cahn_hilliard").frame_features(profile, torch.tensor([4.0], dtype=torch.float64))[0, 6]
    assert abs(ratio) < 1e-3  # the tails meet at 16 cells from the interfaces: exp(-2 * 16 / sqrt 8) = 1e-5


@pytest.mark.parametrize("process", list(LEARNED_PROCESSES))
def test_features_do_not_depend_on_box_batch_or_extension(process: str) -> None:
    kappa = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    smooth = torch.fft.rfft2(noise(GRID, 0.0, 1.0, range(3)))
    smooth[:, 6:-5] = 0
    smooth[:, :, 6:] = 0
    field = 0.8 + 2.0 * torch.fft.irfft2(smooth)
    features = learned_process(process).frame_features(field, kappa)
    assert features.shape == (3, len(learned_process(process).features))
    # Tiles: the same structure in a larger box; quantiles may fall one cell apart.
    torch.testing.assert_close(
        learned_process(process).frame_features(field.repeat(1, 2, 3), kappa), features, atol=5e-2, rtol=1e-2
    )
    torch.testing.assert_close(learned_process(process).frame_features(field[1:2], kappa[1:2]), features[1:2])
    mirrored = torch.cat([field, field.flip(-1)], -1)
    mirrored = torch.cat([mirrored, mirrored.flip(-2)], -2)
    closed = learned_process(process).frame_features(field, kappa, boundary="no_flux")
    torch.testing.assert_close(closed, learned_process(process).frame_features(mirrored, kappa))


def test_wrong_input() -> None:
    domain = Domain("cahn_hilliard", {"kappa": (0.25, 2.0)})
    with pytest.raises(InputError, match="groups kappa, but got none"):
        domain.inside({})
    with pytest.raises(InputError, match="groups kappa, but got kappa, gamma"):
        domain.inside({"kappa": [1.0], "gamma": [1.5]})
    with pytest.raises(InputError, match="one shape"):
        domain.inside({"kappa": 1.0})
    with pytest.raises(InputError, match="found 'melting'"):
        learned_process("melting").frame_features(torch.zeros(1, 8, 8), torch.ones(1))
    with pytest.raises(InputError, match="a field"):
        learned_process("cahn_hilliard").frame_features(torch.zeros(8, 8), torch.ones(1))
    with pytest.raises(InputError, match="found 'melting'"):
        fit_domain("melting", {"kappa": [1.0]})
    with pytest.raises(InputError, match="finite low <= high"):
        fit_domain("cahn_hilliard", {}, box={"kappa": (2.0, 1.0)})
    rows = np.zeros((8, len(learned_process("cahn_hilliard").features)))
    with pytest.raises(InputError, match="features"):
        fit_domain("cahn_hilliard", {"kappa": [1.0]}, rows[:, 1:], trajectory=range(8))
    with pytest.raises(InputError, match="at least 4 trajectories"):
        fit_domain("cahn_hilliard", {"kappa": [1.0]}, rows, trajectory=[0] * 8)
    with pytest.raises(InputError, match="2 frames have others"):
        fit_domain(
            "cahn_hilliard", {"kappa": [1.0]}, np.where(np.arange(8)[:, None] < 2, np.nan, rows), trajectory=[*range(8)]
        )
    made = fit_domain("cahn_hilliard", {"kappa": [1.0]}, rows + np.arange(8)[:, None], trajectory=range(8))
    with pytest.raises(InputError, match="features of shape"):
        made.inside({"kappa": [1.0]}, rows[:2])


@pytest.mark.parametrize("data", [{}, {"process": "melting", "box": {"a": [0, 1]}, "frames": None}, {"box": 3}])
def test_foreign_files_are_refused(data: dict) -> None:
    with pytest.raises(InputError, match="expected what as_dict"):
        Domain.from_dict(data)
