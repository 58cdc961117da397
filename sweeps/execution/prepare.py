"""A plan meets what is on disk: a new store, one to go on with, or one to leave alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np

from solvers.errors import InputError
from sweeps.engines.registry import build_engine, resolve_device
from sweeps.execution.batch_task import BatchTask, Reuse
from sweeps.plan.designs import grid_axes
from sweeps.plan.plan import Plan
from sweeps.plan.point_keys import EXECUTION_ONLY
from sweeps.store.group import Attributes, object_name, object_names
from sweeps.store.integrity import Damage, find_damage
from sweeps.store.layout import Layout, finished, layout_of, usable
from sweeps.store.locations import absolute, cannot_write
from sweeps.store.provenance import provenance
from sweeps.store.repair import repair, restore_root
from sweeps.store.store import UNREADABLE, Store, remove_partial_objects


@dataclass(frozen=True)
class Prepared:
    """A store ready to be filled.

    Attributes:
        store: opened to be written.
        plan: what will be in it.
        pending: bool (point,), points not finished.
        damaged: what was found damaged and has been repaired or will be computed, a line each.
        attributes: of the root, to be written at the end: where nothing is pending they have not been yet.
    """

    store: Store
    plan: Plan
    pending: np.ndarray
    damaged: tuple[str, ...] = ()
    attributes: Attributes = field(default_factory=dict)


def prepare(url: str, plan: Plan, check: bool = True) -> Prepared:
    """Create the store, or open it and find out what is left to compute. The caller holds the lock.

    With ``check`` all that is there is read and compared with its checksums; what is damaged is then computed again.

    Raises:
        InputError: for a store of another sweep or layout, or something else at that place; nothing is changed.
    """
    damage: list[Damage] = []
    mixed = plan.config.engine.mixes_engines
    attributes: Attributes = {}
    try:
        if check:
            damage += restore_root(url, plan, lambda: _attributes(plan, f"{_now()} metadata of the root restored"))
        store = Store.find(url)
        if store is None:
            store = Store.create(url, plan, layout_of(plan), _attributes(plan, f"{_now()} created"))
        else:
            damage += find_damage(store) if check else []
            layout = _layout_of(store, plan)
            _check_same_sweep(store, plan, layout, damage)
            remove_partial_objects(url)
            if damage:
                store = repair(store, plan, damage, lambda: None if mixed else build_engine(plan.config).name)
            else:
                store = store.writable(layout)
            attributes = _reset_changed(store, plan)
    except OSError as error:
        raise cannot_write(url, error) from None
    pending = np.asarray(~store.table.finished.all(axis=1))
    return Prepared(store, plan, pending, tuple(f"{d.object}: {d.error}" for d in damage), attributes)


def expected_pending(plan: Plan) -> np.ndarray | None:
    """What :func:`prepare` will find pending if nothing is damaged, bool (point,); None where it cannot be told.

    Reads the keys and the status alone.
    """
    try:
        store = Store.find(plan.config.output.path)
        if store is None:
            return np.ones(len(plan.keys), dtype=bool)
        changed, done = store.keys != plan.keys, finished(store.read("status")).all(axis=1)
    except (InputError, *UNREADABLE):
        return None
    return changed | ~done if np.shape(changed) == plan.keys.shape and not np.all(changed) else None


def _layout_of(store: Store, plan: Plan) -> Layout:
    """Of the plan. With the hash of all that decides a store's layout the extra axes are as long as in the store."""
    same = store.attributes.get("config_hash") == plan.hash
    return layout_of(plan, store.extra_lengths if same else None)


def _check_same_sweep(store: Store, plan: Plan, layout: Layout, damage: Sequence[Damage]) -> None:
    """Refuse a store whose name, process, layout or every finished point differs from the plan's."""
    url, config = store.url, plan.config
    for key, here in (("name", config.name), ("process", config.process)):
        if store.config.get(key) != here:
            raise InputError(
                f"{url}: holds another sweep ({key} {store.config.get(key)!r} there, {here!r} in the file); "
                "choose another output.path, or delete the store"
            )
    difference = store.difference(layout)
    if difference:
        raise InputError(
            f"{url}: holds a sweep of another layout ({difference}; {_first_difference(store, plan)}); "
            "choose another output.path, or delete the store (`reuse: [it]` takes over the points they share)"
        )
    if {d.variable for d in damage} & {"key", "status"} or not (store.keys != plan.keys).all():
        return
    done = int(finished(store.read("status")).any(axis=1).sum())
    if done:
        raise InputError(
            f"{url}: none of its {done} finished points is one of this file's "
            f"({_first_difference(store, plan)}); choose another output.path, or delete the store"
        )


