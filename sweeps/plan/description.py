"""A plan in words and as JSON, for the command line."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pydantic import ByteSize

from sweeps.config.sweep import SamplerDesign, TableDesign
from sweeps.plan.check_budget import CheckBudget
from sweeps.plan.designs import grid_axes
from sweeps.plan.plan import Plan
from sweeps.plan.remaining_work import choose_cluster_of, work_of


def plan_summary(plan: Plan) -> dict[str, Any]:
    """What `phasetwin plan --json` prints."""
    config, estimate = plan.config, plan.estimate
    where = choose_cluster_of(config.cluster, work_of(plan))
    return {
        "name": config.name,
        "process": config.process,
        "output": config.output.path,
        "hash": plan.hash,
        "engine": config.engine.model_dump(mode="json"),
        "engine_choice": plan.choice.as_dict() if plan.choice else None,
        "points": estimate.points,
        "realizations": config.realizations.count,
        "rollouts": estimate.rollouts,
        "trajectories": estimate.trajectories,
        "batches": estimate.batches,
        "batch_points": int(plan.batches[0, 1] - plan.batches[0, 0]),
        "times": int(config.time_values().size),
        "bytes": estimate.bytes,
        "core_seconds": estimate.seconds,
        "cluster": config.cluster.model_dump(mode="json"),
        "cluster_choice": where.as_dict() if where else None,
        "check_core_seconds": estimate.check_seconds,
        "checks": asdict(estimate.checks),
        "parameters": {n: [float(v.min()), float(v.max())] for n, v in plan.parameters.items()},
    }


def describe_plan(plan: Plan) -> str:
    """A few lines for a person: what, how much work, where it goes, about how long."""
    config, estimate = plan.config, plan.estimate
    times = config.time_values()
    cells = " x ".join(str(n) for n in config.grid.shape)
    batch = int(plan.batches[0, 1] - plan.batches[0, 0])
    engine = ", ".join(f"{k} {v}" for k, v in config.engine.model_dump().items() if k != "kind")
    where = choose_cluster_of(config.cluster, work_of(plan))
    size = ByteSize(estimate.bytes).human_readable(separator=" ")
    rows = {
        "problem": f"{config.process}, {cells} cells of {config.grid.spacing:g}, {config.grid.boundary}",
        "design": f"{_design(plan)}: {many(estimate.points, 'point')}",
        "times": f"{times.size}, from {times[0]:g} to {times[-1]:g}",
        "work": _work(plan),
        "batches": f"{estimate.batches}, of {many(batch, 'point')}",
        "engine": f"{config.engine.kind} ({engine})",
        "store": f"{config.output.path}, {_retained(plan)}, {size} before compression",
        "cluster": f"{config.cluster.kind}{f', {where.reason}' if where else ''}",
        "checks": _checks(estimate.checks),
        "estimate": f"{duration(estimate.seconds)} of one core, and {duration(estimate.check_seconds)} for the checks "
        "(a guess, good to a factor of three)",
    }
    if plan.choice:
        rows["auto"] = plan.choice.reason
    lines = [f"{name:<9} {text}" for name, text in rows.items()]
    return "\n".join([config.name, *(f"  {line}" for line in lines)])


def _checks(checks: CheckBudget) -> str:
    if not checks.points:
        return "none"
    trajectories = many(checks.rollouts * checks.realizations, "trajectory", "trajectories")
    return f"{many(checks.points, 'point')} on {trajectories}, solved again to about {checks.tolerance:.2g}"


def _work(plan: Plan) -> str:
    estimate, realizations = plan.estimate, plan.config.realizations.count
    text = f"{many(estimate.rollouts, 'trajectory', 'trajectories')} x {many(realizations, 'realization')}"
    if estimate.rollouts < estimate.points:
        text += f" = {estimate.trajectories} to compute; mobility only rescales time, so each serves "
        text += f"{estimate.points / estimate.rollouts:g} points"
    return text


def _design(plan: Plan) -> str:
    design = plan.config.design
    if isinstance(design, SamplerDesign):
        return f"{design.sampler}, seed {design.seed}"
    if isinstance(design, TableDesign):
        return f"table {design.table}"
    axes = " x ".join(f"{name} {values.size}" for name, values in grid_axes(plan.config).items())
    return f"grid, {axes}" if axes else "grid"


def _retained(plan: Plan) -> str:
    retain = plan.config.output.retain
    if isinstance(retain, str):
        return "fields and statistics" if retain == "fields" else "statistics only"
    return f"fields at {len(retain.fields_at)} times, statistics at all"


def many(count: int, one: str, more: str | None = None) -> str:
    """A count with its noun, ``1 point`` or ``2 points``."""
    return f"{count} {one if count == 1 else more or one + 's'}"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, two digits."""
    if seconds < 120:
        return f"{max(seconds, 0.1):.2g} s"
    return f"{seconds / 60:.2g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def bracketed(units: str) -> str:
    """Units after the name of what has them, such as " (length²)"; empty when dimensionless."""
    for power, raised in (("^2", "²"), ("^3", "³"), ("^4", "⁴")):
        units = units.replace(power, raised)
    return "" if units in ("", "1") else f" ({units})"
