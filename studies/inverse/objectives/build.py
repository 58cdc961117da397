"""From the objectives and constraints of a file to terms: features that are read, and aims that judge them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from solvers.errors import InputError
from solvers.qois import QOIS, QUANTILE_LEVELS, qois_of, structure_factor_wavenumbers
from studies.inverse.config import TIME, Constraint, ImageObjective, QoiObjective, Quantity, StudyConfig, When
from studies.inverse.objectives.aims import CurveAim, DirectionAim, LimitAim, TargetAim, Term
from studies.inverse.objectives.features import CurveFeature, FieldFeature, ScalarFeature
from sweeps.config.sweep import SweepConfig
from sweeps.inputs.strict_model import suggestion

DIFFUSIVITY, TWO_POINT = "effective_diffusivity", "two_point_correlation"
OF_FIELDS = (DIFFUSIVITY, TWO_POINT)
CURVES = ("structure_factor", TWO_POINT)


def build_terms(study: StudyConfig, sweep: SweepConfig) -> tuple[list[Term], list[Term]]:
    """Objectives and constraints.

    Raises:
        InputError: ``objectives.0.at: found ..., allowed ...`` for what does not fit the sweep.
    """
    return (
        [_objective(study, sweep, o, f"objectives.{i}") for i, o in enumerate(study.objectives)],
        [_constraint(study, sweep, c, f"constraints.{i}") for i, c in enumerate(study.constraints)],
    )


def _objective(study: StudyConfig, sweep: SweepConfig, objective: Any, key: str) -> Term:
    if isinstance(objective, ImageObjective):
        from studies.inverse.objectives.target_image import image_term

        return image_term(objective, sweep, _at(study, sweep, objective, key), key)
    curve = isinstance(objective.target, str)
    feature, label, units = _feature(study, sweep, objective, key, curve)
    if curve:
        return _curve_term(objective, sweep, feature, label, key)
    if objective.target is not None:
        check_range(sweep, objective, objective.target, f"{key}.target")
        aim: Any = TargetAim(objective.target, objective.tolerance, objective.realizations)
    else:
        aim = DirectionAim(
            1.0 if objective.direction == "minimize" else -1.0, objective.tolerance, objective.realizations
        )
    return Term(label, key, feature, aim, units, _long_name(objective.qoi))


def _constraint(study: StudyConfig, sweep: SweepConfig, constraint: Constraint, key: str) -> Term:
    feature, label, units = _feature(study, sweep, constraint, key, curve=False)
    low, high = quantity_range(sweep, constraint)
    if constraint.window is None or constraint.reduce != "slope":
        if constraint.max is not None and constraint.max < low:
            raise InputError(
                f"{key}.max: found {constraint.max:g}, which nothing can meet, allowed a number >= {low:g}"
            )
        if constraint.min is not None and constraint.min > high:
            raise InputError(
                f"{key}.min: found {constraint.min:g}, which nothing can meet, allowed a number <= {high:g}"
            )
    aim = LimitAim(constraint.min, constraint.max, constraint.realizations)
    return Term(label, key, feature, aim, units, _long_name(constraint.qoi))


def _feature(study: StudyConfig, sweep: SweepConfig, quantity: Quantity, key: str, curve: bool) -> tuple[Any, str, str]:
    """The feature of a quantity, its label and units."""
    known = [*qois_of(sweep.process), *(OF_FIELDS if sweep.process == "cahn_hilliard" else ())]
    name = quantity.qoi
    if name not in known:
        raise InputError(
            f"{key}.qoi: found {name!r}, allowed {', '.join(known)} for process "
            f"{sweep.process}{suggestion(name, known)}"
        )
    if name in CURVES and not curve:
        raise InputError(f"{key}.qoi: found {name!r} without a curve, allowed `target: FILE.csv` with it")
    if curve and name not in CURVES:
        raise InputError(f"{key}.target: found a file, allowed a number for {name}; files for {', '.join(CURVES)}")
    times = _times(study, sweep, quantity, key)
    label = f"{name}{_when(sweep, quantity)}"
    if name == DIFFUSIVITY:
        from studies.inverse.objectives.effective_diffusivity import diffusivity

        grid = sweep.grid.build()
        statistic = diffusivity(quantity.conductor, _middle(sweep))
        return FieldFeature(_at(study, sweep, quantity, key), grid, statistic, (DIFFUSIVITY,)), label, "1"
    if name == TWO_POINT:
        from studies.inverse.objectives.target_image import two_point

        grid = sweep.grid.build()
        at = _at(study, sweep, quantity, key)
        return FieldFeature(at, grid, two_point, tuple(f"C[{i}]" for i in range(_shells(grid)))), label, "1"
    if name == "structure_factor":
        k = structure_factor_wavenumbers(sweep.grid.build()).numpy()
        inside = tuple(np.flatnonzero(k <= math.pi / sweep.grid.spacing).tolist())
        return CurveFeature(name, times[0], inside), label, QOIS[name].units
    component, text = _component(quantity, key)
    return ScalarFeature(name, times, quantity.reduce or "mean", component), label + text, QOIS[name].units


def _shells(grid: Any) -> int:
    sides = [n * (1 if grid.boundary == "periodic" else 2) for n in grid.shape]
    return min(sides) // 2 + 1


def _component(quantity: Quantity, key: str) -> tuple[int | None, str]:
    if quantity.qoi != "grain_area_quantile":
        if quantity.quantile is not None:
            raise InputError(f"{key}.quantile: found {quantity.quantile:g}, allowed with qoi grain_area_quantile only")
        return None, ""
    levels = list(QUANTILE_LEVELS)
    if quantity.quantile not in levels:
        found = "nothing" if quantity.quantile is None else f"{quantity.quantile:g}"
        raise InputError(f"{key}.quantile: found {found}, allowed {', '.join(f'{q:g}' for q in levels)}")
    return levels.index(quantity.quantile), f"[{quantity.quantile:g}]"


def _long_name(qoi: str) -> str:
    return QOIS[qoi].long_name if qoi in QOIS else qoi.replace("_", " ")


def _middle(sweep: SweepConfig) -> float:
    return 0.5 * (sweep.well.ca + sweep.well.cb) if sweep.well else 0.0


def _when(sweep: SweepConfig, when: When) -> str:
    if when.window is not None:
        return f"@{when.reduce or 'mean'}({when.window[0]:g}..{when.window[1]:g})"
    return f"@{sweep.time_values()[-1] if when.at is None else when.at:g}"


def _times(study: StudyConfig, sweep: SweepConfig, when: When, key: str) -> tuple[int, ...]:
    """Positions in the stored times."""
    times = sweep.time_values()
    if when.window is None:
        return (int(np.abs(times - _at(study, sweep, when, key)).argmin()),)
    if TIME in study.variables:
        raise InputError(f"{key}.window: found a window, allowed none where time is a variable")
    low, high = when.window
    for i, end in enumerate(when.window):
        if not times[0] <= end <= times[-1]:
            raise InputError(
                f"{key}.window.{i}: found {end:g}, allowed {times[0]:g} to {times[-1]:g}, the sweep's times"
            )
    inside = np.flatnonzero((times >= low) & (times <= high))
    if inside.size < 2:
        raise InputError(f"{key}.window: found {inside.size} stored times in it, allowed at least 2")
    return tuple(inside.tolist())


def _at(study: StudyConfig, sweep: SweepConfig, when: When, key: str) -> float:
    """The stored time that is meant."""
    times = sweep.time_values()
    if TIME in study.variables:
        if when.at is not None:
            raise InputError(f"{key}.at: found {when.at:g}, allowed nothing where time is a variable")
        return float(times[-1])
    if when.window is not None:
        raise InputError(f"{key}.window: found a window, allowed `at` for this quantity")
    if when.at is None:
        return float(times[-1])
    if not times[0] <= when.at <= times[-1]:
        raise InputError(f"{key}.at: found {when.at:g}, allowed {times[0]:g} to {times[-1]:g}, the sweep's times")
    nearest = float(times[np.abs(times - when.at).argmin()])
    if abs(nearest - when.at) > 1e-9 * max(abs(when.at), 1.0):
        raise InputError(f"{key}.at: found {when.at:g}, allowed a time among the sweep's (the nearest is {nearest:g})")
    return nearest


def quantity_range(sweep: SweepConfig, quantity: Quantity) -> tuple[float, float]:
    """The smallest and largest value that a quantity can have, as far as that is known beforehand."""
    if quantity.qoi == "mean":
        if sweep.process == "grain_growth":
            return 0.0, math.inf
        return (sweep.well.ca, sweep.well.cb) if sweep.well else (-1.0, 1.0)
    grid = sweep.grid
    mirrored = 1 if grid.boundary == "periodic" else 2
    area = math.prod(grid.shape) * grid.spacing**2
    highest = {
        "domain_size": mirrored * max(grid.shape) * grid.spacing,
        "grain_count": float(getattr(sweep.initial, "grains", math.inf)),
        "mean_grain_area": area,
        "grain_area_quantile": area,
        DIFFUSIVITY: max(quantity.conductor.low, quantity.conductor.high),
    }
    return 0.0, highest.get(quantity.qoi, math.inf)


def check_range(sweep: SweepConfig, quantity: Quantity, value: float, key: str) -> None:
    """Refuse a target that no microstructure can have."""
    if quantity.window is not None and quantity.reduce == "slope":
        return
    low, high = quantity_range(sweep, quantity)
    if not low <= value <= high:
        limits = f">= {low:g}" if math.isinf(high) else f"from {low:g} to {high:g}"
        raise InputError(f"{key}: found {value:g}, which no {quantity.qoi} can be, allowed a number {limits}")


def _curve_term(objective: QoiObjective, sweep: SweepConfig, feature: Any, label: str, key: str) -> Term:
    from solvers.qois import structure_factor_weights

    grid = sweep.grid.build()
    if objective.qoi == TWO_POINT:
        axis = sweep.grid.spacing * np.arange(_shells(grid))
        weights = np.ones(axis.size)
    else:
        inside = list(feature.inside)
        axis = structure_factor_wavenumbers(grid).numpy()[inside]
        weights = structure_factor_weights(grid).numpy()[inside]
    wanted = read_curve(Path(str(objective.target)), axis, f"{key}.target")
    weights = np.where(np.isfinite(wanted), weights, 0.0)
    aim = CurveAim(np.nan_to_num(wanted), weights, ((0, axis.size),), objective.tolerance, objective.realizations)
    return Term(label, key, feature, aim, "1", f"distance to the {objective.qoi.replace('_', ' ')}")


def read_curve(path: Path, axis: np.ndarray, key: str) -> np.ndarray:
    """A curve from a CSV file with a header and two columns, at the abscissae ``axis``; NaN outside of the file's.

    Raises:
        InputError: for a file that is no such table, or does not overlap.
    """
    try:
        table = np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"{key}: found {path}, which cannot be read ({reason}), allowed a CSV of two columns"
        ) from None
    if table.shape[1] != 2 or len(table) < 2 or not np.isfinite(table).all() or not (np.diff(table[:, 0]) > 0).all():
        raise InputError(f"{key}: found {path}, allowed a header, then two columns of numbers, the first increasing")
    # A last digit lost in writing must not lose the end of the curve.
    slack = 1e-6 * float(table[-1, 0])
    inside = (axis >= table[0, 0] - slack) & (axis <= table[-1, 0] + slack)
    if inside.sum() < 2:
        raise InputError(
            f"{key}: found {path} from {table[0, 0]:g} to {table[-1, 0]:g}, allowed some of {axis[0]:g} to {axis[-1]:g}"
        )
    return np.where(inside, np.interp(axis, table[:, 0], table[:, 1]), np.nan)
