"""What a study begins with: engines that are there, points of other stores, an emulator learned for it."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from solvers.errors import InputError
from studies.inverse.config import TIME, LearnedExplorer
from studies.inverse.inputs import Prepared, with_engine
from studies.inverse.objectives.features import PointView
from studies.inverse.search.driver import Driver, LazyClient
from studies.inverse.search.evaluation import KnownPoints, read_points, run_points
from sweeps.config.sweep import SweepConfig
from sweeps.plan.point_keys import point_keys
from sweeps.store.layout import DONE, VERIFIED
from sweeps.store.store import open_store, read, stored_config

logger = logging.getLogger("phasetwin")

ENGINE, EMULATOR = "engine.json", "emulator"
#: Trials taken from one store; of larger ones a random part.
MOST = 4000
#: Mobilities at which a learned explorer reads each of its trajectories: they fill the ages between stored times.
MOBILITIES = 6


def begin(prepared: Prepared, folder: Path, client: LazyClient) -> Driver:
    """A driver with its engines and what ``warm_start`` brings.

    Raises:
        InputError: for an engine that cannot run here, or a store of another process.
    """
    from sweeps.engines.registry import check_engine

    urls = warm_stores(prepared)
    prepared = _with_choice(prepared, folder)
    known = KnownPoints()
    for url in urls.values():
        known.add(url)
    if prepared.confirming is not None:
        check_engine(prepared.confirming)
    rollouts = 0
    if isinstance(prepared.study.explore, LearnedExplorer):
        prepared, rollouts = _learned(prepared, folder, client, known, list(urls.values()))
    check_engine(prepared.exploring)
    driver = Driver(prepared, folder, client, known)
    driver.counts.rollouts += rollouts
    for number, (name, url) in enumerate(urls.items()):
        _take(driver, -1 - number, name, url)
    return driver


def warm_stores(prepared: Prepared) -> dict[str, str]:
    """Key of the file and URL of every store of ``warm_start``; a study's folder stands for all its stores.

    Raises:
        InputError: for what is no store, or one of another process.
    """
    found = {}
    for i, entry in enumerate(prepared.study.warm_start):
        folder = Path(entry)
        stores = [str(p) for p in sorted(folder.glob("*/*.zarr"))] if (folder / "study.json").exists() else [entry]
        for number, url in enumerate(stores):
            key = f"warm_start.{i}"
            try:
                process = stored_config(open_store(url)).get("process")
            except InputError as error:
                raise InputError(f"{key}: {error}") from None
            if process != prepared.exploring.process:
                raise InputError(
                    f"{key}: found {url}, a store of {process}, allowed one of {prepared.exploring.process}"
                )
            found[key if len(stores) == 1 else f"{key} ({number})"] = url
    return found


def _with_choice(prepared: Prepared, folder: Path) -> Prepared:
    """``engine: auto`` measured once; a study that goes on keeps what was chosen."""
    parts = {n: c for n in ("exploring", "confirming") if (c := getattr(prepared, n)) is not None}
    if all(config.engine.kind != "auto" for config in parts.values()):
        return prepared
    from surrogate.auto_engine import choose

    path = folder / ENGINE
    stored = json.loads(path.read_text()) if path.exists() else {}
    changes: dict[str, Any] = {}
    for name, config in parts.items():
        if config.engine.kind == "auto":
            if name not in stored:
                chosen, choice = choose(config)
                stored[name] = {"engine": chosen.engine.model_dump(mode="json"), "reason": choice.reason}
            changes[name] = with_engine(config, stored[name]["engine"])
    path.write_text(json.dumps(stored, indent=1))
    return replace(prepared, **changes)


def _take(driver: Driver, batch: int, name: str, url: str) -> None:
    """Points of a store that are points of this study, as trials; its spot checks as verified."""
    prepared = driver.prepared
    rows, values = _matching(prepared, url)
    if not rows.size:
        logger.info(f"{prepared.study.name}: {name}: no point of {url} is one of this study ({_why(prepared, url)})")
        return
    evaluation = read_points(url, prepared.terms, rows)
    driver.take_warm(batch, rows, values, evaluation)
    first = len(driver.history) - len(rows)
    _take_checks(driver, url, rows, first)
    logger.info(f"{prepared.study.name}: {name}: {len(rows)} trials from {url}")


def _matching(prepared: Prepared, url: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a store that have the keys this study would give them, and their variables (row, variable)."""
    space, view = prepared.space, PointView(url)
    nothing = np.empty(0, dtype=np.int64), np.empty((0, space.size))
    names = prepared.exploring.parameter_names
    if TIME in space.names or any(n not in view for n in names) or not _keeps_fields(prepared, view):
        return nothing
    parameters = {n: view.get(n) for n in names}
    good = np.isin(view.get("status"), (DONE, VERIFIED)).all(axis=1)
    values = np.stack([parameters[n] for n in space.names], axis=1)
    good &= ((values >= space.low) & (values <= space.high)).all(axis=1)
    good &= view.get("key").astype("S32") == point_keys(prepared.exploring, parameters)
    for name in names:
        if name not in space.names:
            good &= parameters[name] == float(prepared.exploring.parameters[name])  # type: ignore[arg-type]
    rows = np.flatnonzero(good)
    if len(rows) > MOST:
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:MOST])
    return rows, values[rows]


