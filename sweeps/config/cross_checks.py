"""What only the whole sweep file can tell: whether its blocks fit each other."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.processes.registry import PROCESSES, process_named
from sweeps.config.parameters import Range, extremes
from sweeps.engines.registry import engine_kind
from sweeps.inputs.strict_model import problem

if TYPE_CHECKING:
    from sweeps.config.sweep import SweepConfig

MAX_POINTS = 10_000_000


def check_sweep(config: SweepConfig) -> None:
    """Raises the first misfit between the blocks of a sweep, see :func:`sweeps.inputs.strict_model.problem`."""
    _check_start(config)
    _check_well(config)
    _check_parameters(config)
    _check_design(config)
    _check_retain(config)


def _check_start(config: SweepConfig) -> None:
    kind = config.initial.kind
    allowed = process_named(config.process).starts
    if kind not in allowed:
        raise problem(repr(kind), f"{', '.join(allowed)} for process {config.process}", ("initial", "kind"), allowed)
    if config.initial.kind == "voronoi" and config.initial.grains > config.grid.build().cells:
        cells = config.grid.build().cells
        raise problem(f"{config.initial.grains}", f"at most one grain a cell, {cells}", ("initial", "grains"))
    if kind == "pfhub_1a" and config.realizations.count != 1:
        raise problem(f"{config.realizations.count}", "1: the start is a formula", ("realizations", "count"))


def _check_well(config: SweepConfig) -> None:
    if config.well is not None and "well" not in process_named(config.process).options:
        owners = ", ".join(process.name for process in PROCESSES.values() if "well" in process.options)
        raise problem("a well", f"none: it belongs to process {owners}", ("well",))


def _check_parameters(config: SweepConfig) -> None:
    names = config.parameter_names
    for name, spec in config.parameters.items():
        if name not in names:
            why = f"process {config.process}"
            if name in process_named(config.process).parameter_names:
                why = f"a start of kind {config.initial.kind}, which brings its own {name}"
            raise problem(f"{name!r}", f"{', '.join(names)} for {why}", ("parameters", name))
        for value, keys in extremes(spec):
            allowed = bounds_violation(config, name, value)
            if allowed:
                raise problem(f"{value:g}", allowed, ("parameters", name, *keys))


def bounds_violation(config: SweepConfig, name: str, value: float) -> str | None:
    """What is allowed for a parameter, if the value is not; else None."""
    info = process_named(config.process).bounds(name, config.options)
    allowed = info.violation(value)
    if allowed and info.between_phases and np.isfinite(value):
        return f"a number within the well, [{info.low:g}, {info.high:g}]"
    return allowed


def _check_design(config: SweepConfig) -> None:
    for name, spec in config.parameters.items():
        allowed = _form_violation(config, spec)
        if allowed:
            raise problem(_written(spec), allowed, ("parameters", name))
    varied = [spec for spec in config.parameters.values() if not isinstance(spec, float | int)]
    if getattr(config.design, "sampler", None) is not None and not varied:
        raise problem("no parameter to sample", "at least one range, such as `kappa: {low: 0.5, high: 2}`", ("design",))
    if config.design == "grid":
        count = math.prod(_length(spec) for spec in varied)
        if count > MAX_POINTS:
            raise problem(f"a grid of {count} points", f"at most {MAX_POINTS}", ("parameters",))


def _length(spec: Any) -> int:
    return len(spec if isinstance(spec, tuple) else spec.values())


def _form_violation(config: SweepConfig, spec: Any) -> str | None:
    if config.design == "grid":
        if isinstance(spec, Range):
            return "a number, a list, linspace or logspace for design grid ({low:, high:} needs a sampler)"
        return None
    if getattr(config.design, "table", None) is not None:
        return None if isinstance(spec, float | int) else "a number for a table design (vary it in the table)"
    return None if not isinstance(spec, tuple) else "a number or a range for a sampler design"


def _written(spec: Any) -> str:
    if isinstance(spec, tuple):
        return f"a list of {len(spec)}"
    return str(spec.model_dump()) if hasattr(spec, "model_dump") else f"{spec:g}"


def _check_retain(config: SweepConfig) -> None:
    retain = config.output.retain
    if retain != "qoi" and not engine_kind(config).makes_fields:
        kind = config.engine.kind
        allowed = f"qoi: {'an' if kind[0] in 'aeiou' else 'a'} {kind} knows statistics, no fields"
        raise problem(repr(retain), allowed, ("output", "retain"))
    if isinstance(retain, str):
        return
    wanted, stored = retain.fields_at, config.field_times()
    for i, (time, nearest) in enumerate(zip(wanted, stored, strict=True)):
        if abs(time - nearest) > 1e-9 * max(abs(time), abs(nearest)):
            allowed = f"a time among `times` (the nearest is {nearest:g})"
            raise problem(f"{time:g}", allowed, ("output", "retain", "fields_at", i))
