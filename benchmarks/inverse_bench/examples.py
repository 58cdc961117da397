"""The shipped examples with hidden parameters behind their targets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from common import ROOT
from PIL import Image

from inverse_bench.plain import sizes
from studies import Study
from studies.inverse.objectives.point_view import PointView
from studies.inverse.problem import read_study
from sweeps import Sweep
from sweeps.config.sweep import SweepConfig

if TYPE_CHECKING:
    from distributed import Client

FOLDER = ROOT / "studies" / "examples"
#: Of realizations that no study uses.
HIDDEN_SEED = 7_000


def _value(view: PointView, qoi: str) -> float:
    return float(view.get(qoi)[0, :, -1].mean())


def _domain(view: PointView, folder: Path) -> list[dict[str, Any]]:  # noqa: ARG001
    return [{"qoi": "domain_size", "at": 400, "target": _value(view, "domain_size")}]


def _pair(view: PointView, folder: Path) -> list[dict[str, Any]]:  # noqa: ARG001
    names = ("domain_size", "interface_density")
    return [{"qoi": name, "at": 400, "target": _value(view, name)} for name in names]


def _image(view: PointView, folder: Path) -> list[dict[str, Any]]:
    grey = np.clip(np.round(127.5 * (view.field(400.0)[0, 0] + 1.0)), 0, 255).astype(np.uint8)
    path = folder / "wanted.png"
    Image.fromarray(grey).save(path)
    levels = [0.0, 255.0]
    return [{"image": str(path.absolute()), "at": 400, "levels": levels, "boundary": "periodic"}]


def _grains(view: PointView, folder: Path) -> list[dict[str, Any]]:  # noqa: ARG001
    return [{"qoi": "mean_grain_area", "at": 100, "target": _value(view, "mean_grain_area"), "tolerance": 0.01}]


#: For each shipped example its objectives, made of what the hidden parameters give (a store, and a folder for files).
EXAMPLES: dict[str, Callable[[PointView, Path], list[dict[str, Any]]]] = {
    "domain-size": _domain,
    "pareto": _pair,
    "target-image": _image,
    "grain-size": _grains,
}


def hidden_sets(name: str, count: int) -> list[dict[str, float]]:
    """Parameters drawn evenly from the example's box, a tenth of it left out at each end, seeded by the name."""
    study, _ = read_study(FOLDER / f"{name}.yaml")
    rng = np.random.default_rng([HIDDEN_SEED, *name.encode()])
    found = []
    for _ in range(count):
        row = {}
        for variable, spec in study.variables.items():
            u = 0.1 + 0.8 * rng.random()
            low, high = spec.low, spec.high
            row[variable] = float(low * (high / low) ** u if spec.log else low + (high - low) * u)
        found.append(row)
    return found


def hidden_study(
    name: str,
    hidden: dict[str, float],
    number: int,
    client: Client,
    folder: Path,
    changes: dict[str, Any] | None = None,
    verify: dict[str, Any] | None = None,
) -> Study:
    """The example with targets made of hidden parameters.

    Args:
        name: of the example.
        hidden: the parameters.
        number: of the hidden set; it decides the starts.
        client: of the cluster.
        folder: for what is made on the way, and for the study's output.
        changes: further blocks of the sweep to replace.
        verify: keys of the study's ``verify`` to replace.
    """
    folder.mkdir(parents=True, exist_ok=True)
    overrides = [f"changes.{key}={json.dumps(value)}" for key, value in (changes or {}).items()]
    study, sweep = read_study(FOLDER / f"{name}.yaml", overrides)
    data = sweep.model_dump(mode="json")
    data["name"] = "hidden"
    data["design"] = "grid"
    data["parameters"] = {**_constants(sweep, study.variables), **hidden}
    data["engine"] = {"kind": "solver", "tolerance": 5e-4 if sweep.process == "cahn_hilliard" else 2e-3}
    count = 1 if name == "target-image" else max(4, sweep.realizations.count)
    data["realizations"] = {"count": count, "seed": HIDDEN_SEED + number}
    data["output"] = {"path": str(folder / "hidden.zarr"), "retain": "fields"}
    data["verify"] = {"count": 0}
    Sweep.from_config(data).run(client, progress=False)
    objectives = EXAMPLES[name](PointView(str(folder / "hidden.zarr")), folder)
    # Known answers are sought without constraints, and without equivalent optima.
    changed = study.model_dump(mode="json") | {"objectives": objectives, "constraints": []}
    changed["verify"] |= {"equivalents": 0, **(verify or {})}
    changed["output"] = {"path": str(folder / "study")}
    return Study.from_config(changed)


def _constants(sweep: SweepConfig, variables: dict[str, Any]) -> dict[str, float]:
    return {n: float(v) for n, v in sweep.parameters.items() if n not in variables and isinstance(v, float | int)}


def off(study: Study, point: dict[str, Any]) -> float:
    """Largest relative miss of the targets; for an image the distance."""
    return float((np.array(point["objectives"]) / sizes(study)).max())