def _first_difference(store: Store, plan: Plan) -> str:
    ignored = {*EXECUTION_ONLY, "batch"}
    for path, old, new in differences(store.config, plan.config.model_dump(mode="json")):
        if path[0] not in ignored and path[:2] != ("output", "path"):
            return f"{'.'.join(map(str, path))}: {_short(old)} there, {_short(new)} in the file"
    return "the same settings, other input files or another version of the program"


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def differences(old: object, new: object, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], object, object]]:
    """Where two JSON-like values differ: (path, old, new); missing keys count as None."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*new, *(k for k in old if k not in new)]
        return [d for k in keys for d in differences(old.get(k), new.get(k), (*path, k))]
    return [] if old == new else [(path, old, new)]


def _reset_changed(store: Store, plan: Plan) -> Attributes:
    """Mark as pending what is not this plan's or not on disk; write the plan's keys and parameters.

    Returns:
        Attributes that are not written yet: where nothing is pending they say no more than that it was run again.
    """
    changed = store.keys != plan.keys
    # The status first: a point is never marked as done under a key that is not its own.
    store.table.reset(np.flatnonzero(changed | _lost(store)))
    if changed.any():
        store.write_coordinates(plan, layout_of(plan))
    history = f"{store.attributes.get('history', '')}\n{_now()} run again"
    if store.table.finished.all():
        # What made the numbers stays what it was.
        return _of_plan(plan, history)
    store.update_attributes(_attributes(plan, history))
    return {}


def _lost(store: Store) -> np.ndarray:
    """bool (point,): finished points of which an object is not on disk (deleted because damaged)."""
    lost = np.zeros(store.layout.points, dtype=bool)
    for name in store.layout.results():
        array = store.array(name)
        there = object_names(array)
        for number, (start, stop) in enumerate(store.layout.batches):
            lost[start:stop] |= object_name(array, number) not in there
    return lost & store.table.finished.any(axis=1)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _of_plan(plan: Plan, history: str) -> Attributes:
    return {
        "config": plan.config.model_dump_json(),
        "config_hash": plan.hash,
        "design_axes": {name: len(values) for name, values in grid_axes(plan.config).items()},
        "history": history,
        **({"engine_choice": json.dumps(plan.choice.as_dict())} if plan.choice else {}),
    }


def _attributes(plan: Plan, history: str) -> Attributes:
    device = resolve_device(getattr(plan.config.engine, "device", "auto"))
    return {**_of_plan(plan, history), **provenance(device, plan.config.engine.weights_sha256())}


def make_tasks(prepared: Prepared) -> list[BatchTask]:
    """The batches with anything to do, in storage order."""
    plan, layout = prepared.plan, prepared.store.layout
    sources = _sources(plan.config.reuse, prepared)
    tasks = []
    for number, (start, stop) in enumerate(layout.batches):
        rows = slice(int(start), int(stop))
        pending = prepared.pending[rows]
        if not pending.any():
            continue
        reuse = _reuse(sources, rows, pending)
        copied = np.zeros(len(pending), dtype=bool)
        for part in reuse:
            copied[part.target] = True
        tasks.append(batch_task(prepared.store, plan, layout, number, compute=pending & ~copied, reuse=reuse))
    return tasks


def batch_task(
    store: Store, plan: Plan, layout: Layout, number: int, compute: np.ndarray, reuse: tuple[Reuse, ...] = ()
) -> BatchTask:
    start, stop = map(int, layout.batches[number])
    return BatchTask(
        url=absolute(store.url),
        config=plan.config,
        layout=layout,
        number=number,
        start=start,
        stop=stop,
        parameters={name: values[start:stop] for name, values in plan.parameters.items()},
        rollout=plan.rollout[start:stop],
        compute=compute,
        reuse=reuse,
    )


@dataclass(frozen=True)
class _Source:
    """A store to copy from: ``row[i]`` is where point i of the plan is in it, -1 where it is not."""

    url: str
    row: np.ndarray


def _sources(urls: Sequence[str], prepared: Prepared) -> list[_Source]:
    """Where the plan's points are in other stores; raises InputError if one of them is not a store."""
    found = []
    for url in urls:
        source = Store.open(url)
        if not _has_all_of(source, prepared.store):
            continue
        keys = source.keys
        order = np.argsort(keys, kind="stable")
        place = np.minimum(np.searchsorted(keys, prepared.plan.keys, sorter=order), len(keys) - 1)
        row = order[place]
        same = (keys[row] == prepared.plan.keys) & usable(source.read("status"))[row].all(axis=1)
        found.append(_Source(url, np.where(same, row, -1)))
    return found


def _has_all_of(source: Store, store: Store) -> bool:
    """Whether a store has the same variables as another, and fields at the same times."""
    for name in store.layout.results():
        if name not in source or source.array(name).shape[1:] != store.array(name).shape[1:]:
            return False
    if "time_field" not in store:
        return True
    return "time_field" in source and np.array_equal(source.read("time_field"), store.read("time_field"))


def _reuse(sources: list[_Source], rows: slice, pending: np.ndarray) -> tuple[Reuse, ...]:
    left, found = pending.copy(), []
    for source in sources:
        row = source.row[rows]
        target = np.flatnonzero(left & (row >= 0))
        if target.size:
            found.append(Reuse(absolute(source.url), row[target], target))
            left[target] = False
    return tuple(found)
