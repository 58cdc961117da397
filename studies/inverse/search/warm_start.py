"""What a study starts from: its engines, points of other stores, and an emulator that is learned for it."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import qmc

from solvers.errors import InputError
from solvers.processes.registry import process_named
from solvers.registries import resolve
from studies.inverse.config import TIME, LearnedExplorer
from studies.inverse.objectives.point_view import PointView
from studies.inverse.problem import DesignProblem, with_engine
from studies.inverse.search.evaluation import KnownPoints, read_points, run_points
from studies.inverse.search.runner import LazyClient, StudyRunner
from surrogate.emulator.build import learn_from_stores
from sweeps.config.sweep import SweepConfig
from sweeps.engines.registry import check_engine, engine_kind
from sweeps.files import write_json
from sweeps.plan.point_keys import point_keys
from sweeps.store.layout import DONE, VERIFIED
from sweeps.store.store import Store

logger = logging.getLogger("phasetwin")
ENGINE, EMULATOR = "engine.json", "emulator"
#: Trials taken from one store; of larger ones a random part.
MOST = 4000
#: Values of the time scale at which each trajectory of a learned explorer's design is read: they fill the gaps between
#: stored times.
TIME_SCALES = 6


def start_runner(problem: DesignProblem, folder: Path, client: LazyClient) -> StudyRunner:
    """A runner with its engines and the points of ``warm_start``.

    Raises InputError for an engine that cannot run here, or a store of another process.
    """
    urls = warm_stores(problem)
    problem = _with_resolved_engines(problem, folder)
    known, rollouts = KnownPoints(), 0
    for url in urls.values():
        known.add(url)
    if problem.confirming is not None:
        check_engine(problem.confirming)
    if isinstance(problem.study.explore, LearnedExplorer):
        rollouts = _learn_emulator(problem, problem.study.explore.learn, folder, client, known, list(urls.values()))
        engine = {"kind": "emulator", "model": str((folder / EMULATOR).absolute())}
        problem = replace(problem, exploring=with_engine(problem.exploring, engine))
    check_engine(problem.exploring)
    runner = StudyRunner(problem, folder, client, known)
    runner.counts["rollouts"] += rollouts
    for number, (name, url) in enumerate(urls.items()):
        _add_store(runner, -1 - number, name, url)
    return runner


def warm_stores(problem: DesignProblem) -> dict[str, str]:
    """Key of the file and URL of every store of ``warm_start``; a study's folder stands for all its stores.

    Raises InputError for what is no store, or one of another process.
    """
    found, here = {}, problem.exploring.process
    for i, entry in enumerate(problem.study.warm_start):
        folder, key = Path(entry), f"warm_start.{i}"
        stores = [str(p) for p in sorted(folder.glob("*/*.zarr"))] if (folder / "study.json").exists() else [entry]
        for number, url in enumerate(stores):
            try:
                process = Store.open(url).config.get("process")
            except InputError as error:
                raise InputError(f"{key}: {error}") from None
            if process != here:
                raise InputError(f"{key}: found {url}, a store of {process}, allowed one of {here}")
            found[key if len(stores) == 1 else f"{key} ({number})"] = url
    return found


def _with_resolved_engines(problem: DesignProblem, folder: Path) -> DesignProblem:
    """Engines that stand for another, such as ``auto``, resolved once; a study that goes on keeps the choice."""
    sweeps = {"exploring": problem.exploring, "confirming": problem.confirming}
    open_choices = {n: c for n, c in sweeps.items() if c is not None and engine_kind(c).resolve is not None}
    if not open_choices:
        return problem
    path = folder / ENGINE
    stored = json.loads(path.read_text()) if path.exists() else {}
    for name, config in open_choices.items():
        if name not in stored:
            chosen, choice = resolve(engine_kind(config).resolve)(config)
            stored[name] = {"engine": chosen.engine.model_dump(mode="json"), "reason": choice.reason}
    write_json(path, stored)
    changes: dict[str, Any] = {n: with_engine(c, stored[n]["engine"]) for n, c in open_choices.items()}
    return replace(problem, **changes)


def _add_store(runner: StudyRunner, batch: int, name: str, url: str) -> None:
    """Points of a store that are points of this study, as trials; its spot checks as verified."""
    problem, first = runner.problem, len(runner.history)
    rows, values = _matching(problem, url)
    if not rows.size:
        why = _difference(problem, url)
        logger.info(f"{problem.study.name}: {name}: no point of {url} is one of this study ({why})")
        return
    runner.add_warm(batch, rows, values, read_points(url, problem.criteria, rows))
    _add_checks(runner, url, rows, first)
    logger.info(f"{problem.study.name}: {name}: {len(rows)} trials from {url}")


def _matching(problem: DesignProblem, url: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a store that have the keys this study would give them, and their variables (row, variable)."""
    space, view, sweep = problem.space, PointView(url), problem.exploring
    names = sweep.parameter_names
    if TIME in space.names or any(n not in view for n in names) or not _has_fields(problem, view):
        return np.empty(0, dtype=np.int64), np.empty((0, space.size))
    parameters = {n: view.get(n) for n in names}
    good = np.isin(view.get("status"), (DONE, VERIFIED)).all(axis=1)
    values = np.stack([parameters[n] for n in space.names], axis=1)
    good &= ((values >= space.low) & (values <= space.high)).all(axis=1)
    good &= view.get("key").astype("S32") == point_keys(sweep, parameters)
    for name in names:
        if name not in space.names:
            good &= parameters[name] == float(sweep.parameters[name])  # type: ignore[arg-type]
    rows = np.flatnonzero(good)
    if len(rows) > MOST:
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:MOST])
    return rows, values[rows]


