"""Every sweep that ships is valid and can be planned, and there are some."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import phasetwin
from solvers.grid import Grid
from solvers.initial_pfhub import pfhub_1a
from sweeps.config import SweepConfig
from sweeps.plan import make_plan
from sweeps.yaml_source import load_yaml

FOLDER = Path(__file__).parents[2] / "sweeps" / "examples"
EXAMPLES = sorted(FOLDER.glob("*.yaml"))


def test_there_are_some() -> None:
    assert len(EXAMPLES) >= 4


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_lints_and_plans(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert phasetwin.main(["lint", str(path)]) == 0
    assert "ok" in capsys.readouterr().out
    config = load_yaml(path, SweepConfig)
    assert config.name == path.stem
    assert config.output.path == f"runs/{path.stem}.zarr"
    # A first try must not take an afternoon or fill a disk.
    estimate = make_plan(config).estimate
    assert estimate.seconds < 600
    assert estimate.bytes < 2**30


def test_spinodal_shares_trajectories_among_mobilities() -> None:
    estimate = make_plan(load_yaml(FOLDER / "spinodal.yaml", SweepConfig)).estimate
    assert (estimate.points, estimate.rollouts, estimate.trajectories) == (64, 8, 32)


def test_pfhub_1a_start() -> None:
    field = pfhub_1a(Grid(shape=(100, 100), spacing=2.0))
    assert field.shape == (100, 100)
    # At the origin all cosines are 1.
    assert field[0, 0].item() == pytest.approx(0.53, abs=1e-15)
    x, y = torch.tensor(14.0, dtype=torch.float64), torch.tensor(6.0, dtype=torch.float64)
    expected = 0.5 + 0.01 * (
        torch.cos(0.105 * x) * torch.cos(0.11 * y)
        + (torch.cos(0.13 * x) * torch.cos(0.087 * y)) ** 2
        + torch.cos(0.025 * x - 0.15 * y) * torch.cos(0.07 * x - 0.02 * y)
    )
    assert field[3, 7].item() == pytest.approx(expected.item(), abs=1e-15)
