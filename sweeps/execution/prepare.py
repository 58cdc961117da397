"""A plan meets what is on disk: a new store, or one to go on with, or one to leave alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import zarr

from solvers.errors import InputError
from sweeps.execution.task import BatchTask, Reuse
from sweeps.plan.plan import Plan
from sweeps.plan.point_keys import EXECUTION_ONLY
from sweeps.store.integrity import ROOT, Damage, find_damage
from sweeps.store.layout import DONE, VERIFIED, Layout, layout_of
from sweeps.store.locations import absolute
from sweeps.store.provenance import provenance
from sweeps.store.repair import mend_book, repair, restore_root
from sweeps.store.status_table import Ledger
from sweeps.store.store import (
    UNFINISHED,
    cannot_write,
    check_format,
    create_store,
    finished,
    layout_difference,
    layout_in,
    object_name,
    object_names,
    open_root,
    open_store,
    read,
    remove_partial_objects,
    stored_config,
    stored_keys,
    update_attributes,
    write_coordinates,
)


@dataclass(frozen=True)
class Prepared:
    """A store ready to be filled.

    Attributes:
        url: where it is.
        root: its group, writable.
        plan: what will be in it.
        layout: its sizes.
        ledger: the driver's book.
        pending: bool (point,), points not finished.
        damaged: what was found damaged and has been mended or will be computed, a line each.
    """

    url: str
    root: zarr.Group
    plan: Plan
    layout: Layout
    ledger: Ledger
    pending: np.ndarray
    damaged: tuple[str, ...] = ()


def prepare(url: str, plan: Plan, check: bool = True) -> Prepared:
    """Create the store, or open it and find out what is left to compute. The caller holds the lock.

    Args:
        url: of the store.
        plan: of the sweep.
        check: read all that is there and compare checksums; what is damaged is then computed again.

    Raises:
        InputError: for a store of another sweep or layout, or something else at that place; nothing is
            changed.
    """
    layout = layout_of(plan)
    bad: list[Damage] = []
    try:
        if check and restore_root(url, plan, _attributes(plan, _now() + " metadata of the root restored")):
            bad.append(Damage("", ROOT, (0, 0), "metadata were damaged"))
        root = open_root(url)
        if root is None or root.attrs.get("format") == UNFINISHED:
            root = create_store(url, plan, layout, _attributes(plan, _now() + " created"))
            ledger = Ledger(root)
        else:
            bad += find_damage(url) if check else []
            root, layout, ledger = _reopen(url, plan, layout, bad)
    except OSError as error:
        raise cannot_write(url, error) from None
    pending = np.asarray(~finished(ledger.status).all(axis=1))
    return Prepared(url, root, plan, layout, ledger, pending, tuple(f"{d.object}: {d.error}" for d in bad))


def _reopen(url: str, plan: Plan, layout: Layout, bad: list[Damage]) -> tuple[zarr.Group, Layout, Ledger]:
    root = open_store(url)
    check_format(root, url)
    _check_same_sweep(url, root, plan, layout)
    if not {d.variable for d in bad} & {"key", "status"}:
        _check_same_points(url, root, plan)
    remove_partial_objects(url)
    layout = layout_in(root, layout)
    if bad:
        repair(url, plan, layout, bad)
    root = open_store(url, mode="r+")
    ledger = Ledger(root)
    if bad:
        mend_book(root, plan, ledger, bad)
    changed = stored_keys(root) != plan.keys
    done = np.asarray(finished(ledger.status).any(axis=1))
    # First the status, then the rest: whatever happens in between, nothing old passes for new.
    ledger.reset(np.flatnonzero(changed | _lost(root, layout, done)))
    if changed.any():
        write_coordinates(root, plan, layout)
    update_attributes(root, _attributes(plan, f"{root.attrs.get('history', '')}\n{_now()} run again"))
    return root, layout, ledger


def _check_same_points(url: str, root: zarr.Group, plan: Plan) -> None:
    changed = stored_keys(root) != plan.keys
    done = np.asarray(finished(read(root, "status")).any(axis=1))
    if done.any() and changed.all():
        raise InputError(
            f"{url}: none of its {int(done.sum())} finished points is one of this file's "
            f"({_first_difference(root, plan)}); choose another output.path, or delete the store"
        )


def _check_same_sweep(url: str, root: zarr.Group, plan: Plan, layout: Layout) -> None:
    stored, config = stored_config(root), plan.config
    for key, here in (("name", config.name), ("process", config.process)):
        if stored.get(key) != here:
            raise InputError(
                f"{url}: holds another sweep ({key} {stored.get(key)!r} there, {here!r} in the file); "
                "choose another output.path, or delete the store"
            )
    difference = layout_difference(root, layout)
    if difference:
        raise InputError(
            f"{url}: holds a sweep of another layout ({difference}; {_first_difference(root, plan)}); "
            "choose another output.path, or delete the store (`reuse: [it]` takes over the points they share)"
        )


def _first_difference(root: zarr.Group, plan: Plan) -> str:
    there, here = stored_config(root), plan.config.model_dump(mode="json")
    ignored = {*EXECUTION_ONLY, "batch"}
    for path, old, new in differences(there, here):
        if path[0] not in ignored and path[:2] != ("output", "path"):
            return f"{'.'.join(map(str, path))}: {_short(old)} there, {_short(new)} in the file"
    return "the same settings, other input files or another version of the program"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def differences(old: Any, new: Any, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], Any, Any]]:
    """Where two JSON-like values differ: (path, old, new); missing keys count as None."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*new, *(k for k in old if k not in new)]
        return [d for k in keys for d in differences(old.get(k), new.get(k), (*path, k))]
    return [] if old == new else [(path, old, new)]


