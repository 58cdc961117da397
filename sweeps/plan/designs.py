"""From ``parameters:`` and ``design:`` to points: every combination, a sampler's spread, or a table."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from solvers.errors import InputError, suggestion
from solvers.registries import resolve
from sweeps.config.cross_checks import bounds_violation
from sweeps.config.samplers import SAMPLERS, Draw
from sweeps.config.sweep import SamplerDesign, SweepConfig, TableDesign


def design_points(config: SweepConfig) -> dict[str, np.ndarray]:
    """Every parameter of the process at every point of the design: name -> float64 (point,), names in storage order.

    Raises:
        InputError: for a table that does not fit, with its file and line.
    """
    if isinstance(config.design, SamplerDesign):
        columns = _sampled(config, config.design)
    elif isinstance(config.design, TableDesign):
        columns = _tabulated(config, Path(config.design.table))
    else:
        columns = _product(config)
    return {name: columns[name] for name in config.parameter_names}


def point_count(config: SweepConfig) -> int:
    """How many points the design has; reads a table, but draws no sample."""
    if isinstance(config.design, SamplerDesign):
        return config.design.n
    return next(iter(design_points(config).values())).size


def _fixed(spec: Any) -> bool:
    return isinstance(spec, float | int)


def grid_axes(config: SweepConfig) -> dict[str, np.ndarray]:
    """The varied parameters of a grid design in YAML order, name -> float64 (value,); else empty."""
    if config.design != "grid":
        return {}
    axes = {}
    for name, spec in config.parameters.items():
        if not _fixed(spec):
            values = spec if isinstance(spec, tuple) else spec.values()  # type: ignore[union-attr]
            axes[name] = np.asarray(values, dtype=np.float64)
    return axes


def _constants(config: SweepConfig, count: int) -> dict[str, np.ndarray]:
    return {n: np.full(count, float(v)) for n, v in config.parameters.items() if isinstance(v, float | int)}


def _product(config: SweepConfig) -> dict[str, np.ndarray]:
    """Every combination, the first parameter in the file slowest."""
    axes = grid_axes(config)
    mesh = np.meshgrid(*axes.values(), indexing="ij") if axes else []
    columns = {name: values.reshape(-1) for name, values in zip(axes, mesh, strict=True)}
    return _constants(config, next(iter(columns.values())).size if columns else 1) | columns


def _sampled(config: SweepConfig, design: SamplerDesign) -> dict[str, np.ndarray]:
    ranges = {
        name: spec.range()  # type: ignore[union-attr]
        for name, spec in config.parameters.items()
        if not _fixed(spec)
    }
    draw: Draw = resolve(SAMPLERS.get(design.sampler).draw)
    unit = draw(design.n, len(ranges), design.seed)
    columns = _constants(config, design.n)
    for u, (name, (low, high, log)) in zip(unit.T, ranges.items(), strict=True):
        values = low * (high / low) ** u if log else low + (high - low) * u
        columns[name] = np.clip(values, low, high)
    return columns


def _tabulated(config: SweepConfig, path: Path) -> dict[str, np.ndarray]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        header = [name.strip() for name in next(reader, [])]
        _check_header(config, path, header)
        rows, lines = [], []
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append(_numbers(path, reader.line_num, header, row))
                lines.append(reader.line_num)
    if not rows:
        raise InputError(f"{path}:1: found a header and no rows, allowed one row for each point")
    table = np.asarray(rows, dtype=np.float64)
    columns = {name: table[:, j] for j, name in enumerate(header)}
    _check_columns(config, path, columns, lines)
    return _constants(config, len(rows)) | columns


def _check_header(config: SweepConfig, path: Path, header: list[str]) -> None:
    names = config.parameter_names
    for name in header:
        if name not in names:
            raise InputError(f"{path}:1: found column {name!r}, allowed {', '.join(names)}{suggestion(name, names)}")
        if header.count(name) > 1:
            raise InputError(f"{path}:1: found column {name!r} twice, allowed once")
        if name in config.parameters:
            raise InputError(
                f"{path}:1: found column {name!r}, which `parameters` also gives, allowed in one of the two"
            )


def _numbers(path: Path, line: int, header: list[str], row: list[str]) -> list[float]:
    if len(row) != len(header):
        raise InputError(f"{path}:{line}: found {len(row)} entries, allowed {len(header)} as in the header")
    numbers = []
    for name, cell in zip(header, row, strict=True):
        try:
            numbers.append(float(cell))
        except ValueError:
            raise InputError(f"{path}:{line}: {name}: found {cell!r}, allowed a number") from None
    return numbers


def _check_columns(config: SweepConfig, path: Path, columns: dict[str, np.ndarray], lines: list[int]) -> None:
    for name, values in columns.items():
        suspects = [int(np.argmin(values)), int(np.argmax(values)), int(np.argmin(np.isfinite(values)))]
        for i in suspects:
            allowed = bounds_violation(config, name, float(values[i]))
            if allowed:
                raise InputError(f"{path}:{lines[i]}: {name}: found {values[i]:g}, allowed {allowed}")
