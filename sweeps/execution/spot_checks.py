"""Spot checks: solve some points again, more accurately, and store how far off they were.

The group ``reference`` holds the second solution under the store's own names, ``verification`` the errors.
Points are picked by policy, in turn: ``random`` by seed; ``worst`` where a resolution error shows most, at
the largest final interface density (the finest microstructure); ``best`` at the smallest. As many distinct trajectories
are solved as :mod:`sweeps.plan.check_budget` allows; further points share them, and so that a check costs little, not
every realization of a point need be solved. All of it follows from the file and the store alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from solvers.processes.registry import process_named
from sweeps.config.sweep import BatchConfig, Realizations
from sweeps.engines.reference import band_tolerance, stated_tolerance
from sweeps.execution.acceptance import (
    SpotCheckResult,
    by_bands,
    by_tolerance,
    judged_by_bands,
    relative_error,
    relative_width,
    share_inside,
)
from sweeps.execution.batch_task import BatchOutcome, BatchTask
from sweeps.execution.prepare import Prepared, batch_task
from sweeps.plan.batches import batch_points
from sweeps.plan.check_budget import CheckBudget
from sweeps.plan.cost_estimate import checks_of, point_bytes
from sweeps.plan.plan import Plan
from sweeps.store.group import PointGroup
from sweeps.store.layout import DONE, PENDING, VERIFIED, Layout, Variable
from sweeps.store.status_table import point_name
from sweeps.store.store import REFERENCE, VERIFICATION

#: Points read at once: of one quantity, and of the fields of checked ones.
READ_POINTS, READ_CHECKS = 4096, 32
#: Relative error of statistics of float32 fields.
ROUNDING = 1e-5

RunTasks = Callable[[Sequence[BatchTask], Callable[[BatchOutcome], None]], None]


@dataclass(frozen=True)
class Checks:
    """The spot checks of a run: a line for each point that missed, and for each check without a solution."""

    missed: tuple[str, ...] = ()
    unsolved: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Chosen:
    """What is checked.

    Attributes:
        rows: storage positions of the points, int64 (point,), increasing.
        samples: bool (point, realization), those of the points that are solved again.
        tolerance: of the reference solver.
        plan, layout: of these points alone.
    """

    rows: np.ndarray
    samples: np.ndarray
    tolerance: float
    plan: Plan
    layout: Layout


def verify_points(prepared: Prepared, run_tasks: RunTasks, count: int | None = None) -> Checks:
    """Check ``count`` points, or ``verify.count``; what an interrupted check already solved is not solved again.

    Args:
        prepared: the store, locked by the caller.
        run_tasks: computes batches and reports each.

    Raises:
        InputError: if the store cannot be written.
    """
    chosen = _choose(prepared, count)
    if chosen is None:
        return Checks()
    reference = _reference_group(prepared, chosen)
    table = reference.table
    tasks = _tasks(prepared, chosen, table.status == DONE)
    if not tasks and _passed_before(prepared, chosen.rows):
        return Checks()

    def record(outcome: BatchOutcome) -> None:
        wanted = chosen.samples[outcome.start : outcome.stop]
        errors = {sample: text for sample, text in outcome.errors.items() if wanted[sample]}
        table.record(replace(outcome, status=np.where(wanted, outcome.status, PENDING), errors=errors))

    try:
        run_tasks(tasks, record)
    finally:
        table.flush()
    missed = _judge(prepared, chosen, reference, chosen.samples & (table.status == DONE))
    return Checks(tuple(missed), table.failures(chosen.plan))


def _passed_before(prepared: Prepared, rows: np.ndarray) -> bool:
    """Whether the store says of these points, none of them computed since, that nothing was wrong."""
    group = prepared.store.subgroup(VERIFICATION)
    if group is None or "passed" not in group or not np.array_equal(group.keys, prepared.plan.keys[rows]):
        return False
    flags = [group.read(name) for name in ("passed", "within_tolerance", "inside_band") if name in group]
    wrong = group.attributes.get("missed") or any((values == 0).any() for values in flags)
    return bool(not wrong and (prepared.store.table.status[rows] == VERIFIED).all())


def _tasks(prepared: Prepared, chosen: _Chosen, done: np.ndarray) -> list[BatchTask]:
    """The batches in which something is not solved yet, each to be computed whole."""
    found = []
    for number, (start, stop) in enumerate(chosen.layout.batches):
        rows = slice(int(start), int(stop))
        if (chosen.samples & ~done)[rows].any():
            compute = np.ones(stop - start, dtype=bool)
            task = batch_task(prepared.store, chosen.plan, chosen.layout, number, compute)
            samples = chosen.samples[rows]
            found.append(replace(task, group=REFERENCE, reference=chosen.tolerance, samples=samples))
    return found


def _choose(prepared: Prepared, count: int | None) -> _Chosen | None:
    """The points, which of their realizations, and how accurately; None where there is nothing to check."""
    plan, store = prepared.plan, prepared.store
    budget = checks_of(plan.config, plan.parameters, plan.rollout, plan.estimate.seconds, count)
    rows = choose_points(prepared, budget)
    if not rows.size:
        return None
    samples = _samples(plan, rows, budget.realizations)
    tolerance = band_tolerance(_band_width(prepared, rows)) if store.layout.learned else budget.tolerance
    return _Chosen(rows, samples, tolerance, *_part(plan, store.layout, rows, budget.realizations))


def _band_width(prepared: Prepared, rows: np.ndarray) -> float:
    """See :func:`relative_width`, of the quantities that bands are judged by at some points."""
    store = prepared.store
    names = judged_by_bands(name for name in store.layout.results() if f"{name}_low" in store)

    return relative_width({name: (store.read(f"{name}_low", rows), store.read(f"{name}_high", rows)) for name in names})


def choose_points(prepared: Prepared, budget: CheckBudget) -> np.ndarray:
    """Storage positions of the points to check, int64, increasing; only points without a failed sample.

    Each policy in turn takes its first point of a trajectory that is not solved yet, then, when there are as many
    trajectories as the budget allows, its first point of these.
    """
    verify, rollout = prepared.plan.config.verify, prepared.plan.rollout
    good = np.asarray(prepared.store.table.usable.all(axis=1))
    order = np.random.default_rng(verify.seed).permutation(len(good))
    ranked = np.argsort(_final_density(prepared, good), kind="stable")
    queues = {"random": order, "best": ranked, "worst": ranked[::-1]}
    queues = {name: queues[name][good[queues[name]]] for name in verify.policy}
    wanted = min(budget.points, int(good.sum()))
    chosen: list[int] = []
    solved: set[int] = set()

    def first(queue: np.ndarray) -> int:
        left = queue[~np.isin(queue, chosen)]
        fresh = ~np.isin(rollout[left], list(solved))
        right = left[fresh if len(solved) < budget.rollouts else ~fresh]
        return int(right[0] if len(right) else left[0])

    while len(chosen) < wanted:
        for name in verify.policy[: wanted - len(chosen)]:
            chosen.append(first(queues[name]))
            solved.add(int(rollout[chosen[-1]]))
    return np.array(sorted(chosen), dtype=np.int64)


def _samples(plan: Plan, rows: np.ndarray, realizations: int) -> np.ndarray:
    """Which samples of the points are solved, bool (point, realization): other realizations on each trajectory."""
    count = plan.config.realizations.count
    samples = np.zeros((len(rows), count), dtype=bool)
    number = np.unique(plan.rollout[rows], return_inverse=True)[1]
    for i in range(realizations):
        samples[np.arange(len(rows)), (plan.config.verify.seed + number * realizations + i) % count] = True
    return samples


def _final_density(prepared: Prepared, good: np.ndarray) -> np.ndarray:
    """The quantity that is largest where resolution errors show first, at the last time, mean over realizations."""
    array = prepared.store.array(process_named(prepared.plan.config.process).finest)
    batch = prepared.store.layout.batch
    size = batch * max(1, READ_POINTS // batch)
    parts = [np.asarray(array[i : i + size, :, -1]).mean(axis=1) for i in range(0, len(good), size)]
    return np.nan_to_num(np.concatenate(parts))


def _part(plan: Plan, layout: Layout, rows: np.ndarray, realizations: int) -> tuple[Plan, Layout]:
    """Plan and layout of some points alone, in batches that integrate several trajectories together."""
    rollout = np.unique(plan.rollout[rows], return_inverse=True)[1]
    part = replace(
        plan,
        parameters={name: values[rows] for name, values in plan.parameters.items()},
        design_index=plan.design_index[rows],
        rollout=rollout,
        keys=plan.keys[rows],
    )
    solved = {"realizations": Realizations(count=realizations), "batch": BatchConfig()}
    size = batch_points(
        plan.config.model_copy(update=solved), int(rollout[-1]) + 1, len(rows), point_bytes(plan.config)
    )
    return part, replace(layout, points=len(rows), batch=size, learned=False)


def _reference_group(prepared: Prepared, chosen: _Chosen) -> PointGroup:
    """The group to fill: the one that is there when it is of the same points and accuracy, else a new one."""
    store, plan, layout = prepared.store, chosen.plan, chosen.layout
    there = store.subgroup(REFERENCE)
    if (
        there is not None
        and "key" in there
        and there.attributes.get("tolerance") == chosen.tolerance
        and np.array_equal(there.keys, plan.keys)
    ):
        return there
    group = store.create_subgroup(REFERENCE)
    group.create_variables({**layout.results(), **layout.status_variables()}, layout.sizes)
    group.write_coordinates(plan, layout)
    about = {
        "long_name": "spot checks: the same points by the solver, to a tighter tolerance",
        "coordinates": " ".join([*plan.parameters, "key"]),
        "tolerance": chosen.tolerance,
    }
    group.group.update_attributes(about)
    store.update_attributes({})
    return group


def _judge(prepared: Prepared, chosen: _Chosen, reference: PointGroup, solved: np.ndarray) -> list[str]:
    """Compare, write ``verification``, set the status of points that passed; ``solved`` is (point, realization)."""
    store, rows = prepared.store, chosen.rows
    layout = replace(store.layout, learned=False, estimates=False)
    names = [name for name in layout.results() if name != "grain_id"]
    shape = solved.shape
    # The start is given: the energy of white noise depends on the grid that it is read on.
    computed = layout.times > 0 if (layout.times > 0).any() else np.ones(layout.times.shape, dtype=bool)
    errors = {n: np.full((*shape, len(layout.field_index)) if n == "field" else shape, np.nan) for n in names}
    for start in range(0, len(rows), READ_CHECKS):
        some = slice(start, start + READ_CHECKS)
        for name in names:
            value, true = store.read(name, rows[some])[solved[some]], reference.read(name, some)[solved[some]]
            if name != "field":
                value, true = value[:, computed], true[:, computed]
            errors[name][some][solved[some]] = relative_error(name, value, true)
    if store.layout.learned:
        result = by_bands(_inside(prepared, chosen, reference, names, solved), solved, chosen.plan.rollout)
    else:
        result = by_tolerance(stated_tolerance(prepared.plan.config), chosen.tolerance, errors, solved)
    _write_verification(prepared, chosen, errors, result, solved)
    whole = (solved | ~chosen.samples).all(axis=1)
    passed = whole & result.passed
    store.table.mark(rows[passed], VERIFIED)
    store.table.mark(rows[~passed], DONE)
    failed = np.flatnonzero(whole & ~result.good.all(axis=1)).tolist()
    lines = [f"{point_name(prepared.plan, int(rows[i]))}: {result.why[i]}" for i in failed]
    return lines + ([result.overall] if result.overall else [])


def _inside(
    prepared: Prepared, chosen: _Chosen, reference: PointGroup, names: Sequence[str], solved: np.ndarray
) -> dict[str, np.ndarray]:
    """QoI -> share of the reference's values inside the bands, (point, realization); NaN where not solved."""
    store = prepared.store
    found = {name: np.full(solved.shape, np.nan) for name in names if name != "field"}
    for name, shares in found.items():
        low, high = (store.read(f"{name}_{end}", chosen.rows)[solved] for end in ("low", "high"))
        shares[solved] = share_inside(low, high, reference.read(name)[solved], ROUNDING)
    return found


