"""What spot checks cost, and what they find: ``PYTHONPATH=. python benchmarks/spot_checks.py``.

Cost: two examples, computed and checked in this process, in seconds of the processor. Faults: sweeps on fresh seeds
(the rule was chosen on others) with an engine that is sound, then the same sweep made wrong: a field or a quantity off
by two tolerances, a quantity off by the width of its bands, bands half as wide. Writes docs/benchmarks/spot_checks.md,
and resumes from spot_checks.json beside it; ``--again`` measures anew.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import PAGES, ROOT
from common.runs import Records, markdown_table, parser, say

import phasetwin
from sweeps import Sweep
from sweeps.execution.prepare import Prepared, make_tasks, prepare
from sweeps.execution.spot_checks import Checks, verify_points
from sweeps.execution.task import BatchOutcome, BatchTask, compute_batch
from sweeps.files import write_text

PAGE, RECORDS = PAGES / "spot_checks.md", PAGES / "spot_checks.json"
EXAMPLES = ("spinodal", "grain-growth")
FIRST_SEED = 900
#: As many trajectories as the main job checks, however small the sweep.
TRAJECTORIES, ENOUGH = 8, 1000.0


def compute(tasks: Sequence[BatchTask], record: Callable[[BatchOutcome], None]) -> None:
    """Batches one after the other, in this process."""
    for task in tasks:
        record(compute_batch(task))


def computed(sweep: Sweep) -> Prepared:
    """A sweep's store with all its points done."""
    prepared = prepare(sweep.store, sweep.plan())
    compute(make_tasks(prepared), prepared.store.table.record)
    prepared.store.table.flush()
    return prepared


def cost(name: str) -> dict[str, Any]:
    """Processor seconds of computing an example and of checking it, the second time each (the first compiles)."""
    found: dict[str, Any] = {}
    for _ in range(2):
        with tempfile.TemporaryDirectory() as folder:
            path = ROOT / "sweeps" / "examples" / f"{name}.yaml"
            sweep = Sweep.from_yaml(path, overrides=[f"output.path={folder}/store.zarr"])
            started = time.process_time()
            prepared = computed(sweep)
            middle = time.process_time()
            verify_points(prepared, compute)
            found = {"computing": middle - started, "checks": time.process_time() - middle}
    estimate = sweep.plan().estimate
    return {**found, "planned": estimate.check_share, "points": estimate.checks.points}


def sweep_of(seed: int, store: str, engine: dict[str, Any], grains: bool, **blocks: Any) -> Sweep:
    """Eight points of random kappa on 64 x 64 cells, a start of its own for each."""
    generator = np.random.default_rng(seed)
    kappa, mobility = generator.uniform(0.5, 1.5 if grains else 2.0, (2, TRAJECTORIES)).round(4)
    process = {
        "process": "grain_growth" if grains else "cahn_hilliard",
        "initial": {"kind": "voronoi", "grains": 100} if grains else {"kind": "noise"},
        "times": {"stop": 60 if grains else 500, "count": 21},
    }
    return Sweep.from_config(
        {
            "schema_version": 1,
            "name": "faults",
            "grid": {"shape": [64, 64]},
            "parameters": {"mobility": float(mobility[0]), "kappa": sorted(kappa.tolist())},
            "realizations": {"seed": seed, "independent": True},
            "engine": engine,
            "output": {"path": store},
            "verify": {"count": TRAJECTORIES, "share": ENOUGH, "policy": ["random"]},
            **process,
            **blocks,
        }
    )


def field_off(prepared: Prepared) -> None:
    """Every field off by two tolerances."""
    array = prepared.store.array("field")
    array[...] = array[...] * (1.0 + 2.0 * prepared.plan.config.engine.tolerance)  # type: ignore[attr-defined, operator]


def quantity_off(prepared: Prepared) -> None:
    """The free energy off by two tolerances, the fields right."""
    array = prepared.store.array("free_energy")
    array[...] = array[...] * (1.0 + 2.0 * prepared.plan.config.engine.tolerance)  # type: ignore[attr-defined, operator]


