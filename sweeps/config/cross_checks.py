"""What only the whole sweep file can tell: whether its blocks fit each other."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeps.config.parameters import PROCESS_PARAMETERS, Range, extremes
from sweeps.inputs.strict_model import problem

if TYPE_CHECKING:
    from sweeps.config.sweep import SweepConfig

MAX_POINTS = 10_000_000
#: What rounding leaves room for; the solver's own limits (:data:`solvers.accuracy.LOWEST_TOLERANCE`), which cannot be
#: imported without torch.
LOWEST_TOLERANCE = {"float64": 1e-9, "float32": 1e-4}
STARTS = {
    "cahn_hilliard": ("noise", "file", "pfhub_1a"),
    "grain_growth": ("voronoi", "file"),
}


def check_sweep(config: SweepConfig) -> None:
    """Raise the first misfit between the blocks of a sweep.

    Raises:
        PydanticCustomError: see :func:`sweeps.inputs.strict_model.problem`.
    """
    _check_start(config)
    _check_well(config)
    _check_parameters(config)
    _check_design(config)
    _check_retain(config)
    _check_tolerance(config)


def _check_start(config: SweepConfig) -> None:
    kind = config.initial.kind
    allowed = STARTS[config.process]
    if kind not in allowed:
        raise problem(repr(kind), f"{', '.join(allowed)} for process {config.process}", ("initial", "kind"), allowed)
    if config.initial.kind == "voronoi" and config.initial.grains > config.grid.build().cells:
        cells = config.grid.build().cells
        raise problem(f"{config.initial.grains}", f"at most one grain a cell, {cells}", ("initial", "grains"))
    if kind == "pfhub_1a" and config.realizations.count != 1:
        raise problem(f"{config.realizations.count}", "1: the start is a formula", ("realizations", "count"))


def _check_well(config: SweepConfig) -> None:
    if config.well is not None and config.process != "cahn_hilliard":
        raise problem("a well", "none: it belongs to process cahn_hilliard", ("well",))


def _check_parameters(config: SweepConfig) -> None:
    names = config.parameter_names
    for name, spec in config.parameters.items():
        if name not in names:
            why = f"process {config.process}"
            if name in PROCESS_PARAMETERS[config.process]:
                why = f"a start of kind {config.initial.kind}, which brings its own {name}"
            raise problem(f"{name!r}", f"{', '.join(names)} for {why}", ("parameters", name))
        for value, keys in extremes(spec):
            allowed = bounds_violation(config, name, value)
            if allowed:
                raise problem(f"{value:g}", allowed, ("parameters", name, *keys))


def bounds_violation(config: SweepConfig, name: str, value: float) -> str | None:
    """What is allowed for a parameter, if the value is not; else None."""
    if not np.isfinite(value):
        return "a finite number"
    if name in ("mobility", "kappa") and value <= 0:
        return "a number > 0"
    if name == "mobility_contrast" and not 0 <= value <= 1:
        return "a number in [0, 1]"
    # At gamma <= 1/2 a mixture of two order parameters is as low as a single one: no grains form.
    if name == "gamma" and value <= 0.5:
        return "a number > 0.5"
    if name == "composition":
        low, high = (config.well.ca, config.well.cb) if config.well else (-1.0, 1.0)
        if not low <= value <= high:
            return f"a number within the well, [{low:g}, {high:g}]"
    return None


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
    if retain != "qoi" and config.engine.kind == "emulator":
        raise problem(repr(retain), "qoi: an emulator knows statistics, no fields", ("output", "retain"))
    if isinstance(retain, str):
        return
    wanted, stored = retain.fields_at, config.field_times()
    for i, (time, nearest) in enumerate(zip(wanted, stored, strict=True)):
        if abs(time - nearest) > 1e-9 * max(abs(time), abs(nearest)):
            allowed = f"a time among `times` (the nearest is {nearest:g})"
            raise problem(f"{time:g}", allowed, ("output", "retain", "fields_at", i))


def _check_tolerance(config: SweepConfig) -> None:
    engine = config.engine
    if engine.kind != "solver":
        return
    lowest = LOWEST_TOLERANCE[engine.dtype]
    if engine.tolerance < lowest:
        hint = ", or dtype float64" if engine.dtype == "float32" else ""
        raise problem(f"{engine.tolerance:g}", f"a number >= {lowest:g}{hint}", ("engine", "tolerance"))
