"""The models that come with the program: small, whole, and better than no model on a box they never saw."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from phasetwin import main
from solvers import CahnHilliard, GrainGrowth, Grid, simulate, simulate_grains
from solvers.initial import noise, voronoi
from surrogate import load_surrogate, shipped
from surrogate.models.files import SHIPPED

torch.set_num_threads(1)
LARGEST = 25e6  # bytes, all together


def test_they_are_small():
    assert sum(f.stat().st_size for f in SHIPPED.rglob("*") if f.is_file()) <= LARGEST


def test_nothing_is_pickled():
    assert not [f for f in SHIPPED.rglob("*") if f.suffix in (".pt", ".pth", ".pkl", ".pickle", ".bin")]


def test_the_command_lists_them(capsys):
    assert main(["models"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in shipped())


@pytest.mark.parametrize("name", shipped())
def test_each_has_a_card(name):
    assert (SHIPPED / name / "card.md").stat().st_size > 500


@pytest.mark.parametrize("name", [n for n in shipped() if load_surrogate(n).kind == "jump"])
def test_each_beats_persistence(name):
    """One step on a 32 x 48 box with unseen seeds, against the solver."""
    model, grid = load_surrogate(name), Grid((32, 48))
    if model.process == "grain_growth":
        problem, times = GrainGrowth(grid), [20.0, 40.0]
        frames = simulate_grains(problem, voronoi(grid, 30, [90, 91]), times, tolerance=1e-2, dtype=torch.float32).field
    else:
        problem, times = CahnHilliard(grid), [120.0, 170.0]
        frames = simulate(problem, noise(grid, 0.0, 0.1, [90, 91]), times, tolerance=1e-2, dtype=torch.float32)
    found = model.forecast(problem, frames[:, :1], np.array(times[:1]), np.array(times[1:]))
    error, persistence = ((f - frames[:, 1]).square().mean().sqrt() for f in (found[:, 0], frames[:, 0]))
    # Half is a wide margin above what the cards report for one step; a broken model is at persistence or worse.
    assert error < 0.5 * persistence