def outside_bands(prepared: Prepared) -> None:
    """The free energy and its bands off by the bands' width, which is two of what the bands allow."""
    low, high = (np.asarray(prepared.store.array(f"free_energy_{end}")[...]) for end in ("low", "high"))
    for name in ("free_energy", "free_energy_low", "free_energy_high"):
        array = prepared.store.array(name)
        array[...] = array[...] + (high - low)  # type: ignore[operator]


def half_bands(prepared: Prepared) -> None:
    """All bands half as wide."""
    for name in prepared.store.layout.results():
        if f"{name}_low" not in prepared.store:
            continue
        middle = prepared.store.read(name)
        for end in ("low", "high"):
            array = prepared.store.array(f"{name}_{end}")
            array[...] = middle + (np.asarray(array[...]) - middle) / 2


Fault = Callable[[Prepared], None]
OF_TOLERANCE: tuple[Fault, ...] = (field_off, quantity_off)
OF_BANDS: tuple[Fault, ...] = (half_bands, outside_bands)


def detect(seed: int, engine: dict[str, Any], grains: bool, faults: Sequence[Fault], **blocks: Any) -> dict[str, Any]:
    """What the checks say of a sound sweep, and of the same with each fault."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        sweep = sweep_of(seed, f"{folder}/store.zarr", engine, grains, **blocks)
        prepared = computed(sweep)
        names = [name for name in prepared.store.array_names if prepared.store.array(name).ndim >= 3]
        sound = {name: prepared.store.read(name) for name in names}
        found["sound"] = _said(verify_points(prepared, compute))
        if found["sound"] and engine["kind"] == "solver":
            found["error"] = true_error(prepared, seed, folder, grains)
        for fault in faults:
            fault(prepared)
            del prepared.store.group["verification"]  # or what passed once would not be judged again
            found[fault.__name__] = _said(verify_points(prepared, compute))
            for name, values in sound.items():
                prepared.store.array(name)[...] = values
        reference = prepared.store.subgroup("reference")
        found["tolerance"] = reference.attributes["tolerance"] if reference else None
    return found


def true_error(prepared: Prepared, seed: int, folder: str, grains: bool) -> float:
    """The largest relative error of a field of the sweep, against the solver at a tolerance of 1e-6."""
    true = computed(sweep_of(seed, f"{folder}/true.zarr", {**SOLVER, "tolerance": 1e-6}, grains))
    found, wanted = (store.read("field").astype(np.float64) for store in (prepared.store, true.store))
    off = np.linalg.norm(found - wanted, axis=(-2, -1)) / np.linalg.norm(wanted, axis=(-2, -1))
    return float(off.max())


def _said(checks: Checks) -> list[str]:
    return [*checks.missed, *checks.unsolved]


def learned_emulator(folder: Path) -> str:
    """An emulator of statistics on 32 x 32 cells, from 48 trajectories of the solver."""
    model = folder / "model"
    if not model.exists():
        store = str(folder / "learn.zarr")
        parameters = {"mobility": 2.0, "kappa": {"linspace": [0.5, 2.0, 16]}}
        blocks = {**EMULATED, "parameters": parameters, "verify": {"count": 0}}
        blocks["realizations"] = {"count": 3, "independent": True, "seed": 1}
        computed(sweep_of(0, store, {"kind": "solver", "tolerance": 1e-2}, False, **blocks))
        phasetwin.main(["emulate", store, "--out", str(model)])
    return str(model)


EMULATED: dict[str, Any] = {
    "grid": {"shape": [32, 32]},
    "initial": {"kind": "noise", "amplitude": 0.3},
    "times": {"stop": 40, "count": 9},
}

SOLVER: dict[str, Any] = {"kind": "solver"}
#: Name, engine, whether of grains, faults, number of sweeps.
CASES: tuple[tuple[str, dict[str, Any], bool, tuple[Fault, ...], int], ...] = (
    ("solver 1e-2, Cahn-Hilliard", {**SOLVER, "tolerance": 1e-2}, False, OF_TOLERANCE, 10),
    ("solver 1e-3, Cahn-Hilliard", {**SOLVER, "tolerance": 1e-3}, False, OF_TOLERANCE, 6),
    ("solver 1e-2, grains", {**SOLVER, "tolerance": 1e-2}, True, OF_TOLERANCE, 2),
    ("ch-jump", {"kind": "surrogate", "model": "ch-jump"}, False, OF_BANDS, 14),
    ("gg-jump", {"kind": "surrogate", "model": "gg-jump"}, True, OF_BANDS, 2),
)
EMULATORS = 6


def measure(records: Records) -> None:
    """Everything that is not in the records yet, a seed of each engine in turn."""
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(FIRST_SEED, FIRST_SEED + max(case[-1] for case in CASES)):
            for name, engine, grains, faults, count in CASES:
                if seed < FIRST_SEED + count:
                    say_measured(records, f"{name} {seed}", lambda: detect(seed, engine, grains, faults))  # noqa: B023
            if seed < FIRST_SEED + EMULATORS:
                say_measured(records, f"emulator {seed}", lambda: detect_emulator(seed, Path(folder)))  # noqa: B023
    for name in EXAMPLES:
        say_measured(records, f"cost {name}", lambda: cost(name))  # noqa: B023


def say_measured(records: Records, key: str, measured: Callable[[], dict[str, Any]]) -> None:
    """Measure what is not in the records, and print it in short."""
    found = records.measured(key, measured)
    say(f"{key}: { ({name: bool(value) if isinstance(value, list) else value for name, value in found.items()}) }")


def detect_emulator(seed: int, folder: Path) -> dict[str, Any]:
    """The same with an emulator, learned when the first is asked for."""
    engine = {"kind": "emulator", "model": learned_emulator(folder)}
    output = {"path": str(folder / f"{seed}.zarr"), "retain": "qoi"}
    return detect(seed, engine, False, OF_BANDS, **EMULATED, output=output)


def page(records: Records) -> str:
    """The tables."""
    costs = [_cost_row(name, records) for name in EXAMPLES if records.get(f"cost {name}")]
    rows, caught, faulty, missed, sound, right = [], 0, 0, 0, 0, 0
    for name in [*(case[0] for case in CASES), "emulator"]:
        found = records.under(f"{name} ")
        faults = [k for k in (f.__name__ for f in OF_TOLERANCE + OF_BANDS) if found and k in found[0]]
        of_each = [sum(bool(record[fault]) for record in found) for fault in faults]
        wrong = sum(bool(record["sound"]) for record in found)
        words = ", ".join(f"{f.replace('_', ' ')} {n} of {len(found)}" for f, n in zip(faults, of_each, strict=True))
        tolerance = next((case[1].get("tolerance", 0.0) for case in CASES if case[0] == name), 0.0)
        true = sum(record.get("error", 0.0) > tolerance for record in found if "error" in record)
        rows.append([name, f"{wrong} of {len(found)}", str(true), words])
        caught, faulty = caught + sum(of_each), faulty + len(found) * len(faults)
        missed, sound, right = missed + wrong, sound + len(found), right + true
    rows.append(["all", f"{missed} of {sound}", str(right), f"{caught} of {faulty}"])
    return "\n".join(
        [
            "# Spot checks",
            "",
            "Made by `PYTHONPATH=. python benchmarks/spot_checks.py` (its docstring says how).",
            "",
            "Processor seconds of computing an example and of its spot checks:",
            "",
            *markdown_table(["example", "computing, s", "checks, s", "share", "planned"], costs),
            "",
            f"Sweeps of {TRAJECTORIES} trajectories, each checked: sound ones that are said to miss, and faults found "
            f"({sound} of {sum(case[-1] for case in CASES) + EMULATORS} planned sweeps measured so far). "
            "Solved again to 1e-6, sweeps of the solver that are said to miss turn out to miss or not.",
            "",
            *markdown_table(["engine", "said to miss", "of these right", "faults found"], rows),
            "",
        ]
    )


def _cost_row(name: str, records: Records) -> list[str]:
    found = records.get(f"cost {name}")

    def percent(share: float) -> str:
        return f"{100 * share:.0f} %"

    shares = [percent(found["checks"] / found["computing"]), percent(found["planned"])]
    return [name, f"{found['computing']:.1f}", f"{found['checks']:.2f}", *shares]


def main() -> int:
    """Measure and write the page."""
    arguments = parser(__doc__)
    arguments.add_argument("--again", action="store_true", help="measure again what is in the records")
    torch.set_num_threads(1)
    records = Records(RECORDS, arguments.parse_args().again)
    measure(records)
    write_text(PAGE, page(records))
    return 0


if __name__ == "__main__":
    sys.exit(main())