def _lost(root: zarr.Group, layout: Layout, done: np.ndarray) -> np.ndarray:
    """bool (point,): points said to be done of which an object is not on disk (deleted because damaged)."""
    lost = np.zeros(len(done), dtype=bool)
    for name in layout.results():
        there = object_names(root[name])
        for number, (start, stop) in enumerate(layout.batches):
            if object_name(root[name], number) not in there:
                lost[start:stop] = True
    return lost & done


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _attributes(plan: Plan, history: str) -> dict[str, Any]:
    return {
        "config": plan.config.model_dump_json(),
        "config_hash": plan.hash,
        "design_axes": _design_axes(plan),
        "history": history,
        **({"engine_choice": json.dumps(plan.choice.as_dict())} if plan.choice else {}),
        **provenance(plan.config),
    }


def _design_axes(plan: Plan) -> dict[str, int]:
    """Names and lengths of a grid design's axes in the order of the design; empty for other designs."""
    from sweeps.plan.designs import grid_axes

    return {name: len(values) for name, values in grid_axes(plan.config).items()}


def make_tasks(prepared: Prepared) -> list[BatchTask]:
    """The batches with anything to do, in storage order."""
    plan, layout = prepared.plan, prepared.layout
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
        tasks.append(
            BatchTask(
                url=absolute(prepared.url),
                config=plan.config,
                layout=layout,
                number=number,
                start=rows.start,
                stop=rows.stop,
                parameters={n: v[rows] for n, v in plan.parameters.items()},
                rollout=plan.rollout[rows],
                compute=pending & ~copied,
                reuse=reuse,
            )
        )
    return tasks


@dataclass(frozen=True)
class _Source:
    """A store to copy from: ``row[i]`` is where point i of the plan is in it, -1 where it is not."""

    url: str
    row: np.ndarray


def _sources(urls: Sequence[str], prepared: Prepared) -> list[_Source]:
    """Where the plan's points are in other stores.

    Raises:
        InputError: if one of them is not a store.
    """
    found = []
    for url in urls:
        root = open_store(url)
        if not _offers(root, prepared):
            continue
        status = read(root, "status")
        good = np.asarray(np.isin(status, (DONE, VERIFIED)).all(axis=1))
        keys = stored_keys(root)
        order = np.argsort(keys, kind="stable")
        place = np.minimum(np.searchsorted(keys, prepared.plan.keys, sorter=order), len(keys) - 1)
        row = order[place]
        same = (keys[row] == prepared.plan.keys) & good[row]
        found.append(_Source(url, np.where(same, row, -1)))
    return found


def _offers(root: zarr.Group, prepared: Prepared) -> bool:
    """Whether a store keeps all that this one will: the same variables, fields at the same times."""
    for name in prepared.layout.results():
        if name not in root or root[name].shape[1:] != prepared.root[name].shape[1:]:  # type: ignore[union-attr]
            return False
    kept = [name for name in ("time_field",) if name in prepared.root]
    return all(name in root and np.array_equal(read(root, name), read(prepared.root, name)) for name in kept)


def _reuse(sources: list[_Source], rows: slice, pending: np.ndarray) -> tuple[Reuse, ...]:
    left, found = pending.copy(), []
    for source in sources:
        row = source.row[rows]
        target = np.flatnonzero(left & (row >= 0))
        if target.size:
            found.append(Reuse(absolute(source.url), row[target], target))
            left[target] = False
    return tuple(found)
