"""Rows of measurements, the file that keeps them, and the one of this machine. Loads no torch."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from solvers.user_cache import cache_folder
from surrogate.models.files import fingerprint, shipped
from sweeps.files import write_text

Kind = Literal["solver", "model", "persistence", "floor"]
Measure = Literal["qoi", "field"]
#: Part of every key and file: raise it when rows mean something else, or the solver or its answers change.
EDITION = 2


@dataclass(frozen=True)
class Row:
    """A candidate in a case. Figures that do not exist or are not finite are NaN.

    Attributes:
        key: hash of machine, threads, case and candidate; a row is measured again where it differs.
        cells: of a side of the box.
        candidate: what tables call it.
        kind: ``"solver"``, ``"model"``, or for reference ``"persistence"`` and ``"floor"`` (seed to seed).
        tolerance, dtype: of the solver, None and empty for others.
        stride: of a model, its steps over those of its own schedule; None for others.
        field_error: median over trajectories of the mean over times of rms(field - truth) / rms(truth - its mean).
        field_worst: largest of any frame of any trajectory.
        qoi_error: mean over trajectories and times of |relative error| of single trajectories, of the quantity for
            which it is largest, ``qoi_worst``.
        qoi_ensemble: mean over times of the relative error of the mean over trajectories, its largest quantity.
        qois: quantity -> (error of single trajectories, of their mean).
        ms: wall milliseconds a trajectory, median of the rounds.
        trust: share of trajectories inside the model's domain.
    """

    key: str
    case: str
    process: str
    cells: int
    trajectories: int
    contrast: float
    composition: float
    candidate: str
    kind: Kind
    model: str = ""
    tolerance: float | None = None
    dtype: str = ""
    stride: float | None = None
    field_error: float = math.nan
    field_worst: float = math.nan
    qoi_error: float = math.nan
    qoi_worst: str = ""
    qoi_ensemble: float = math.nan
    qois: dict[str, tuple[float, float]] | None = None
    ms: float = math.nan
    trust: float = math.nan
    threads: int = 1
    rounds: int = 0

    def error(self, measure: Measure) -> float:
        """The error that is compared: ``qoi_error`` or ``field_error``."""
        return self.qoi_error if measure == "qoi" else self.field_error

    def as_dict(self) -> dict[str, object]:
        """For JSON; NaN and infinity are None."""
        return {name: _plain(value) for name, value in asdict(self).items()}


_FLOATS = tuple(f.name for f in fields(Row) if f.type == "float")


def _plain(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _plain(v) for name, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def row_of(data: Mapping[str, Any]) -> Row:
    """The reverse of :meth:`Row.as_dict`.

    Raises:
        TypeError, KeyError, ValueError: for something else.
    """
    found = dict(data)
    for name in _FLOATS:
        value = found[name]
        found[name] = math.nan if value is None else float(value)
    if found["qois"] is not None:
        pairs = {name: [math.nan if v is None else float(v) for v in pair] for name, pair in found["qois"].items()}
        found["qois"] = {name: (first, second) for name, (first, second) in pairs.items()}
    return Row(**found)


def digest(*parts: object) -> str:
    """Hash of plain values and of the edition, 24 hexadecimal digits."""
    text = json.dumps([EDITION, *parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


class RowFile:
    """Rows by key in a JSON file, written after each. One that is damaged or of another edition counts as empty.

    Attributes:
        rows: key -> row, in the order of measurement.
        complete: names of the cases all of whose candidates are there, with their numbers of trajectories.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, Row] = {}
        self.complete: set[tuple[str, int]] = set()
        try:
            content = json.loads(path.read_text())
            if content["edition"] != EDITION:
                return
            rows = [row_of(data) for data in content["rows"]]
            complete = {(str(name), int(count)) for name, count in content["complete"]}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return
        self.rows, self.complete = {row.key: row for row in rows}, complete

    def add(self, rows: Sequence[Row], complete: tuple[str, int] | None = None) -> None:
        """Adds rows, and perhaps the mark of a complete case, and writes the file."""
        self.rows |= {row.key: row for row in rows}
        self.complete |= {complete} if complete else set()
        content = {
            "edition": EDITION,
            "complete": sorted(self.complete),
            "rows": [row.as_dict() for row in self.rows.values()],
        }
        write_text(self.path, json.dumps(content, indent=1) + "\n", shared=True)

    def complete_rows(self) -> list[Row]:
        """Rows of complete cases."""
        return [row for row in self.rows.values() if (row.case, row.trajectories) in self.complete]


@lru_cache(maxsize=1)
def machine() -> dict[str, str | int]:
    """Processor, cores and version of torch: what a cost depends on beside the code."""
    return {"processor": _processor(), "cores": os.cpu_count() or 1, "torch": metadata.version("torch")}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def machine_table() -> RowFile:
    """The table of this machine and of the models that ship; empty where nothing was measured or it is damaged."""
    models = {name: fingerprint(name) for name in shipped()}
    return RowFile(cache_folder() / f"frontier-{digest(machine(), models)}.json")
