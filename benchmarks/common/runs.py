"""Clocks, records to resume from, Markdown tables, measurements in a process of their own, blocks of a sweep."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from common import ROOT
from sweeps.files import write_text


def parser(doc: str | None) -> ArgumentParser:
    """A parser whose help is a script's docstring as it stands."""
    return ArgumentParser(description=doc, formatter_class=RawDescriptionHelpFormatter)


def say(text: str) -> None:
    """A line on standard error, at once."""
    print(text, file=sys.stderr, flush=True)


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of a Markdown table."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows]


@dataclass
class Table:
    """One section of ``docs/benchmarks/validation.md``.

    Attributes:
        title, text: heading, and what was done and against what, in a few sentences.
        columns: column names; a last column "held" is added.
    """

    title: str
    text: str
    columns: Sequence[str]
    rows: list[list[str]] = field(default_factory=list)
    failures: int = 0

    def add(self, *cells: object, held: bool | None) -> None:
        """Appends a row and prints it; ``held`` None states a figure without a bound."""
        shown = [f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in cells]
        self.failures += held is False
        self.rows.append([*shown, {True: "yes", False: "**no**", None: ""}[held]])
        print("  " + "  ".join(self.rows[-1]), flush=True)

    def markdown(self) -> str:
        """The section."""
        table = markdown_table([*self.columns, "held"], self.rows)
        return "\n".join([f"## {self.title}", "", self.text, "", *table]) + "\n"


class Clock:
    """Wall and processor time of this process and its descendants; the second means something on a busy machine too."""

    def __init__(self) -> None:
        self._last = time.perf_counter(), _processor_seconds()

    def lap(self) -> dict[str, float]:
        """``seconds`` and ``cpu_s`` since the last lap."""
        (wall, cpu), self._last = self._last, (time.perf_counter(), _processor_seconds())
        return {"seconds": round(self._last[0] - wall, 3), "cpu_s": round(self._last[1] - cpu, 3)}


def _processor_seconds() -> float:
    """Of all processes so far, except those that have ended."""
    here = psutil.Process()
    total = 0.0
    for process in (here, *here.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def apart(script: str, *arguments: object) -> dict[str, float]:
    """Run a script in a process of its own, and read the JSON of the last line that it prints."""
    command = [sys.executable, script, *map(str, arguments)]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout
    found: dict[str, float] = json.loads(text.splitlines()[-1])
    print(*arguments, {name: round(value, 3) for name, value in found.items()}, flush=True)
    return found


class Records:
    """Measurements in a JSON file, written after each.

    Args:
        path: of the file.
        again: whether to measure again what is in it.
    """

    def __init__(self, path: Path, again: bool = False) -> None:
        self._path, self._again = path, again
        self._all: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def get(self, key: str) -> Any:
        """The record of a key, or None."""
        return self._all.get(key)

    def under(self, prefix: str) -> list[dict[str, Any]]:
        """Records whose keys begin with ``prefix``, in the order of their keys."""
        return [self._all[key] for key in sorted(self._all) if key.startswith(prefix)]

    def measured(self, key: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The record of a key, measured if there is none, with the date and the machine's load."""
        if self._again or key not in self._all:
            found = measure()
            # Runnable processes for each core: above 1 wall times say little.
            load = round(os.getloadavg()[0] / (os.cpu_count() or 1), 1)
            self._all[key] = {**found, "date": time.strftime("%Y-%m-%d"), "load": load}
            write_text(self._path, json.dumps(self._all, indent=1, sort_keys=True) + "\n")
        record: dict[str, Any] = self._all[key]
        return record


class JsonLines:
    """Rows in a file, one line of JSON each; a row replaces the earlier one with the same values of ``key``."""

    def __init__(self, path: Path, key: Sequence[str]) -> None:
        self._path, self._key = path, key

    def rows(self) -> dict[tuple[object, ...], dict[str, Any]]:
        """All rows by their key; none where there is no file."""
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else []
        rows: list[dict[str, Any]] = [json.loads(line) for line in lines if line]
        return {self._key_of(row): row for row in rows}

    def add(self, row: Mapping[str, object]) -> None:
        """Write a row."""
        rows = self.rows()
        rows.pop(self._key_of(row), None)
        write_text(self._path, "".join(json.dumps(r) + "\n" for r in [*rows.values(), row]))

    def _key_of(self, row: Mapping[str, object]) -> tuple[object, ...]:
        return tuple(row[name] for name in self._key)


def sweep_blocks(name: str, store: Path | None = None, **blocks: Any) -> dict[str, Any]:
    """A Cahn-Hilliard sweep from noise without spot checks that keeps statistics; ``blocks`` replace or add to it."""
    return {
        "schema_version": 1,
        "name": name,
        "process": "cahn_hilliard",
        "initial": {"kind": "noise"},
        "output": {"retain": "qoi", **({} if store is None else {"path": str(store)})},
        "verify": {"count": 0},
        **blocks,
    }


def independent_points(count: int) -> dict[str, Any]:
    """Blocks of a design in which no two points share a trajectory."""
    return {
        "parameters": {"mobility": 1.0, "kappa": {"low": 1.0, "high": 2.0}, "composition": {"low": -0.3, "high": 0.3}},
        "design": {"sampler": "sobol", "n": count},
    }


def import_worker_code() -> None:
    """Import in a worker, before the clock runs, what computing a batch needs."""
    import sweeps.execution.task  # noqa: F401