def _keeps_fields(prepared: Prepared, view: PointView) -> bool:
    times = [t for term in prepared.terms for t in term.feature.field_times]
    if not times:
        return True
    if "field" not in view:
        return False
    kept = read(view.root, "time_field" if "time_field" in view.root else "time")
    return all(np.abs(kept - t).min() <= 1e-9 * max(1.0, abs(t)) for t in times)


def _why(prepared: Prepared, url: str) -> str:
    """Where the store's sweep differs from this study's, the first difference that decides."""
    stored = stored_config(open_store(url))
    here = prepared.exploring.model_dump(mode="json")
    for key in ("grid", "well", "initial", "realizations", "engine"):
        if stored.get(key) != here[key]:
            return f"{key}: {json.dumps(stored.get(key))[:80]} there, {json.dumps(here[key])[:80]} here"
    times = SweepConfig.model_validate({**here, "times": stored["times"]}, strict=False).time_values()
    if not np.array_equal(times, prepared.exploring.time_values()):
        return "other times"
    return "other parameters"


def _take_checks(driver: Driver, url: str, rows: np.ndarray, first: int) -> None:
    """Spot checks of the store that are at least as accurate as this study's own."""
    root: Any = open_store(url)
    tolerance = driver.prepared.reference.engine.tolerance  # type: ignore[attr-defined]
    if "reference" not in root or float(root["reference"].attrs.get("tolerance", np.inf)) > tolerance * (1 + 1e-9):
        return
    if any(term.feature.field_times for term in driver.prepared.terms):
        return
    checked = read_points(url, driver.prepared.terms, group="reference")
    own = PointView(url, rows).get("key").astype("S32")
    done = PointView(url, group="reference").get("status")
    places = {key: i for i, key in enumerate(own.tolist())}
    chosen = [
        (places[key], i)
        for i, key in enumerate(checked.keys.tolist())
        if key in places and checked.usable[i] and (done[i] == DONE).all()
    ]
    if not chosen:
        return
    theirs = np.array([i for _, i in chosen])
    trials = [first + mine for mine, _ in chosen]
    features = [values[theirs] for values in checked.features]
    roles = [(0, "spot check")] * len(trials)
    driver.ladder.verified.add(trials, features, np.ones(len(trials), dtype=bool), url, roles)


def _learned(
    prepared: Prepared, folder: Path, client: LazyClient, known: KnownPoints, warm: Sequence[str]
) -> tuple[Prepared, int]:
    """Learn the exploring emulator from points run on the sweep's own engine, and from ``warm_start``."""
    from surrogate.emulator.emulator import Emulator

    assert isinstance(prepared.study.explore, LearnedExplorer) and prepared.confirming is not None  # noqa: PT018
    place, rollouts = folder / EMULATOR, 0
    if not (place / "emulator.json").exists():
        stores = [url for url in warm if _same_curves(prepared.confirming, url)]
        missing = prepared.study.explore.learn - sum(_sites(prepared, url) for url in stores)
        if missing > 0:
            url, counts = run_points(
                prepared.confirming, folder / "design" / "points", _design(prepared, missing), client.get(), known
            )
            stores.append(url)
            rollouts = counts[2]
        Emulator.from_store(stores).save(place)
        logger.info(f"{prepared.study.name}: an emulator from {', '.join(stores)}")
    engine = {"kind": "emulator", "model": str(place.absolute())}
    return replace(prepared, exploring=with_engine(prepared.exploring, engine)), rollouts


def _design(prepared: Prepared, count: int) -> dict[str, np.ndarray]:
    """Sobol points of all variables but those that only scale time, each at several mobilities of one trajectory."""
    from scipy.stats import qmc

    space = prepared.space
    sequence = qmc.Sobol(space.size, scramble=True, seed=np.random.default_rng(prepared.study.sampler.seed))
    unit = sequence.random_base2((count - 1).bit_length())[:count]
    scaling = [j for j, n in enumerate(space.names) if n in ("mobility", TIME)]
    if not scaling:
        return space.columns(space.values(unit))
    unit = np.repeat(unit, MOBILITIES, axis=0)
    unit[:, scaling] = np.tile(np.linspace(0.0, 1.0, MOBILITIES), count)[:, None]
    return space.columns(space.values(unit))


def _same_curves(sweep: SweepConfig, url: str) -> bool:
    stored, here = stored_config(open_store(url)), sweep.model_dump(mode="json")
    return all(stored.get(k) == here[k] for k in ("process", "grid", "well", "initial"))


def _sites(prepared: Prepared, url: str) -> int:
    """Different points of a store within the box, mobility aside."""
    view = PointView(url)
    names = [n for n in prepared.space.names if n not in ("mobility", TIME) and n in view]
    good = np.isin(view.get("status"), (DONE, VERIFIED)).all(axis=1)
    for name in names:
        j = prepared.space.names.index(name)
        good &= (view.get(name) >= prepared.space.low[j]) & (view.get(name) <= prepared.space.high[j])
    if not names:
        return int(good.any())
    return len(np.unique(np.stack([view.get(n)[good] for n in names], axis=1), axis=0))
