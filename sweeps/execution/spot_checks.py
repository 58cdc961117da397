"""Spot checks: solve some points again, far more accurately, and store how far off they were.

The group ``reference`` holds the second solution under the store's own names, ``verification`` the errors.
Points are picked by policy, in turn: ``random`` by seed; ``worst`` where a resolution error shows most, at
the largest final interface density (the finest microstructure); ``best`` at the smallest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from solvers.processes.registry import process_named
from sweeps.engines.reference import reference_tolerance, stated_tolerance
from sweeps.execution.acceptance import SpotCheckResult, by_bands, by_tolerance, relative_error, share_inside
from sweeps.execution.batch_task import BatchOutcome, BatchTask
from sweeps.execution.prepare import Prepared, batch_task
from sweeps.plan.plan import Plan
from sweeps.store.group import PointGroup
from sweeps.store.layout import DONE, VERIFIED, Layout, Variable
from sweeps.store.status_table import point_name
from sweeps.store.store import REFERENCE, VERIFICATION

READ_POINTS = 4096

RunTasks = Callable[[Sequence[BatchTask], Callable[[BatchOutcome], None]], None]


@dataclass(frozen=True)
class Checks:
    """The spot checks of a run: a line for each point that missed, and for each check without a solution."""

    missed: tuple[str, ...] = ()
    unsolved: tuple[str, ...] = ()


def verify_points(prepared: Prepared, run_tasks: RunTasks, count: int | None = None) -> Checks:
    """Check ``count`` points, or ``verify.count``; what an interrupted check already solved is not solved again.

    Args:
        prepared: the store, locked by the caller.
        run_tasks: computes batches and reports each.

    Raises:
        InputError: if the store cannot be written.
    """
    verify = prepared.plan.config.verify
    rows = choose_points(prepared, verify.count if count is None else count, verify.policy, verify.seed)
    if not rows.size:
        return Checks()
    plan, layout = _part(prepared.plan, prepared.store.layout, rows)
    reference = _reference_group(prepared, plan, layout)
    table = reference.table
    unsolved = np.flatnonzero((table.status != DONE).any(axis=1)).tolist()
    if not unsolved and _passed_before(prepared, rows):
        return Checks()
    compute = np.ones(1, dtype=bool)
    tasks = [
        replace(batch_task(prepared.store, plan, layout, i, compute), group=REFERENCE, reference=True) for i in unsolved
    ]
    try:
        run_tasks(tasks, table.record)
    finally:
        table.flush()
    missed = _judge(prepared, rows, reference, (table.status == DONE).all(axis=1))
    return Checks(tuple(missed), table.failures(plan))


def _passed_before(prepared: Prepared, rows: np.ndarray) -> bool:
    """Whether the store says that these points passed, and nothing of them has been computed since."""
    group = prepared.store.subgroup(VERIFICATION)
    if group is None or "passed" not in group or not np.array_equal(group.keys, prepared.plan.keys[rows]):
        return False
    return bool((group.read("passed") == 1).all() and (prepared.store.table.status[rows] == VERIFIED).all())


def choose_points(prepared: Prepared, count: int, policy: Sequence[str], seed: int) -> np.ndarray:
    """Storage positions of the points to check, int64, increasing; only points without a failed sample."""
    good = np.asarray(prepared.store.table.usable.all(axis=1))
    order = np.random.default_rng(seed).permutation(len(good))
    density = _final_density(prepared, good)
    ranked = np.argsort(density, kind="stable")
    queues = {"random": order, "best": ranked, "worst": ranked[::-1]}
    candidates = {name: iter(queues[name][good[queues[name]]]) for name in policy}
    chosen: set[int] = set()
    while len(chosen) < min(count, int(good.sum())):
        for name in policy:
            fresh = next((int(p) for p in candidates[name] if int(p) not in chosen), None)
            if fresh is not None and len(chosen) < count:
                chosen.add(fresh)
    return np.array(sorted(chosen), dtype=np.int64)


def _final_density(prepared: Prepared, good: np.ndarray) -> np.ndarray:
    """The quantity that is largest where resolution errors show first, at the last time, mean over realizations."""
    array = prepared.store.array(process_named(prepared.plan.config.process).finest)
    batch = prepared.store.layout.batch
    size = batch * max(1, READ_POINTS // batch)
    parts = [np.asarray(array[i : i + size, :, -1]).mean(axis=1) for i in range(0, len(good), size)]
    return np.nan_to_num(np.concatenate(parts))


def _part(plan: Plan, layout: Layout, rows: np.ndarray) -> tuple[Plan, Layout]:
    """Plan and layout of some points alone, one to a batch."""
    part = replace(
        plan,
        parameters={name: values[rows] for name, values in plan.parameters.items()},
        design_index=plan.design_index[rows],
        rollout=np.arange(len(rows)),
        keys=plan.keys[rows],
    )
    return part, replace(layout, points=len(rows), batch=1, learned=False)


def _reference_group(prepared: Prepared, plan: Plan, layout: Layout) -> PointGroup:
    """The group to fill: the one that is there when it is of the same points and accuracy, else a new one."""
    store, tolerance = prepared.store, reference_tolerance(plan.config)
    there = store.subgroup(REFERENCE)
    if (
        there is not None
        and "key" in there
        and there.attributes.get("tolerance") == tolerance
        and np.array_equal(there.keys, plan.keys)
    ):
        return there
    group = store.create_subgroup(REFERENCE)
    group.create_variables({**layout.results(), **layout.status_variables()}, layout.sizes)
    group.write_coordinates(plan, layout)
    about = {
        "long_name": "spot checks: the same points by the solver, to a much tighter tolerance",
        "coordinates": " ".join([*plan.parameters, "key"]),
        "tolerance": tolerance,
    }
    group.group.update_attributes(about)
    store.update_attributes({})
    return group


def _judge(prepared: Prepared, rows: np.ndarray, reference: PointGroup, solved: np.ndarray) -> list[str]:
    """Compare, write ``verification``, set the status of points that passed."""
    store = prepared.store
    layout = replace(store.layout, learned=False)
    names = [name for name in layout.results() if name != "grain_id"]
    shape = (len(rows), layout.realizations)
    errors = {n: np.full((*shape, len(layout.field_index)) if n == "field" else shape, np.nan) for n in names}
    for i in np.flatnonzero(solved):
        for name in names:
            errors[name][i] = relative_error(name, store.read(name, int(rows[i])), reference.read(name, int(i)))
    if store.layout.learned:
        result = by_bands(_inside(prepared, rows, reference, names, solved))
    else:
        result = by_tolerance(stated_tolerance(prepared.plan.config), errors)
    _write_verification(prepared, rows, errors, result, solved)
    passed = solved & result.passed
    store.table.mark(rows[passed], VERIFIED)
    store.table.mark(rows[~passed], DONE)
    return [
        f"{point_name(prepared.plan, int(rows[i]))}: {result.why[i]}" for i in np.flatnonzero(solved & ~passed).tolist()
    ]


def _inside(
    prepared: Prepared, rows: np.ndarray, reference: PointGroup, names: Sequence[str], solved: np.ndarray
) -> dict[str, np.ndarray]:
    """QoI -> share of the reference's values inside the bands, (point, realization); NaN where not solved."""
    store = prepared.store
    found = {name: np.full((len(rows), store.layout.realizations), np.nan) for name in names if name != "field"}
    for name, shares in found.items():
        for i in np.flatnonzero(solved):
            low, high = (store.read(f"{name}_{end}", int(rows[i])) for end in ("low", "high"))
            shares[i] = share_inside(low, high, reference.read(name, int(i)))
    return found


