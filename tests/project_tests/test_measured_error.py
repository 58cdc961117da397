"""The cases of the error benchmark, and how its outcomes are judged."""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy import fft

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from error_bench.cases import CAHN_HILLIARD, GRAINS, SETS, SMOOTH, Case, cases_of
from error_bench.measure import Outcome
from error_bench.report import summary_row

ALL = [case for name in SETS for case in cases_of(name)]


def outcome(error: float, estimate: float, tolerance: float = 1e-2) -> Outcome:
    errors, estimates = (0.5 * error * tolerance, error * tolerance), (0.0, estimate * tolerance)
    return Outcome("report-00", tolerance, errors, estimates, 1.0, 10, "code")


@pytest.mark.parametrize("name", SETS)
def test_a_set_covers_what_it_should(name: str) -> None:
    cases = cases_of(name)
    assert cases == cases_of(name)
    assert Counter(case.process for case in cases) == {"cahn_hilliard": CAHN_HILLIARD, "grain_growth": GRAINS}
    assert sum(case.contrast > 0 for case in cases) >= CAHN_HILLIARD // 3
    assert {case.start for case in cases} == {"noise", "smooth", "circle", "voronoi"}
    assert {case.boundary for case in cases} == {"periodic", "no_flux"}
    assert all(48 <= case.cells <= 256 and 0.5 <= case.kappa <= 2.0 for case in cases)
    assert all(6 <= len(case.times) <= 10 and list(case.times) == sorted(set(case.times)) for case in cases)


def test_the_sets_have_no_case_in_common() -> None:
    assert len({case.digest for case in ALL}) == len(ALL)
    assert len({case.seed for case in ALL}) == len(ALL)


@pytest.mark.parametrize("case", [c for c in ALL if c.start == "smooth"][:8], ids=lambda case: case.name)
def test_smooth_starts_are_low_pass(case: Case) -> None:
    """The spectrum falls as exp(-(k length / 2 pi)^2 / 2): to exp(-8) = 3e-4 at four times 2 pi / length."""
    start = case.initial()[0].numpy()
    # Exact but for round-off: the field is scaled and shifted.
    assert start.std() == pytest.approx(SMOOTH, rel=1e-12)
    assert start.mean() == pytest.approx(case.composition, abs=1e-12)
    n = case.cells
    periodic = case.boundary == "periodic"
    spectrum = np.abs(fft.fft2(start) if periodic else fft.dctn(start))
    waves = fft.fftfreq(n) if periodic else np.arange(n) / (2 * n)
    size = np.hypot(waves[:, None], waves[None, :]) * case.length
    spectrum[0, 0] = 0.0
    # White noise has modes up to about three times larger than typical ones.
    assert spectrum[size > 4.0].max(initial=0.0) <= 1e-2 * spectrum.max()


def test_an_outcome_survives_json() -> None:
    broken = Outcome("report-00", 1e-2, (1e-3, math.inf), (math.nan, 2e-3), 1.0, 10, "code")
    again = Outcome.of(json.loads(json.dumps(broken.row(), allow_nan=False)))
    assert again.errors == broken.errors
    assert math.isnan(again.estimates[0])
    assert math.isnan(again.estimate)
    assert not broken.flagged


def test_a_miss_counts_and_so_does_a_silent_one() -> None:
    """Within, too small, missed with a flag, missed and not known (estimate a quarter of the error)."""
    row = summary_row([outcome(0.5, 0.6), outcome(0.1, 0.2), outcome(2.0, 1.5), outcome(1.6, 0.4)])
    assert row[6:] == ["1 of 4", "2", "1", "1", "3 of 4", "1"]


def test_an_estimate_that_is_missing_is_no_estimate() -> None:
    row = summary_row([outcome(0.5, math.nan)])
    assert row[-2:] == ["0 of 1", "1"]
