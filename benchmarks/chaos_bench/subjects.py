"""Programs under test: sweeps of both processes and all engines, a study, a twin; comparison of their outputs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from common.runs import sweep_blocks

# Duration of a computation, not its result.
NOT_COMPARED = ("wall_s",)
LOCAL = {"kind": "local", "workers": 2, "dashboard_address": None}
IN_PROCESS, AUTO = ({"kind": kind, "dashboard_address": None} for kind in ("in_process", "auto"))
OUTPUT = "a.zarr"


@dataclass(frozen=True)
class Subject:
    """Something to run.

    Attributes:
        name: in the table.
        verb: of ``phasetwin``.
        config: its file; ``output.path`` is ``a.zarr``, or a folder, beside it unless it says otherwise.
        same: whether two outputs are equal.
        beside: further files, name -> content.
    """

    name: str
    verb: str
    config: dict[str, Any]
    same: Callable[[Path, Path], bool]
    beside: dict[str, dict[str, Any]] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """Its files into a folder; the path of the main one."""
        for name, content in self.beside.items():
            (folder / name).write_text(json.dumps(content))
        path = folder / f"{self.verb}.yaml"
        path.write_text(json.dumps({**self.config, "output": {"path": OUTPUT, **self.config.get("output", {})}}))
        return path


def sweep(name: str = "Cahn-Hilliard, solver", **blocks: Any) -> Subject:
    """A sweep; by default 36 points in 12 batches: most of its time is that of starting."""
    return Subject(name, "run", {**SWEEP, **blocks}, same_store)


SWEEP = sweep_blocks(
    "chaos",
    grid={"shape": [32, 32]},
    parameters={"mobility": [0.5, 1.0, 2.0], "kappa": {"linspace": [0.6, 2.0, 12]}},
    realizations={"count": 2},
    times={"stop": 100, "count": 5},
    engine={"kind": "solver", "tolerance": 5e-3},
    batch={"rollouts": 1},
    cluster=LOCAL,
    verify={"count": 2},
    output={},
)
#: Computes for several seconds, so that kills fall while it computes; few enough that `auto` starts without workers.
SLOW: dict[str, Any] = {
    "grid": {"shape": [64, 64]},
    "times": {"stop": 200, "count": 5},
    "engine": {"kind": "solver", "tolerance": 1e-3},
}
GRAINS: dict[str, Any] = {
    "process": "grain_growth",
    "grid": {"shape": [32, 32]},
    "parameters": {"mobility": [0.5, 1.0], "kappa": {"linspace": [0.6, 1.6, 8]}},
    "initial": {"kind": "voronoi", "grains": 16},
    "times": {"stop": 20, "count": 5},
    "engine": {"kind": "solver", "tolerance": 1e-2},
}
JUMP: dict[str, Any] = {"engine": {"kind": "surrogate", "model": "ch-jump"}}
STUDY: dict[str, Any] = {
    "schema_version": 1,
    "name": "target",
    "sweep": "base.yaml",
    "variables": {"mobility": {"low": 0.5, "high": 2.0, "log": True}, "kappa": {"low": 0.5, "high": 1.5}},
    "objectives": [{"qoi": "interface_density", "at": 40, "target": 0.16}],
    "sampler": {"kind": "tpe", "seed": 1},
    "trials": 48,
    "batch": 8,
    "verify": {"top": 2, "random": 2, "equivalents": 0},
}
BASE: dict[str, Any] = {
    **SWEEP,
    "parameters": {"mobility": 1.0, "kappa": 1.0},
    "times": {"stop": 40, "count": 3},
    "batch": {},
    "verify": {"count": 0},
}
TWIN: dict[str, Any] = {
    "schema_version": 1,
    "name": "furnace",
    "process": "cahn_hilliard",
    "observations": {"path": "frames.npy", "interval": 12.0, "noise": 0.03},
    "assimilation": {"members": 8, "iterations": 25},
    "forecast": {"until": 72, "every": 12},
    "engine": {"kind": "solver", "tolerance": 0.01},
}


def subjects(folder: Path) -> dict[str, Subject]:
    """All of them; ``folder`` gets the frames of the twin, and is where the emulator is saved before it is used."""
    frames = folder / "frames.npy"
    if not frames.exists():
        np.save(frames, _frames())
    twin = {**TWIN, "observations": {**TWIN["observations"], "path": str(frames)}}
    emulator = {"engine": {"kind": "emulator", "model": str(folder / "emulator")}, "output": {"retain": "qoi"}}
    return {
        "solver": sweep(),
        "slow": sweep("Cahn-Hilliard, solver, 64 x 64", **SLOW),
        "in_process": sweep("Cahn-Hilliard, solver, in_process", **SLOW, cluster=IN_PROCESS),
        "auto": sweep("Cahn-Hilliard, solver, cluster auto", **SLOW, cluster=AUTO),
        "grains": sweep("grains, solver", **GRAINS),
        "surrogate": sweep("Cahn-Hilliard, ch-jump", **JUMP),
        "emulator": sweep("Cahn-Hilliard, emulator", **emulator),
        "study": Subject("study", "optimize", STUDY, same_study, {"base.yaml": BASE}),
        "twin": Subject("twin", "assimilate", twin, same_twin),
    }


def _frames() -> np.ndarray:
    """Five noisy pictures of phase separation, 24 x 24 cells, no flux."""
    from solvers import CahnHilliard, Grid, simulate
    from solvers.initial import noise

    grid = Grid((24, 24), 1.0, "no_flux")
    times = (50.0 + 12.0 * np.arange(5)).tolist()
    problem = CahnHilliard(grid, mobility=1.2, kappa=1.1)
    field_ = simulate(problem, noise(grid, 0.1, 0.05, [5]), times, tolerance=1e-3)[0].numpy()
    return 0.5 * (field_ + 1.0) + 0.03 * np.random.default_rng(5).standard_normal(field_.shape)


def same_store(first: Path, second: Path) -> bool:
    """Byte for byte of every object of results and checks."""
    return _objects(first) == _objects(second)


def _objects(store: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(store)): p.read_bytes()
        for p in store.rglob("*")
        if p.is_file() and p.name != "zarr.json" and p.parent.name not in NOT_COMPARED
    }


def same_study(first: Path, second: Path) -> bool:
    """The optima, everything verified, the equivalents, and every object of every store."""
    names = ("best.json", "verified.json", "equivalents.json", "summary.json")
    files = [[_compared(place / name) for name in names if (place / name).exists()] for place in (first, second)]
    stores = [{str(p.relative_to(place)) for p in place.glob("*/*.zarr")} for place in (first, second)]
    return (
        len(files[0]) == len(names)
        and files[0] == files[1]
        and stores[0] == stores[1]
        and all(same_store(first / name, second / name) for name in stores[0])
    )


def _compared(path: Path) -> Any:
    """Content of a file of a study without the paths of stores and Optuna's numbers of trials, which interrupted trials
    use up as well.
    """
    found = json.loads(path.read_text())
    points = found if isinstance(found, list) else []
    return [{k: v for k, v in point.items() if k not in ("store", "trial")} for point in points] or found


def same_twin(first: Path, second: Path) -> bool:
    """Every number of the posterior, of the forecast and of the state that a restart reads."""
    import xarray as xr

    for group in ("posterior", "forecast"):
        a, b = (xr.open_zarr(place, group=group, consolidated=False).load() for place in (first, second))
        if set(a.variables) != set(b.variables) or not all(
            np.array_equal(a[name].values, b[name].values, equal_nan=a[name].dtype.kind == "f")
            for name in a.variables
            if not str(name).endswith("wall_s")
        ):
            return False
    with np.load(first / "state.npz") as a, np.load(second / "state.npz") as b:
        counted = ("history", "config", "calls")  # times, paths and numbers of runs
        return set(a.files) == set(b.files) and all(
            np.array_equal(a[name], b[name], equal_nan=a[name].dtype.kind == "f")
            for name in a.files
            if name not in counted
        )