def _write_verification(
    prepared: Prepared,
    chosen: _Chosen,
    errors: dict[str, np.ndarray],
    result: SpotCheckResult,
    solved: np.ndarray,
) -> None:
    store = prepared.store
    group = store.create_subgroup(VERIFICATION)
    dims = ("point", "realization")

    def write(name: str, over: tuple[str, ...], values: np.ndarray, about: Mapping[str, object]) -> None:
        fill = -1 if values.dtype == np.int8 else np.nan
        attributes = {"units": "1", **about}
        group.create_variable(name, Variable(over, values.dtype.name, fill, values.shape, None, attributes), values)

    for name, values in errors.items():
        over = (*dims, chosen.layout.time_field_dim) if name == "field" else dims
        write(name, over, values, {"long_name": f"relative error of {name} against the reference"})
    for name, values in result.inside.items():
        write(f"{name}_inside", dims, values, {"long_name": f"share of the reference's {name} inside the bands"})
    flags = {"flag_values": [-1, 0, 1], "flag_meanings": "not_solved missed within"}
    whole = (solved | ~chosen.samples).all(axis=1)
    passed = np.where(whole, result.passed, -1).astype(np.int8)
    about_passed = {"long_name": "whether the point passed, and all checks together", **flags}
    write("passed", ("point",), passed, about_passed)
    good = np.where(solved, result.good, -1).astype(np.int8)
    write(result.name, dims, good, {"long_name": result.meaning, **flags})
    plan = chosen.plan
    group.write_coordinates(plan, chosen.layout)
    tolerance = getattr(plan.config.engine, "tolerance", None)
    about_group: dict[str, object] = {"long_name": "errors found by the spot checks", "tolerance": tolerance}
    about_group |= {"samples": int(solved.sum()), "missed": result.overall}
    if result.inside and solved.any():
        about_group["inside"] = {name: float(np.mean(shares[solved])) for name, shares in result.inside.items()}
    group.group.update_attributes({**about_group, "coordinates": " ".join([*plan.parameters, "key"])})
    store.update_attributes({})
