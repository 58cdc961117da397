"""The jump network and its stepping: symmetries that hold by construction."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from surrogate.networks.jump import JumpNet, JumpSettings, with_reach
from surrogate.networks.periodic import wrap
from surrogate.rollout.stepping import StepSchedule, jump_rollout

torch.set_num_threads(1)
SHAPE = {"width": 8, "blocks": 2, "reach": 20.0}
# Float32 sums in another order; values are of order one and pass through a dozen layers.
ROUND_OFF = 1e-5
SCHEDULE = StepSchedule((0.0, 50.0), (10.0, 20.0))


def lively(**shape: object) -> JumpNet:
    """A network whose every layer matters: fresh ones are nearly the identity."""
    torch.manual_seed(0)
    net = JumpNet(JumpSettings(groups=2, **(SHAPE | shape)))  # type: ignore[arg-type]
    for value in net.parameters():
        torch.nn.init.normal_(value, std=0.15)
    return net.eval().requires_grad_(False)


def start(batch: int = 3, side: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    return torch.rand(batch, side, side, generator=rng), torch.rand(batch, 2, generator=rng)


def test_shifts_by_a_patch_commute_with_it():
    net, (field, groups) = lively(), start()
    lengths = torch.tensor([[1.0, 20.0]]).expand(3, 2)
    moved = net(field.roll((4, 8), (1, 2)), groups, lengths)
    torch.testing.assert_close(moved, net(field, groups, lengths).roll((4, 8), (2, 3)), rtol=0, atol=ROUND_OFF)


def test_a_tiled_box_is_the_box_tiled():
    """Circular padding and no dependence on the size: a period repeated stays one."""
    net, (field, groups) = lively(), start()
    lengths = torch.full((3, 1), 7.0)
    whole = net(field.tile(1, 2, 3), groups, lengths)
    torch.testing.assert_close(whole, net(field, groups, lengths).tile(1, 1, 2, 3), rtol=0, atol=ROUND_OFF)


def test_the_mean_is_conserved_where_it_must_be():
    field, groups = start()
    lengths = torch.full((3, 1), 20.0)
    for conserve, largest in ((True, 1e-6), (False, None)):
        drift = (lively(conserve=conserve)(field, groups, lengths)[:, 0].mean((1, 2)) - field.mean((1, 2))).abs().max()
        assert drift <= largest if largest else drift > 1e-3


def test_a_short_step_changes_little():
    net, (field, groups) = lively(), start()
    sizes = [net.increments(net.features(field, groups), torch.full((3, 1), x)).abs().max() for x in (1e-4, 20.0)]
    assert sizes[0] < 1e-4 * sizes[1]


def test_training_and_running_are_the_same_function():
    net, (field, groups) = lively(), start()
    lengths = torch.full((3, 1), 5.0)
    running = net(field, groups, lengths)
    torch.testing.assert_close(net.train()(field, groups, lengths), running, rtol=0, atol=ROUND_OFF)


@pytest.mark.parametrize("conserve", [False, True])
def test_the_compiled_ends_are_the_layers(conserve: bool) -> None:
    """Without gradients a network goes another way: the same function, for samples in any order."""
    net = lively(conserve=conserve)
    rng = torch.Generator().manual_seed(2)
    field, groups = torch.rand(3, 16, 24, generator=rng), torch.rand(3, 2, generator=rng)
    owners, lengths = torch.tensor([2, 0, 0, 1, 2, 2, 1]), torch.linspace(0.5, 20.0, 7)
    layers = net.changes(net.features(field, groups), owners, lengths)
    with torch.inference_mode():
        found = net.changes(net.features(field, groups), owners, lengths)
    torch.testing.assert_close(found, layers, rtol=0, atol=ROUND_OFF)
    assert layers.std() > 0.1


def test_a_longer_reach_can_begin_as_the_same_function():
    net, (field, groups) = lively(), start()
    longer = lively(reach=60.0)
    longer.load_state_dict(with_reach(net.state_dict(), 3.0))
    lengths = torch.tensor([[1.0, 20.0]]).expand(3, 2)
    torch.testing.assert_close(
        longer(field, groups, lengths), net(field, groups, lengths), rtol=0, atol=3.0 * ROUND_OFF
    )


def test_padding_wraps():
    x = torch.arange(12.0).reshape(1, 1, 3, 4)
    assert torch.equal(wrap(x, 2), torch.nn.functional.pad(x, (2, 2, 2, 2), mode="circular"))


def rolled(net: JumpNet, field: torch.Tensor, groups: torch.Tensor, ages: np.ndarray, begin: float) -> torch.Tensor:
    out = torch.full((*ages.shape, *field.shape[1:]), torch.nan)
    for reached in jump_rollout(net, field, np.full(len(field), begin), ages, groups, SCHEDULE):
        out[reached.samples, reached.times] = reached.fields
    return out


def test_the_schedule_grows_with_age():
    assert SCHEDULE.at(np.array([0.0, 49.9, 50.0, 1e4])).tolist() == [10.0, 10.0, 20.0, 20.0]


def test_frames_do_not_depend_on_what_else_is_asked_for():
    net, (field, groups) = lively(), start()
    few = np.tile([40.0, 77.0], (3, 1))
    many = np.tile(np.sort(np.append(np.linspace(31.0, 120.0, 13), [40.0, 77.0])), (3, 1))
    position = np.searchsorted(many[0], few[0])
    both = [rolled(net, field, groups, ages, 30.0) for ages in (few, many)]
    torch.testing.assert_close(both[1][:, position], both[0], rtol=0, atol=ROUND_OFF)
    assert torch.isfinite(both[1]).all()


def test_samples_do_not_depend_on_their_neighbours():
    net, (field, groups) = lively(), start()
    ages = np.array([[40.0, 60.0, 61.0], [35.0, 36.0, 37.0], [30.0, 99.0, 140.0]])
    together = rolled(net, field, groups, ages, 30.0)
    for i in range(3):
        alone = rolled(net, field[i : i + 1], groups[i : i + 1], ages[i : i + 1], 30.0)
        torch.testing.assert_close(together[i], alone[0], rtol=0, atol=ROUND_OFF)


def test_the_starting_age_gives_the_start():
    net, (field, groups) = lively(), start()
    found = rolled(net, field, groups, np.tile([30.0, 45.0], (3, 1)), 30.0)
    assert torch.equal(found[:, 0], field)


def test_steps_are_those_of_the_schedule():
    net, (field, groups) = lively(), start(1)
    state = field
    for length in (10.0, 10.0, 20.0):  # 30, 40, 50, 70
        state = net(state, groups, torch.tensor([[length]]))[:, 0]
    found = rolled(net, field, groups, np.array([[70.0]]), 30.0)
    torch.testing.assert_close(found[:, 0], state, rtol=0, atol=ROUND_OFF)


def test_the_guard_may_replace_steps():
    net, (field, groups) = lively(), start(2)
    seen = []

    def guard(samples, before, owners, lengths, frames):
        """Keeps every sample as it was, but for the frames shorter than a step."""
        seen.extend(zip(samples[owners].tolist(), lengths.tolist(), strict=True))
        full = torch.from_numpy(lengths == 10.0)[:, None, None]
        return torch.where(full, before[torch.from_numpy(owners)], frames), np.full(len(frames), np.nan)

    ends = np.array([[58.0], [58.0]])
    frames = list(jump_rollout(net, field, np.array([30.0, 45.0]), ends, groups, SCHEDULE, guard))
    assert sorted(seen) == [(0, 8.0), (0, 10.0), (0, 10.0), (1, 3.0), (1, 10.0)]
    last = net(field[:1], groups[:1], torch.tensor([[8.0]]))[0, 0]
    found = next(r.fields[list(r.samples).index(0)] for r in frames if 0 in r.samples)
    torch.testing.assert_close(found, last, rtol=0, atol=ROUND_OFF)


@pytest.mark.parametrize("patch", [2, 4, 8])
def test_patches(patch):
    net, (field, groups) = lively(patch=patch), start()
    assert net(field, groups, torch.full((3, 1), 5.0)).shape == (3, 1, 16, 16)
