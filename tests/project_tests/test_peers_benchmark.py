"""Pure logic of the peers benchmark: cost at an accuracy, going to finer grids and back, its small ETDRK solver."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from common.spectral import fourier_matrix
from peers_bench.contender import MODULES, contenders_of
from peers_bench.curves import first_reaching, front, interpolated_cost, near_front, summarise
from peers_bench.problem import (
    BOX,
    FIRST,
    NumpyEtdrk,
    relative_errors,
    resample,
)

ERRORS = [1e-1, 1e-2, 2e-2, 1e-3, math.inf]
COSTS = [1.0, 4.0, 8.0, 16.0, 0.5]


def test_front_keeps_what_nothing_beats() -> None:
    assert front(ERRORS, COSTS) == [0, 1, 3]
    assert front([math.inf], [1.0]) == []


def test_near_front_keeps_points_within_the_slack() -> None:
    assert near_front(ERRORS, COSTS, 1.0) == [0, 1, 3]
    assert near_front(ERRORS, COSTS, 2.0) == [0, 1, 2, 3]


@pytest.mark.parametrize(("target", "index"), [(0.5, 0), (1e-2, 1), (5e-3, 3), (1e-4, None)])
def test_first_reaching_is_the_cheapest_accurate_enough(target: float, index: int | None) -> None:
    assert first_reaching(ERRORS, COSTS, target) == index


def test_interpolated_cost_follows_a_power_law() -> None:
    """Cost = error^-0.5 exactly, so log-log interpolation is exact."""
    errors = [1e-1, 1e-2, 1e-4]
    costs = [error**-0.5 for error in errors]
    assert interpolated_cost(errors, costs, 1e-3) == pytest.approx(1e-3**-0.5)
    assert interpolated_cost(errors, costs, 0.5) == costs[0]
    assert interpolated_cost(errors, costs, 1e-5) is None


def test_summary_of_a_diverged_run_is_infinite() -> None:
    summary = summarise([1e-3, 2e-3, math.inf])
    assert summary == {"median": 2e-3, "rms": math.inf, "worst": math.inf}


def test_interpolation_is_exact_for_resolved_waves() -> None:
    x = np.arange(64) * BOX / 64
    fine = np.arange(72) * BOX / 72
    wave = 2 * np.pi * 7 / BOX
    matrix = fourier_matrix(64, 72)
    np.testing.assert_allclose(matrix @ np.cos(wave * x + 0.3), np.cos(wave * fine + 0.3), atol=1e-12)


def test_nyquist_mode_stays_a_cosine() -> None:
    """Its coefficient is split evenly between the two signs, so the interpolant is cos(32 * 2 pi x / L)."""
    fine = np.arange(96) * BOX / 96
    upwards = fourier_matrix(64, 96) @ np.cos(np.pi * np.arange(64))
    np.testing.assert_allclose(upwards, np.cos(np.pi * fine), atol=1e-12)


@pytest.mark.parametrize("cells", [64, 72, 128])
def test_resampling_up_and_down_returns_the_field(cells: int) -> None:
    fields = FIRST.initial_fields(2)
    np.testing.assert_allclose(resample(resample(fields, cells), 64), fields, atol=1e-13)


def test_initial_fields_are_smooth_and_reproducible() -> None:
    field = FIRST.initial_field(3)
    assert field.mean() == pytest.approx(0.0, abs=1e-15)
    assert field.std() == pytest.approx(0.1)
    np.testing.assert_array_equal(field, FIRST.initial_fields(4)[3])
    spectrum = np.abs(np.fft.rfft2(field))
    assert spectrum[32].max() < 1e-7 * spectrum.max()  # exp(-pi^2 / (2 * 0.5^2)) = 3e-9 of the low modes


def test_relative_errors_are_infinite_where_not_finite() -> None:
    reference = np.ones((3, 64, 64))
    fields = np.stack([np.full((64, 64), value) for value in (1.0, 1.5, np.nan)])
    assert relative_errors(fields, reference).tolist() == [0.0, 0.5, np.inf]


@pytest.mark.parametrize(("order", "observed"), [(2, 1.9), (4, 3.6)])
def test_numpy_etdrk_converges_at_its_order(order: int, observed: float) -> None:
    """Steps of 1/32 to 1/128: larger ones show the order reduction of stiff modes (3.0 for order 4 at 1/4 to 1/16)."""
    initial = FIRST.initial_fields(1)
    coarse, middle, fine = (NumpyEtdrk(64, steps, order, t_end=2.0)(initial) for steps in (64, 128, 256))
    rate = np.log2(np.abs(coarse - middle).max() / np.abs(middle - fine).max())
    assert rate > observed


def test_every_contender_is_described_without_its_library() -> None:
    names = [contender.name for module in MODULES for contender in contenders_of(module)]
    assert len(names) == len(set(names)) == 10
    for module in MODULES:
        for contender in contenders_of(module):
            assert contender.settings
            assert 1 in contender.chunks
