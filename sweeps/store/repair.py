"""Damage is repaired when a sweep runs again: metadata and coordinates from the plan, results by computing them anew.

Only points whose numbers were damaged are computed again. The status table can be rebuilt from the data, except
``wall_s``:

- ``status``: a point with an engine beside it was computed under its present key, and its objects are on disk (or it is
  found lost later); finite statistics then mean done. All else is computed again.
- ``engine``: the sweep's own, unless the sweep mixes engines; then its points are computed again.
- ``error``: points that had one (diverged, not trusted) are computed again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import zarr
from zarr.abc.store import Store as Objects

from solvers.errors import InputError
from sweeps.store.group import Attributes, PointGroup, dimension_names
from sweeps.store.integrity import MISSING, Damage, gathered_metadata, root_damage
from sweeps.store.layout import DIVERGED, DONE, PENDING, coordinate_variables, layout_of
from sweeps.store.locations import object_store, read_object, remove_object, write_object
from sweeps.store.status_table import NAMES
from sweeps.store.store import METADATA, REFERENCE, VERIFICATION, Store, fixed_attributes

if TYPE_CHECKING:
    from sweeps.plan.plan import Plan


def restore_root(url: str, plan: Plan, attributes: Callable[[], Attributes]) -> list[Damage]:
    """Write the root's metadata anew where they are damaged and the points below are the plan's; what was restored.

    What is not surely a store of this plan is left as it is.

    Raises:
        InputError: for damaged metadata of a store whose points are not the plan's.
    """
    objects = object_store(url)
    raw = read_object(objects, METADATA)
    if raw is None or (_parses(raw) and not root_damage(objects)):
        return []
    if not _has_points_of(plan, objects):
        if not _parses(raw):
            return []  # opening it raises that it cannot be read
        raise InputError(f"{url}: its metadata are damaged, and its points are not those of this file; left as it is")
    metadata = {"zarr_format": 3, "node_type": "group", "attributes": {**attributes(), **fixed_attributes(plan)}}
    write_object(objects, METADATA, json.dumps(metadata, indent=2).encode())
    return [Damage("", METADATA, (0, 0), "metadata were damaged")]


def _parses(raw: bytes) -> bool:
    try:
        return isinstance(json.loads(raw), dict)
    except ValueError:
        return False


def _has_points_of(plan: Plan, objects: Objects) -> bool:
    try:
        keys = zarr.open_array(objects, path="key", mode="r", zarr_format=3)
        return bool(np.array_equal(np.asarray(keys[:]).astype("S32"), plan.keys))
    except (OSError, ValueError, KeyError, RuntimeError):
        return False


def repair(store: Store, plan: Plan, damage: Sequence[Damage], engine: Callable[[], str | None]) -> Store:
    """Remove what is damaged; write metadata, coordinates and the status table again; the store, opened to be written.

    Args:
        store: opened for reading; the caller has locked it.
        plan: of the sweep.
        damage: what :func:`sweeps.store.integrity.find_damage` found.
        engine: gives the name of the engine that computes all points, None where a sweep mixes several.

    Raises:
        InputError: where the keys are lost and the file is not the one that the store was made from, so that it is
            unknown which points are still right.
    """
    if (
        any(d.variable == "key" and not d.is_metadata for d in damage)
        and store.attributes.get("config_hash") != plan.hash
    ):
        raise InputError(f"{store.url}: its keys are damaged and the file has changed; run the unchanged file first")
    objects = object_store(store.url)
    copies = gathered_metadata(objects)
    for item in damage:
        if not item.variable:
            continue  # the root, restored before
        if item.is_metadata:
            write_object(objects, item.object, json.dumps(copies[item.variable], indent=2).encode())
        elif item.error != MISSING:
            remove_object(objects, item.object)
    layout = layout_of(plan)
    store = store.writable(layout)
    if {d.variable for d in damage} & set(coordinate_variables(plan, layout)):
        store.write_coordinates(plan, layout)
    _reset_spot_checks(store, damage)
    _rebuild_table(store, damage, engine)
    return store


def _reset_spot_checks(store: Store, damage: Sequence[Damage]) -> None:
    """Damaged spot checks are made again: the point alone where its solution was damaged, else all of them."""
    for name in (REFERENCE, VERIFICATION):
        damaged = [d for d in damage if d.variable.startswith(f"{name}/") and not d.is_metadata]
        group = store.subgroup(name)
        if group is None or not damaged:
            continue
        if name == REFERENCE and all(_is_result(group, d.variable.removeprefix(f"{name}/")) for d in damaged):
            group.table.reset(np.unique(np.concatenate([np.arange(*d.rows) for d in damaged])))
        else:
            del store.group[name]
    store.update_attributes({})


def _is_result(group: PointGroup, name: str) -> bool:
    dims = dimension_names(group.array(name))
    return len(dims) > 1 and "point" in dims and name not in NAMES


def _rebuild_table(store: Store, damage: Sequence[Damage], engine: Callable[[], str | None]) -> None:
    """Fill the gaps in the status table, see the top of this module."""
    table = store.table
    values = table.values
    for item in (d for d in damage if d.variable in NAMES and not d.is_metadata):
        rows = np.arange(*item.rows)
        if item.variable == "status":
            finite = np.isfinite(store.read("free_energy", slice(*item.rows))).all(axis=(1, 2))
            known = (values["engine"][rows] != "").all(axis=1) & finite
            values["status"][rows] = np.where(known, DONE, PENDING)[:, None]
        elif item.variable == "engine":
            name = engine()
            if name is None:
                values["status"][rows] = PENDING
            else:
                values["engine"][rows[table.finished[rows].all(axis=1)]] = name
        elif item.variable == "error":
            unsure = (values["status"][rows] == DIVERGED).any(axis=1)
            if "trust" in store:
                unsure |= (store.read("trust", slice(*item.rows)) < 1).any(axis=1)
            values["status"][rows[unsure]] = PENDING
        table.touch(rows)
    table.flush()