def _write_verification(
    prepared: Prepared,
    rows: np.ndarray,
    errors: dict[str, np.ndarray],
    result: SpotCheckResult,
    solved: np.ndarray,
) -> None:
    store, (plan, layout) = prepared.store, _part(prepared.plan, prepared.store.layout, rows)
    group = store.create_subgroup(VERIFICATION)
    dims = ("point", "realization")

    def write(name: str, over: tuple[str, ...], values: np.ndarray, about: Mapping[str, object]) -> None:
        fill = -1 if values.dtype == np.int8 else np.nan
        attributes = {"units": "1", **about}
        group.create_variable(name, Variable(over, values.dtype.name, fill, values.shape, None, attributes), values)

    for name, values in errors.items():
        over = (*dims, layout.time_field_dim) if name == "field" else dims
        write(name, over, values, {"long_name": f"relative error of {name} against the reference"})
    for name, values in result.inside.items():
        write(f"{name}_inside", dims, values, {"long_name": f"share of the reference's {name} inside the bands"})
    flags = {"flag_values": [-1, 0, 1], "flag_meanings": "not_solved missed within"}
    passed = np.where(solved, result.passed, -1).astype(np.int8)
    about_passed = {"long_name": "whether the point passed, all its realizations together", **flags}
    write("passed", ("point",), passed, about_passed)
    good = np.where(solved[:, None], result.good, -1).astype(np.int8)
    write(result.name, dims, good, {"long_name": result.meaning, **flags})
    group.write_coordinates(plan, layout)
    tolerance = getattr(plan.config.engine, "tolerance", None)
    about_group: dict[str, object] = {"long_name": "errors found by the spot checks", "tolerance": tolerance}
    if result.inside and solved.any():
        about_group["inside"] = {name: float(np.mean(shares[solved])) for name, shares in result.inside.items()}
    group.group.update_attributes({**about_group, "coordinates": " ".join([*plan.parameters, "key"])})
    store.update_attributes({})