def _has_fields(problem: DesignProblem, view: PointView) -> bool:
    times = problem.criteria.field_times
    if not times or "field" not in view:
        return not times
    return all(np.abs(view.field_times() - t).min() <= 1e-9 * max(1.0, abs(t)) for t in times)


def _difference(problem: DesignProblem, url: str) -> str:
    """Where the store's sweep differs from this study's, the first difference that decides."""
    stored, sweep = Store.open(url).config, problem.exploring
    here = sweep.model_dump(mode="json")
    for key in ("grid", *process_named(sweep.process).options, "initial", "realizations", "engine"):
        if stored.get(key) != here[key]:
            return f"{key}: {json.dumps(stored.get(key))[:80]} there, {json.dumps(here[key])[:80]} here"
    times = SweepConfig.model_validate({**here, "times": stored["times"]}, strict=False).time_values()
    return "other parameters" if np.array_equal(times, sweep.time_values()) else "other times"


def _add_checks(runner: StudyRunner, url: str, rows: np.ndarray, first: int) -> None:
    """Spot checks of the store that are at least as accurate as this study's own."""
    reference = Store.open(url).subgroup("reference")
    tolerance = runner.problem.reference.engine.tolerance  # type: ignore[attr-defined]
    if reference is None or float(reference.attributes.get("tolerance", np.inf)) > tolerance * (1 + 1e-9):
        return
    if runner.problem.criteria.field_times:
        return
    checked = read_points(url, runner.problem.criteria, group="reference")
    own = PointView(url, rows).get("key").astype("S32")
    done = PointView(url, group="reference").get("status")
    row_of = {key: i for i, key in enumerate(own.tolist())}
    chosen = [
        (row_of[key], i)
        for i, key in enumerate(checked.keys.tolist())
        if key in row_of and checked.usable[i] and (done[i] == DONE).all()
    ]
    if chosen:
        theirs = [i for _, i in chosen]
        results = replace(checked, features=[v[theirs] for v in checked.features], usable=checked.usable[theirs])
        trials = [first + mine for mine, _ in chosen]
        runner.levels.verified.add(trials, results, [(0, "spot check")] * len(trials))


def _learn_emulator(
    problem: DesignProblem, learn: int, folder: Path, client: LazyClient, known: KnownPoints, warm: Sequence[str]
) -> int:
    """Learn the exploring emulator from ``learn`` trajectories: those of ``warm_start``, the rest run on the sweep's
    own engine. Nothing where it is there already. Returns how many were computed.
    """
    model, rollouts = folder / EMULATOR, 0
    if (model / "emulator.json").exists():
        return 0
    assert problem.confirming is not None
    stores = [url for url in warm if _same_curves(problem.confirming, url)]
    missing = learn - sum(_trajectories(problem, url) for url in stores)
    if missing > 0:
        columns = _design(problem, missing)
        done = run_points(problem.confirming, folder / "design" / "points", columns, client.get(), known)
        stores.append(done.url)
        rollouts = done.rollouts
    learn_from_stores(stores).save(model)
    logger.info(f"{problem.study.name}: an emulator from {', '.join(stores)}")
    return rollouts


def _design(problem: DesignProblem, count: int) -> dict[str, np.ndarray]:
    """Sobol points of the variables that do not scale time, each at several time scales of its one trajectory."""
    space = problem.space
    sequence = qmc.Sobol(space.size, scramble=True, seed=np.random.default_rng(problem.study.sampler.seed))
    unit = sequence.random_base2((count - 1).bit_length())[:count]
    if space.scaling:
        unit = np.repeat(unit, TIME_SCALES, axis=0)
        unit[:, space.scaling] = np.tile(np.linspace(0.0, 1.0, TIME_SCALES), count)[:, None]
    return space.columns(space.values(unit))


def _same_curves(sweep: SweepConfig, url: str) -> bool:
    """Whether trajectories of a store are those of a sweep, parameters and times aside."""
    stored, here = Store.open(url).config, sweep.model_dump(mode="json")
    keys = ("process", "grid", *process_named(sweep.process).options, "initial")
    return all(stored.get(key) == here[key] for key in keys)


def _trajectories(problem: DesignProblem, url: str) -> int:
    """Different trajectories of a store within the box."""
    space, view = problem.space, PointView(url)
    good = np.isin(view.get("status"), (DONE, VERIFIED)).all(axis=1)
    columns = [j for j, n in enumerate(space.names) if j not in space.scaling and n in view]
    values = [view.get(space.names[j]) for j in columns]
    for j, column in zip(columns, values, strict=True):
        good &= (column >= space.low[j]) & (column <= space.high[j])
    return len(np.unique(np.stack([v[good] for v in values], axis=1), axis=0)) if values else int(good.any())
