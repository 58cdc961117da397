"""Conformal bands: finite-sample coverage, the trajectory as unit, what is missing, and the file."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from solvers.errors import InputError
from surrogate.uncertainty.bands import Calibration
from surrogate.uncertainty.conformal import CoverageRow, coverage_rows, fit_calibration, hits
from surrogate.uncertainty.difficulty import Difficulty

SIX_SIGMA = 6.0  # false alarm once in 10^9 were the seeds free; they are fixed


def coverage(made: Calibration, *sets: Any, edges: Any = None, **options: Any) -> tuple[CoverageRow, ...]:
    """Measured coverage of one set of trajectories."""
    return coverage_rows([hits(made, *sets, **options)], edges or made.edges, made.level)


def exact_coverage(count: int, level: float) -> tuple[float, float]:
    """Mean and variance over calibrations of the coverage by the k-th smallest of ``count`` continuous errors:
    Beta(k, count + 1 - k), Vovk 2012, doi:10.1007/978-3-642-30671-6_6."""
    k = math.ceil((count + 1) * level - 1e-9)
    a, b = k, count + 1 - k
    return a / (a + b), a * b / ((a + b) ** 2 * (a + b + 1))


@pytest.mark.parametrize(("count", "scale"), [(9, "relative"), (19, "absolute"), (25, "relative"), (60, "absolute")])
def test_coverage_is_that_of_the_order_statistic(count: int, scale: str) -> None:
    seeds, new = 400, 50
    rng = np.random.default_rng(count)
    lead = np.broadcast_to([1.0, 2.0], (count + new, 2))
    hits = []
    for _ in range(seeds):
        # Heavy tails, error growing with lead.
        error = rng.standard_t(3, (count + new, 2)) * [0.1, 0.3]
        predicted = rng.uniform(1.0, 2.0, (count + new, 2))
        truth = predicted * np.exp(error) if scale == "relative" else predicted + error
        made = fit_calibration(
            {"q": predicted[:count]}, {"q": truth[:count]}, lead[:count], scales={"q": scale}, monotone=False
        )
        low, high = made.bands({"q": predicted[count:]}, lead[count:])["q"]
        hits.append(((low <= truth[count:]) & (truth[count:] <= high)).mean(0))
    mean, variance = exact_coverage(count, 0.9)
    bound = SIX_SIGMA * math.sqrt((variance + mean * (1 - mean) / new) / seeds)
    assert mean >= 0.9
    np.testing.assert_allclose(np.mean(hits, axis=0), mean, atol=bound)


def test_frames_of_a_trajectory_are_not_independent_samples() -> None:
    # One error for all 40 frames of a trajectory, all leads in one bin: 12 trajectories, not 480 samples.
    count, frames, new, seeds = 12, 40, 50, 300
    rng = np.random.default_rng(0)
    lead = np.broadcast_to(np.linspace(1.0, 2.0, frames), (count + new, frames))
    hits = []
    for _ in range(seeds):
        truth = np.broadcast_to(rng.standard_normal((count + new, 1)), lead.shape)
        zero = np.zeros_like(truth)
        made = fit_calibration({"q": zero[:count]}, {"q": truth[:count]}, lead[:count], edges=(0.0, 2.0))
        assert made.qois["q"].trajectories == ((count,),)
        expected = np.sort(np.abs(truth[:count, 0]))[math.ceil(13 * 0.9) - 1]
        assert made.qois["q"].half_widths[0][0] == pytest.approx(expected)
        low, high = made.bands({"q": zero[count:]}, lead[count:])["q"]
        hits.append(((low <= truth[count:]) & (truth[count:] <= high)).mean())
    mean, variance = exact_coverage(count, 0.9)
    bound = SIX_SIGMA * math.sqrt((variance + mean * (1 - mean) / new) / seeds)
    assert np.mean(hits) == pytest.approx(mean, abs=bound)


def test_coverage_where_trajectories_have_unequal_numbers_of_frames() -> None:
    # Hard trajectories have more frames: pooled frames would be biased, a random frame of a random trajectory counts.
    count, frames, new, seeds = 30, 12, 60, 300
    rng = np.random.default_rng(1)
    lead = np.broadcast_to(np.linspace(1.0, 2.0, frames), (count + new, frames))
    hits = []
    for _ in range(seeds):
        size = rng.uniform(0.1, 3.0, (count + new, 1))
        truth = size * rng.standard_normal((count + new, frames))
        truth[np.arange(frames) > 4 * size] = np.nan
        zero = np.zeros_like(truth)
        made = fit_calibration({"q": zero[:count]}, {"q": truth[:count]}, lead[:count], edges=(0.0, 2.0))
        low, high = made.bands({"q": zero[count:]}, lead[count:])["q"]
        known = np.isfinite(truth[count:])
        inside = (low <= truth[count:]) & (truth[count:] <= high)
        hits.append(((inside & known).sum(1) / known.sum(1)).mean())
    error = np.std(hits) / math.sqrt(seeds)
    # Guaranteed from below; above by at most the new trajectory's weight of 1/(n+1) and one frame's.
    assert 0.9 - SIX_SIGMA * error <= np.mean(hits) <= 0.9 + 1 / (count + 1) + SIX_SIGMA * error


@pytest.mark.parametrize(("count", "finite"), [(8, False), (9, True)])
def test_too_few_trajectories_make_infinite_bands(count: int, finite: bool) -> None:
    rng = np.random.default_rng(2)
    lead = np.broadcast_to(np.arange(1.0, 31.0), (count, 30))
    truth = rng.uniform(1.0, 2.0, lead.shape)
    made = fit_calibration({"domain_size": truth * 1.1}, {"domain_size": truth}, lead)
    low, high = made.bands({"domain_size": truth}, lead)["domain_size"]
    assert np.isfinite(high).all() == finite
    assert (high > 1.0).all()
    assert (low >= 0.0).all()
    rows = coverage(made, {"domain_size": truth * 1.1}, {"domain_size": truth}, lead)
    assert all(row.finite == float(finite) for row in rows)


def drifting(count: int, seed: int) -> tuple[dict, dict, np.ndarray, dict, np.ndarray]:
    """Errors that grow with lead and kappa; a structure factor whose high wavenumbers are worse."""
    rng = np.random.default_rng(seed)
    lead = np.broadcast_to(np.linspace(5.0, 100.0, 20), (count, 20))
    kappa = rng.uniform(0.25, 2.0, count)
    size = 10.0 + lead**0.33
    spread = 0.02 * np.sqrt(lead / 100.0) * kappa[:, None] ** 1.5
    walk = np.cumsum(rng.standard_normal((count, 20)), axis=1) / np.sqrt(20.0)
    factor = size[:, :, None] ** 2 * np.exp(-np.arange(4.0))
    noise = rng.standard_normal((count, 20, 4)) * [0.01, 0.02, 0.05, 0.5]
    truth = {"domain_size": size * np.exp(spread * walk), "structure_factor": factor * np.exp(noise)}
    return {"domain_size": size, "structure_factor": factor}, truth, lead, {"kappa": kappa}, lead + 20.0


def test_extra_axis_has_its_own_widths_and_coverage_holds() -> None:
    predicted, truth, lead, groups, age = drifting(400, 3)
    made = fit_calibration(predicted, truth, lead, age=age, groups=groups)
    widths = np.asarray(made.qois["structure_factor"].half_widths)
    assert widths.shape == (12, 4)
    assert (np.diff(np.median(widths, axis=0)) > 0).all()
    new_predicted, new_truth, new_lead, new_groups, new_age = drifting(400, 4)
    rows = coverage(made, new_predicted, new_truth, new_lead, age=new_age, groups=new_groups)
    assert len(rows) == 2 * 12
    assert all(row.holds and row.trajectories == 400 and row.finite == 1.0 for row in rows)
    low, high = made.bands(new_predicted, new_lead, age=new_age, groups=new_groups)["structure_factor"]
    assert low.shape == high.shape == (400, 20, 4)
    assert (low > 0).all()
    assert (low < high).all()


def test_difficulty_narrows_bands_where_it_helps_and_only_there() -> None:
    predicted, truth, lead, groups, age = drifting(200, 5)
    made = fit_calibration(predicted, truth, lead, age=age, groups=groups)
    assert made.qois["domain_size"].difficulty is not None
    assert made.qois["structure_factor"].difficulty is None
    plain = fit_calibration(predicted, truth, lead)
    low, high = made.bands(predicted, lead, age=age, groups=groups)["domain_size"]
    plain_low, plain_high = plain.bands(predicted, lead)["domain_size"]
    easy = groups["kappa"] < 0.6
    assert np.mean(high[easy] - low[easy]) < 0.5 * np.mean(plain_high[easy] - plain_low[easy])
    assert np.mean(high - low) < np.mean(plain_high - plain_low)
    with pytest.raises(InputError, match="give age and groups as the calibration had"):
        made.bands(predicted, lead)


def test_half_widths_rise_with_lead_only_where_the_data_do() -> None:
    rng = np.random.default_rng(6)
    lead = np.broadcast_to(np.arange(1.0, 11.0), (40, 10))
    zero = np.zeros_like(lead)
    growing = {"q": lead * rng.uniform(0.5, 1.5, lead.shape)}
    falling = {"q": rng.uniform(0.5, 1.5, lead.shape) / lead}
    rising = fit_calibration({"q": zero}, growing, lead).qois["q"]
    assert rising.monotone
    assert (np.diff(np.asarray(rising.half_widths)[:, 0]) >= 0).all()
    assert not fit_calibration({"q": zero}, falling, lead).qois["q"].monotone
    forced = fit_calibration({"q": zero}, falling, lead, monotone=True).qois["q"]
    assert len({w for (w,) in forced.half_widths}) == 1


def test_leads_outside_the_calibration() -> None:
    lead = np.broadcast_to(np.arange(1.0, 6.0), (20, 5))
    truth = np.random.default_rng(7).normal(size=lead.shape)
    made = fit_calibration({"q": np.zeros_like(lead)}, {"q": truth}, lead)
    low, high = made.bands({"q": np.zeros((1, 5))}, np.array([[-1.0, 0.0, 1.0, 5.5, np.nan]]))["q"]
    assert high[0, 0] == high[0, 1] == high[0, 2] < np.inf
    assert np.isinf(high[0, 3:]).all()
    assert np.isinf(low[0, 3:]).all()


def test_missing_values() -> None:
    rng = np.random.default_rng(8)
    lead = np.broadcast_to([1.0, 2.0], (20, 2))
    predicted = np.ones((20, 2))
    truth = predicted * np.exp(0.1 * rng.standard_normal((20, 2)))
    unknown = truth.copy()
    unknown[:5, 0] = np.nan
    made = fit_calibration({"q": predicted}, {"q": unknown}, lead, scales={"q": "relative"})
    # Unknown truths are left out: 15 trajectories remain at the first lead.
    assert made.qois["q"].trajectories == ((15,), (20,))
    expected = np.sort(np.abs(np.log(truth[5:, 0])))[math.ceil(16 * 0.9) - 1]
    assert made.qois["q"].half_widths[0][0] == pytest.approx(expected)
    # A prediction that failed counts as an error beyond any: three of twenty leave no 90 % band.
    failed = predicted.copy()
    failed[:3, 0] = np.nan
    made = fit_calibration({"q": failed}, {"q": truth}, lead, scales={"q": "relative"}, monotone=False)
    assert made.qois["q"].half_widths[0] == (math.inf,)
    assert math.isfinite(made.qois["q"].half_widths[1][0])
    low, high = made.bands({"q": failed}, lead)["q"]
    assert np.isnan(low[:3, 0]).all()
    assert np.isnan(high[:3, 0]).all()
    first = coverage(made, {"q": failed}, {"q": truth}, lead)[0]
    assert first.share == pytest.approx(17 / 20)
    # Nothing known at all: no trajectory, no band.
    made = fit_calibration({"q": predicted}, {"q": np.full((20, 2), np.nan)}, lead)
    assert made.qois["q"].half_widths == ((math.inf,), (math.inf,))
    assert coverage(made, {"q": predicted}, {"q": np.full((20, 2), np.nan)}, lead) == ()


def test_relative_bands_of_predictions_without_a_logarithm() -> None:
    lead = np.full((20, 1), 1.0)
    truth = np.exp(np.random.default_rng(9).normal(size=(20, 1)))
    made = fit_calibration({"free_energy": np.ones((20, 1))}, {"free_energy": truth}, lead)
    low, high = made.bands({"free_energy": np.array([[0.0], [-1.0], [1.0]])}, lead[:3])["free_energy"]
    assert np.isneginf(low[:2]).all()
    assert np.isposinf(high[:2]).all()
    assert 0 < low[2, 0] < 1 < high[2, 0] < np.inf


def test_round_trip_through_json() -> None:
    predicted, truth, lead, groups, age = drifting(60, 10)
    truth["domain_size"][:, :3] = np.nan
    made = fit_calibration(predicted, truth, lead, age=age, groups=groups)
    assert math.inf in made.qois["domain_size"].half_widths[0]
    again = Calibration.from_dict(json.loads(json.dumps(made.as_dict(), allow_nan=False)))
    assert again == made
    for name, band in made.bands(predicted, lead, age=age, groups=groups).items():
        np.testing.assert_array_equal(again.bands(predicted, lead, age=age, groups=groups)[name], band)


def test_one_seed_one_calibration() -> None:
    predicted, truth, lead, groups, age = drifting(60, 11)
    first, second, other = (fit_calibration(predicted, truth, lead, age=age, groups=groups, seed=s) for s in (1, 1, 2))
    assert first == second != other


@pytest.mark.parametrize("damage", [{}, {"level": 0.9, "edges": [0, 1], "qois": {"q": {}}}, {"level": "x"}])
def test_foreign_files_are_refused(damage: dict) -> None:
    with pytest.raises(InputError, match="expected what as_dict"):
        Calibration.from_dict(damage)


def test_damaged_rows_are_refused() -> None:
    predicted, truth, lead, groups, age = drifting(60, 12)
    data = fit_calibration(predicted, truth, lead, age=age, groups=groups).as_dict()
    data["qois"]["domain_size"]["half_widths"].pop()
    with pytest.raises(InputError, match="rows of half-widths"):
        Calibration.from_dict(data)
    with pytest.raises(ValueError, match="coefficients"):
        Difficulty(("a",), *[(1.0,)] * 5)


def test_wrong_input() -> None:
    lead, values = np.ones((10, 1)), {"q": np.ones((10, 1))}
    made = fit_calibration(values, values, lead)
    with pytest.raises(InputError, match=r"level: in \(0, 1\), but got 1"):
        fit_calibration(values, values, lead, level=1.0)
    with pytest.raises(InputError, match="truth: the quantities"):
        fit_calibration(values, {}, lead)
    with pytest.raises(InputError, match="positive for some frame"):
        fit_calibration(values, values, -lead)
    with pytest.raises(InputError, match="increasing leads"):
        fit_calibration(values, values, lead, edges=(1.0, 1.0))
    with pytest.raises(InputError, match="lead: 2 axes"):
        made.bands(values, np.ones(10))
    with pytest.raises(InputError, match="no calibration for r"):
        made.bands({"r": np.ones((10, 1))}, lead)
    with pytest.raises(InputError, match=r"q: \(trajectory, time\)"):
        made.bands({"q": np.ones((9, 1))}, lead)
    with pytest.raises(InputError, match="last axis of 1"):
        made.bands({"q": np.ones((10, 1, 3))}, lead)
    with pytest.raises(InputError, match="truth: q as predicted"):
        coverage(made, values, {"r": np.ones((10, 1))}, lead)
    with pytest.raises(InputError, match="age: shape"):
        fit_calibration(values, values, lead, age=np.ones(10))
    with pytest.raises(InputError, match="groups: kappa"):
        fit_calibration(values, values, lead, groups={"kappa": np.ones(3)})
