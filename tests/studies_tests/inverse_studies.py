"""Small studies for the tests: 16x16 cells, two variables, a solver that takes milliseconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

SWEEP: dict[str, Any] = {
    "schema_version": 1,
    "name": "small",
    "process": "cahn_hilliard",
    "grid": {"shape": [32, 32]},
    "parameters": {"mobility": 1.0, "kappa": 1.0, "composition": 0.0},
    "realizations": {"count": 2},
    "initial": {"kind": "noise"},
    "times": {"stop": 40, "count": 3},
    "engine": {"kind": "solver", "tolerance": 1.0e-2},
    "verify": {"count": 0},
}
TARGET = 0.16
STUDY: dict[str, Any] = {
    "schema_version": 1,
    "name": "target",
    "variables": {"mobility": {"low": 0.5, "high": 2.0, "log": True}, "kappa": {"low": 0.5, "high": 1.5}},
    "objectives": [{"qoi": "interface_density", "at": 40, "target": TARGET}],
    "sampler": {"kind": "tpe", "seed": 1},
    "trials": 48,
    "batch": 8,
    "verify": {"top": 2, "random": 2, "equivalents": 0},
}


def write_sweep(folder: Path, **changes: Any) -> Path:
    """The small sweep as a file."""
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump({**SWEEP, **changes}))
    return path


def study_data(folder: Path, sweep: Path | None = None, output: str = "study", **changes: Any) -> dict[str, Any]:
    """The small study as a dictionary; arguments replace top keys."""
    path = sweep or write_sweep(folder)
    return {**STUDY, "sweep": str(path), "output": {"path": str(folder / output)}, **changes}
