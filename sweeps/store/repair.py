"""Damage is mended when a sweep runs again: metadata and coordinates from the plan, results by computing them anew.

Only points whose numbers were hit are computed again. The driver's book can mostly be told from the rest:

- ``status``: a point with an engine beside it was computed under its present key, and its objects are on disk (or it is
  found lost later); finite statistics then mean done. All else is computed again.
- ``engine``: the sweep's own, unless the sweep mixes engines; then its points are computed again.
- ``error``: lost; points that have something to say (diverged, not trusted) are computed again.
- ``wall_s``: lost.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import zarr

from solvers.errors import InputError
from sweeps.plan.plan import Plan
from sweeps.store.integrity import GROUPS, LEDGER, MISSING, ROOT, Damage, described, root_damage
from sweeps.store.layout import DIVERGED, DONE, PENDING, Layout
from sweeps.store.locations import object_store
from sweeps.store.status_table import Ledger
from sweeps.store.store import (
    finished,
    fixed_attributes,
    open_store,
    read_bytes,
    remove_object,
    update_attributes,
    write_bytes,
    write_coordinates,
)


def restore_root(url: str, plan: Plan, attributes: dict[str, Any]) -> bool:
    """Write the root's metadata anew where they are damaged and what is below is this plan's sweep.

    Args:
        url: of the store.
        plan: of the sweep; its points must be those of the store.
        attributes: what the root shall say.

    Returns:
        Whether there was anything to restore. What is not surely a store of this plan is left as it is.

    Raises:
        InputError: for damaged metadata of a store whose points are not the plan's.
    """
    raw = read_bytes(url, ROOT)
    if raw is None or (_parses(raw) and not root_damage(url)):
        return False
    if not _holds(url, plan):
        if not _parses(raw):
            return False  # whatever it is: opening it will say that it cannot be read
        raise InputError(f"{url}: its metadata are damaged, and its points are not those of this file; left as it is")
    about = {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": {**attributes, **fixed_attributes(plan)},
    }
    write_bytes(object_store(url), ROOT, json.dumps(about, indent=2).encode())
    return True


def _parses(raw: bytes) -> bool:
    try:
        return isinstance(json.loads(raw), dict)
    except ValueError:
        return False


def _holds(url: str, plan: Plan) -> bool:
    """Whether the array of keys at a URL holds exactly the plan's."""
    try:
        keys: Any = zarr.open_array(object_store(url), path="key", mode="r", zarr_format=3)
        return bool(np.array_equal(np.asarray(keys[:]).astype("S32"), plan.keys))
    except (OSError, ValueError, KeyError, RuntimeError):
        return False


def repair(url: str, plan: Plan, layout: Layout, bad: list[Damage]) -> None:
    """Remove what is damaged; write metadata and coordinates again.

    Args:
        url: of the store, which the caller has locked.
        plan: of the sweep.
        layout: of the store.
        bad: what :func:`sweeps.store.integrity.find_damage` found.

    Raises:
        InputError: where the keys are lost and the file is not the one that the store was made from: nobody can then
            tell which points are still right.
    """
    copies, stored = described(url), open_store(url).attrs.get("config_hash")
    if any(d.variable == "key" and not d.is_metadata for d in bad) and stored != plan.hash:
        raise InputError(f"{url}: its keys are damaged and the file has changed; run the unchanged file first")
    store = object_store(url)
    for item in bad:
        if not item.variable:
            continue  # the root, restored before
        if item.is_metadata:
            write_bytes(store, item.object, json.dumps(copies[item.variable], indent=2).encode())
        elif item.error != MISSING:
            remove_object(store, item.object)
    root = open_store(url, mode="r+")
    coordinates = {*plan.parameters, "key", "point", "realization", "time", "time_field", "y", "x", *layout.extra}
    if any(d.variable in coordinates for d in bad):
        write_coordinates(root, plan, layout)
    _drop_checks(root, bad)


def _drop_checks(root: Any, bad: list[Damage]) -> None:
    """Spot checks that were hit are made again: the point alone where its solution was hit, else all of them."""
    for group in GROUPS:
        hit = [d for d in bad if d.variable.startswith(f"{group}/") and not d.is_metadata]
        if not hit or group not in root:
            continue
        names = {d.variable.rpartition("/")[2] for d in hit}
        book = group == "reference" and not names & {*LEDGER, "key"} and all("point" in _dims(root, d) for d in hit)
        if book:
            Ledger(root[group]).reset(np.unique(np.concatenate([np.arange(*d.rows) for d in hit])))
        else:
            del root[group]
    update_attributes(root, {})


def _dims(root: Any, item: Damage) -> tuple[str, ...]:
    dims = tuple(root[item.variable].metadata.dimension_names or ())
    return dims if len(dims) > 1 else ()


def mend_book(root: zarr.Group, plan: Plan, ledger: Ledger, bad: list[Damage]) -> None:
    """Fill the gaps that :func:`repair` left in the driver's book, see the top of this module."""
    values = ledger.values
    for item in (d for d in bad if d.variable in LEDGER and not d.is_metadata):
        rows = np.arange(*item.rows)
        if item.variable == "status":
            known = (values["engine"][rows] != "").all(axis=1) & _finite(root, rows)
            values["status"][rows] = np.where(known, DONE, PENDING)[:, None]
        elif item.variable == "engine":
            done = finished(values["status"][rows]).all(axis=1)
            if plan.config.engine.mixes_engines:
                values["status"][rows] = PENDING
            else:
                values["engine"][rows[done]] = _engine_name(plan)
        elif item.variable == "error":
            telling = (values["status"][rows] == DIVERGED).any(axis=1)
            if "trust" in root:
                telling |= (read_rows(root, "trust", rows) < 1).any(axis=1)
            values["status"][rows[telling]] = PENDING
        ledger.touch(rows)
    ledger.flush()


def read_rows(root: Any, name: str, rows: np.ndarray) -> np.ndarray:
    """Some neighbouring rows of a variable."""
    return np.asarray(root[name][int(rows[0]) : int(rows[-1]) + 1])


def _finite(root: zarr.Group, rows: np.ndarray) -> np.ndarray:
    """bool (row,): points whose free energy is finite at all times."""
    return np.asarray(np.isfinite(read_rows(root, "free_energy", rows)).all(axis=(1, 2)))


def _engine_name(plan: Plan) -> str:
    from sweeps.engines.registry import build_engine

    return build_engine(plan.config).name
