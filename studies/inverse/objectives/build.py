"""From the objectives and constraints of a study's file to criteria."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf, isinf
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from solvers import qois
from solvers.errors import InputError, suggestion
from solvers.grids.grid import Grid
from solvers.processes.registry import Process, process_named
from solvers.qois.registry import QOIS, ExtraAxis, Qoi, qois_of
from solvers.registries import resolve
from studies.inverse.config import TIME, Constraint, ImageObjective, QoiObjective, Quantity, StudyConfig, When
from studies.inverse.objectives.criteria import Criteria, Criterion
from studies.inverse.objectives.effective_diffusivity import diffusivity
from studies.inverse.objectives.features import Feature, FieldFeature, QoiFeature
from studies.inverse.objectives.losses import CurveLoss, DirectionLoss, LimitLoss, Loss, TargetLoss
from studies.inverse.objectives.target_image import image_criterion
from sweeps.config.sweep import SweepConfig

if TYPE_CHECKING:
    import torch

DIFFUSIVITY, TWO_POINT = "effective_diffusivity", "two_point_correlation"
#: The key that picks a value on a quantity's further axis: ``quantile`` on the axis of that name, else ``coordinate``.
QUANTILE, COORDINATE = "quantile", "coordinate"
#: An error names all values of an axis where there are no more than these.
VALUES_NAMED = 12


def build_criteria(study: StudyConfig, sweep: SweepConfig) -> Criteria:
    """Objectives and constraints; ``objectives.0.at: found ..., allowed ...`` for what does not fit the sweep."""
    return Criteria(
        [_CriterionBuilder(study, sweep, f"objectives.{i}").objective(o) for i, o in enumerate(study.objectives)],
        [_CriterionBuilder(study, sweep, f"constraints.{i}").constraint(c) for i, c in enumerate(study.constraints)],
    )


def _quantities_of_fields(quantity: Quantity) -> dict[str, Qoi]:
    """What studies compute from fields of two phases, beside the quantities that sweeps store."""
    conducting = max(quantity.conductor.low, quantity.conductor.high)
    distance = ExtraAxis("r", _distances, lambda shape: min(shape) // 2 + 1, "length", "distance")
    return {
        DIFFUSIVITY: Qoi(DIFFUSIVITY, "1", "effective diffusivity", "", low=0.0, high=conducting),
        TWO_POINT: Qoi(TWO_POINT, "1", "two point correlation", "", low=0.0, axis=distance),
    }


def _distances(grid: Grid) -> np.ndarray:
    """Abscissae of the two-point correlation."""
    sides = [n * (1 if grid.boundary == "periodic" else 2) for n in grid.shape]
    return grid.spacing * np.arange(min(sides) // 2 + 1)


@dataclass(frozen=True)
class _CriterionBuilder:
    """Builds one criterion; ``key`` is its key in the study's file, for messages."""

    study: StudyConfig
    sweep: SweepConfig
    key: str

    @cached_property
    def process(self) -> Process:
        return process_named(self.sweep.process)

    @cached_property
    def grid(self) -> Grid:
        return self.sweep.grid.build()

    def error(self, part: str, found: str, allowed: str) -> InputError:
        return InputError(f"{self.key}.{part}: found {found}, allowed {allowed}")

    def objective(self, objective: QoiObjective | ImageObjective) -> Criterion:
        if isinstance(objective, ImageObjective):
            return image_criterion(objective, self.sweep, self.time_of(objective), self.key)
        target, tolerance, robust = objective.target, objective.tolerance, objective.realizations
        qoi = self.qoi(objective)
        if isinstance(target, str):
            components, coordinates, _ = self.components(qoi, objective, curve=True)
            loss: Loss = self.curve_loss(qoi, objective, components, coordinates)
            label, name = f"{qoi.name}{self.when(objective)}", f"distance to the {qoi.name.replace('_', ' ')}"
            return Criterion(label, self.key, self.feature(qoi, objective, components), loss, "1", name)
        if target is None:
            loss = DirectionLoss(1.0 if objective.direction == "minimize" else -1.0, tolerance, robust)
            return self.scalar(qoi, objective, loss)
        low, high = self.range(qoi, objective)
        if not low <= target <= high:
            limits = f">= {low:g}" if isinf(high) else f"from {low:g} to {high:g}"
            raise self.error("target", f"{target:g}, which no {qoi.name} can be", f"a number {limits}")
        return self.scalar(qoi, objective, TargetLoss(target, tolerance, robust))

    def scalar(self, qoi: Qoi, quantity: Quantity, loss: Loss) -> Criterion:
        components, _, suffix = self.components(qoi, quantity, curve=False)
        label = f"{qoi.name}{self.when(quantity)}{suffix}"
        feature = self.feature(qoi, quantity, components)
        return Criterion(label, self.key, feature, loss, qoi.units, qoi.long_name, qoi.undefined)

    def constraint(self, constraint: Constraint) -> Criterion:
        qoi = self.qoi(constraint)
        low, high = self.range(qoi, constraint)
        if constraint.max is not None and constraint.max < low:
            raise self.error("max", f"{constraint.max:g}, which nothing can meet", f"a number >= {low:g}")
        if constraint.min is not None and constraint.min > high:
            raise self.error("min", f"{constraint.min:g}, which nothing can meet", f"a number <= {high:g}")
        return self.scalar(qoi, constraint, LimitLoss(constraint.min, constraint.max, constraint.realizations))

    def known(self, quantity: Quantity) -> dict[str, Qoi]:
        """All quantities that an objective or a constraint may name."""
        of_fields = _quantities_of_fields(quantity) if self.process.phases is not None else {}
        return qois_of(self.sweep.process) | of_fields

    def qoi(self, quantity: Quantity) -> Qoi:
        known, name = self.known(quantity), quantity.qoi
        if name not in known:
            allowed = f"{', '.join(known)} for process {self.sweep.process}{suggestion(name, known)}"
            raise self.error("qoi", repr(name), allowed)
        return known[name]

    def feature(self, qoi: Qoi, quantity: Quantity, components: tuple[int, ...] | None) -> Feature:
        if qoi.name == DIFFUSIVITY:
            low, high = self.process.phase_values(self.sweep.options)
            statistic = diffusivity(quantity.conductor, 0.5 * (low + high))
            return FieldFeature(self.time_of(quantity), self.grid, statistic)
        if qoi.name == TWO_POINT and components is not None:
            chosen = list(components)

            def correlation(fields: torch.Tensor, grid: Grid) -> torch.Tensor:
                return qois.two_point_correlation(fields, grid)[1][:, chosen]

            return FieldFeature(self.time_of(quantity), self.grid, correlation, len(chosen))
        return QoiFeature(qoi.name, self.times(quantity), quantity.reduce or "mean", components)

    def components(self, qoi: Qoi, quantity: Quantity, curve: bool) -> tuple[tuple[int, ...] | None, np.ndarray, str]:
        """Positions on the quantity's further axis that are read, their coordinates, and an addition to the label."""
        axis, values = qoi.axis, {QUANTILE: quantity.quantile, COORDINATE: quantity.coordinate}
        own = _key_of(axis)
        for name, value in values.items():
            if value is not None and (name != own or curve):
                having = [q.name for q in QOIS.values() if _key_of(q.axis) == name]
                raise self.error(
                    name, f"{value:g}", "none with a curve" if curve else f"with qoi {', '.join(having)} only"
                )
        if axis is None:
            if curve:
                having = [q.name for q in self.known(quantity).values() if q.axis]
                raise self.error("target", "a file", f"a number for {qoi.name}; files for {', '.join(having)}")
            return None, np.empty(0), ""
        coordinates = np.asarray(resolve(axis.values)(self.grid), dtype=np.float64)
        if curve:
            inside = np.flatnonzero(coordinates <= (axis.resolved(self.grid) if axis.resolved else inf))
            return tuple(inside.tolist()), coordinates[inside], ""
        if own == COORDINATE and values[own] is None:
            allowed = f"`target: FILE.csv` with it, or `coordinate`, a value of {axis.name}"
            raise self.error("qoi", f"{qoi.name!r} without a curve", allowed)
        index = self.position(own, values[own], coordinates)
        return (index,), coordinates[[index]], f"[{coordinates[index]:g}]"

    def position(self, name: str, value: float | None, coordinates: np.ndarray) -> int:
        if value is not None:
            near = np.flatnonzero(np.isclose(coordinates, value, rtol=1e-5, atol=0.0))
            if near.size:
                return int(near[0])
        allowed = ", ".join(f"{c:g}" for c in coordinates)
        if value is not None and len(coordinates) > VALUES_NAMED:
            allowed = f"one of its values (the nearest is {coordinates[np.abs(coordinates - value).argmin()]:g})"
        raise self.error(name, "nothing" if value is None else f"{value:g}", allowed)

    def curve_loss(
        self, qoi: Qoi, objective: QoiObjective, components: Sequence[int] | None, coordinates: np.ndarray
    ) -> CurveLoss:
        assert qoi.axis is not None
        weights = np.ones(len(coordinates))
        if qoi.axis.weights is not None:
            weights = np.asarray(resolve(qoi.axis.weights)(self.grid), dtype=np.float64)[list(components or ())]
        wanted = read_curve(Path(str(objective.target)), coordinates, f"{self.key}.target")
        weights = np.where(np.isfinite(wanted), weights, 0.0)
        whole = ((0, len(coordinates)),)
        return CurveLoss(np.nan_to_num(wanted), weights, whole, objective.tolerance, objective.realizations)

    def range(self, qoi: Qoi, quantity: Quantity) -> tuple[float, float]:
        """The smallest and largest value that can occur, as far as that is known beforehand."""
        if quantity.window is not None and quantity.reduce == "slope":
            return -inf, inf
        blocks = {**self.sweep.options, "initial": self.sweep.initial.model_dump()}
        return qoi.range(self.process, self.grid, blocks)

    def when(self, when: When) -> str:
        """The time as a part of the label."""
        if when.window is not None:
            return f"@{when.reduce or 'mean'}({when.window[0]:g}..{when.window[1]:g})"
        return f"@{self.sweep.time_values()[-1] if when.at is None else when.at:g}"

    def times(self, when: When) -> tuple[int, ...]:
        """Positions in the stored times."""
        times = self.sweep.time_values()
        if when.window is None:
            return (int(np.abs(times - self.time_of(when)).argmin()),)
        if TIME in self.study.variables:
            raise self.error("window", "a window", "none where time is a variable")
        for i, end in enumerate(when.window):
            if not times[0] <= end <= times[-1]:
                raise self.error(f"window.{i}", f"{end:g}", f"{times[0]:g} to {times[-1]:g}, the sweep's times")
        inside = np.flatnonzero((times >= when.window[0]) & (times <= when.window[1]))
        if inside.size < 2:
            raise self.error("window", f"{inside.size} stored times in it", "at least 2")
        return tuple(inside.tolist())

    def time_of(self, when: When) -> float:
        """The one stored time that is meant."""
        times = self.sweep.time_values()
        if TIME in self.study.variables:
            if when.at is not None:
                raise self.error("at", f"{when.at:g}", "nothing where time is a variable")
            return float(times[-1])
        if when.window is not None:
            raise self.error("window", "a window", "`at` for this quantity")
        if when.at is None:
            return float(times[-1])
        if not times[0] <= when.at <= times[-1]:
            raise self.error("at", f"{when.at:g}", f"{times[0]:g} to {times[-1]:g}, the sweep's times")
        nearest = float(times[np.abs(times - when.at).argmin()])
        if abs(nearest - when.at) > 1e-9 * max(abs(when.at), 1.0):
            raise self.error("at", f"{when.at:g}", f"a time among the sweep's (the nearest is {nearest:g})")
        return nearest


def _key_of(axis: ExtraAxis | None) -> str:
    """The key that picks a value on an axis."""
    return "" if axis is None else QUANTILE if axis.name == QUANTILE else COORDINATE


def read_curve(path: Path, axis: np.ndarray, key: str) -> np.ndarray:
    """A curve from a CSV file with a header and two columns, at the abscissae ``axis``; NaN outside of the file's.

    Raises InputError for a file that is no such table, or does not overlap.
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
    # Abscissae rounded when the file was written must not exclude its last row.
    slack = 1e-6 * float(table[-1, 0])
    inside = (axis >= table[0, 0] - slack) & (axis <= table[-1, 0] + slack)
    if inside.sum() < 2:
        raise InputError(
            f"{key}: found {path} from {table[0, 0]:g} to {table[-1, 0]:g}, allowed some of {axis[0]:g} to {axis[-1]:g}"
        )
    return np.where(inside, np.interp(axis, table[:, 0], table[:, 1]), np.nan)
