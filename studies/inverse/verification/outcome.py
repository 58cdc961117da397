"""What a study leaves: ``best.json``, which holds verified points only, ``summary.json`` and the report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.errors import InputError
from studies.inverse.search.acquisition import known_front
from studies.inverse.search.evaluation import INSIDE, read_points
from studies.inverse.search.fidelity import Standing
from studies.inverse.search.shared_trajectories import family
from studies.inverse.verification.equivalent_optima import sentence, trace
from sweeps.files import write_json

if TYPE_CHECKING:
    from studies.inverse.search.driver import Driver
    from studies.inverse.study import StudyResult

BEST, VERIFIED, SUMMARY = "best.json", "verified.json", "summary.json"


def conclude(driver: Driver, standing: Standing, started: float, report: bool) -> StudyResult:
    """Write the outcome.

    Raises:
        InputError: where no trial meets the constraints.
    """
    from studies.inverse.study import StudyResult

    _check_feasible(driver, standing)
    best = best_points(driver, standing)
    write_json(driver.folder / BEST, best)
    write_json(driver.folder / VERIFIED, verified_points(driver, standing))
    equivalents = trace(driver, standing)
    page = None
    if report:
        from studies.inverse.report import write_report

        page = write_report(driver, standing, best, equivalents)
    warm = int(driver.history.warm.sum())
    counts = {n: getattr(driver.counts, n) for n in ("explored", "confirmed", "verified", "reused")}
    result = StudyResult(
        folder=driver.folder,
        best=best,
        trials=len(driver.history) - warm,
        warm=warm,
        rollouts=driver.counts.rollouts,
        verified=len(driver.ladder.verified.trials),
        why=driver.why,
        wall_s=time.monotonic() - started,
        counts=counts,
        missed=0 if not driver.prepared.judge.all_targets or (best and best[0]["met"]) else 1,
        equivalents=sentence(equivalents),
        report=page,
    )
    summary = {
        "stopped": driver.why,
        "trials": result.trials,
        "warm": warm,
        "verified": result.verified,
        "rounds": driver.search.rounds,
    }
    write_json(driver.folder / SUMMARY, summary)
    return result


def _check_feasible(driver: Driver, standing: Standing) -> None:
    believed = standing.believed
    if not len(driver.history.points) or not believed.any():
        raise InputError(
            f"variables: found no trial of {len(driver.history)} that the engine can be trusted "
            "with, allowed a box inside "
            "its domain, or `outside: solver`"
        )
    violations = standing.judged.violations[believed]
    if (violations <= 0).all(axis=1).any():
        return
    nearest = int(np.argmin(np.maximum(violations, 0.0).sum(axis=1)))
    worst = int(np.argmax(violations[nearest]))
    term = driver.prepared.judge.constraints[worst]
    split = len(driver.prepared.judge.objectives)
    value = float(term.aim.summary(standing.features[split + worst][believed])[nearest])
    limits = [f"{n} {v:g}" for n, v in (("min", term.aim.low), ("max", term.aim.high)) if v is not None]
    raise InputError(
        f"{term.key}: found no trial of {len(driver.history)} that meets it (nearest: {term.label} = {value:.4g}), "
        f"allowed {' and '.join(limits)}; widen the variables or the limit"
    )


def best_points(driver: Driver, standing: Standing) -> list[dict[str, Any]]:
    """Verified, feasible points: the best few, each of another trajectory, or the front."""
    if driver.prepared.judge.is_pareto:
        rows = known_front(standing, only_verified=True)
    else:
        rows = np.flatnonzero(standing.verified & standing.judged.feasible)
        rows = rows[np.argsort(standing.judged.merit[rows], kind="stable")]
        rows = _of_each_trajectory(driver, standing, rows)[: driver.prepared.study.verify.top]
    inside = _inside_bands(driver, standing, rows)
    numbers = driver.journal.numbers()
    return [_point(driver, standing, int(row), inside[i], numbers) for i, row in enumerate(rows)]


def _of_each_trajectory(driver: Driver, standing: Standing, rows: np.ndarray) -> np.ndarray:
    """The best point of each trajectory; those beside it are much the same."""
    space, left, kept = driver.prepared.space, rows, []
    while len(left):
        points = driver.history.points[standing.trials[left]]
        kept.append(int(left[0]))
        left = left[~family(space, points, points[0])]
    return np.array(kept, dtype=np.int64)


def verified_points(driver: Driver, standing: Standing) -> list[dict[str, Any]]:
    """Every point that the solver has solved, in that order, beside what was said of it before."""
    rung, numbers = driver.ladder.verified, driver.journal.numbers()
    rows = np.searchsorted(standing.trials, rung.trials)
    inside = _inside_bands(driver, standing, rows)
    return [
        {"round": number, "role": role, **_point(driver, standing, int(row), good, numbers)}
        for row, good, (number, role) in zip(rows, inside, rung.roles, strict=True)
    ]


def short_labels(labels: Sequence[str]) -> list[str]:
    """Names without their times where that leaves them different."""
    bare = [
        label.split("@")[0] + (label[label.index("[", label.index("@")) :] if "[" in label.split("@")[-1] else "")
        for label in labels
    ]
    return [b if bare.count(b) == 1 else label for b, label in zip(bare, labels, strict=True)]


def _point(
    driver: Driver, standing: Standing, row: int, inside: bool, numbers: dict[tuple[int, int], int]
) -> dict[str, Any]:
    terms = driver.prepared.terms
    names = short_labels([t.label for t in terms])
    trial = int(standing.trials[row])
    rung = driver.ladder.verified
    url, place = rung.places[rung.trials.index(trial)]
    signs = [getattr(t.aim, "sign", 1.0) for t in driver.prepared.judge.objectives]
    predicted = [float(t.aim.summary(f[[row]])[0]) for t, f in zip(terms, standing.exploring, strict=True)]
    found = [float(t.aim.summary(f[[row]])[0]) for t, f in zip(terms, standing.features, strict=True)]
    return {
        "parameters": driver.prepared.space.as_dict(driver.history.points[trial]),
        "qois": dict(zip(names, found, strict=True)),
        "objectives": [float(s * v) for s, v in zip(signs, standing.judged.losses[row], strict=True)],
        "verified": True,
        "within_band": inside,
        "predicted": dict(zip(names, predicted, strict=True)),
        "met": bool(driver.prepared.judge.met(standing.judged.losses[[row]])[0]),
        "trial": numbers.get(driver.history.places[trial]),
        "store": str(Path(url)),
        "row": place,
        "feasible": bool(standing.judged.feasible[row]),
    }


def _inside_bands(driver: Driver, standing: Standing, rows: np.ndarray) -> list[bool]:
    """Whether the solver's values lie inside the bands of the exploring engine, for every term, at half of the
    starts.
    """
    found = []
    tolerance = getattr(driver.prepared.exploring.engine, "tolerance", None)
    for row in rows.tolist():
        trial = int(standing.trials[row])
        own = read_points(
            driver.history.url(trial), driver.prepared.terms, rows=np.array([driver.history.places[trial][1]])
        )
        good = True
        for i, values in enumerate(standing.features):
            if own.low is not None and own.high is not None:
                inside = (own.low[i] <= values[[row]]) & (values[[row]] <= own.high[i])
            else:
                inside = np.abs(own.features[i] - values[[row]]) <= (tolerance or 0.0) * np.abs(values[[row]])
            good &= bool(inside.mean() >= INSIDE)
        found.append(good)
    return found
