"""What a point's result depends on, as a hash: the reason a changed file recomputes only what changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from solvers.processes.registry import Process, process_named
from solvers.qois.registry import Qoi, qois_of
from sweeps.config.sweep import FileInitial, SweepConfig, TableDesign
from sweeps.engines.registry import EngineKind, engine_kind
from sweeps.inputs.paths import content_hash

#: Raised when the numbers that the program produces from the same file change.
NUMBERS_VERSION = 7
#: Decide where and how a sweep runs, or what it is called; never a number in its result.
EXECUTION_ONLY = ("name", "cluster", "verify", "reuse")


def realization_seeds(config: SweepConfig) -> list[int]:
    """The seed of each realization, the same for every point (common random numbers; 63 bits)."""
    return [_seed(config.realizations.seed, r) for r in range(config.realizations.count)]


def sample_seeds(config: SweepConfig, samples: Mapping[str, Any], realizations: Sequence[int]) -> list[int]:
    """The seed of each sample's start: ``realizations`` (batch,) are the numbers of the starts.

    The value of the parameter that scales time does not matter.
    """
    common = realization_seeds(config)
    if not config.realizations.independent:
        return [common[r] for r in realizations]
    time_scale = process_named(config.process).time_scale
    names = sorted(n for n in samples if n != time_scale)
    rows = np.stack([np.asarray(samples[n], dtype="<f8") + 0.0 for n in names], axis=1)
    return [
        _seed(config.realizations.seed, r, hashlib.blake2b(row.tobytes(), digest_size=8).hexdigest())
        for r, row in zip(realizations, rows, strict=True)
    ]


def _seed(seed: int, realization: int, of_point: str = "") -> int:
    text = f"realization:{seed}:{realization}" + (f":{of_point}" if of_point else "")
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _canonical(data: Any) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _inputs(config: SweepConfig) -> dict[str, Any]:
    """The resolved file with every input file replaced by the hash of its content."""
    data = config.model_dump(mode="json")
    if isinstance(config.initial, FileInitial):
        data["initial"]["file"] = content_hash(config.initial.file)
    if isinstance(config.design, TableDesign):
        data["design"]["table"] = content_hash(config.design.table)
    data["engine"] = config.engine.key_data()
    return data


def extension_fingerprints(config: SweepConfig) -> dict[str, str]:
    """Fingerprints of whatever comes from outside this project and decides numbers: process, quantities, engine."""
    items: list[Process | Qoi | EngineKind] = [process_named(config.process), engine_kind(config)]
    items += qois_of(config.process).values()
    return {f"{type(item).__name__} {item.name}": item.fingerprint for item in items if item.fingerprint}


def config_hash(config: SweepConfig) -> str:
    """Hash of everything that decides the store's content and layout (32 hex digits)."""
    data = _inputs(config)
    for key in EXECUTION_ONLY:
        data.pop(key)
    data["output"].pop("path")
    data["output"].pop("performance")
    # A grid design stores its points in the order of its parameters: keep that order in the hash.
    data["parameters"] = list(data["parameters"].items())
    data |= _extensions(config)
    return hashlib.blake2b(_canonical([NUMBERS_VERSION, data]), digest_size=16).hexdigest()


def _extensions(config: SweepConfig) -> dict[str, dict[str, str]]:
    """As an entry of hashed data; none where nothing comes from outside, so that keys are those of before."""
    found = extension_fingerprints(config)
    return {"extensions": found} if found else {}


def point_keys(config: SweepConfig, parameters: dict[str, np.ndarray]) -> np.ndarray:
    """Hash of everything that determines each point's numbers, 'S32' (point,), hexadecimal.

    That is the problem with the point's parameters, grid, start, seeds, times and engine; not the other points, the
    batch, what is retained, or where it runs.
    """
    data = _inputs(config)
    common = {k: data[k] for k in ("schema_version", "process", "grid", "well", "initial", "engine")}
    common["times"] = config.time_values().tolist()
    common["seeds"] = [data["realizations"], realization_seeds(config)]
    common["names"] = sorted(parameters)
    common |= _extensions(config)
    head = hashlib.blake2b(_canonical([NUMBERS_VERSION, common]), digest_size=16).digest()
    # + 0.0 makes a negative zero the zero it equals.
    rows = np.stack([parameters[name] + 0.0 for name in sorted(parameters)], axis=1).astype("<f8")
    packed, width = rows.tobytes(), rows.shape[1] * 8
    hexes = (
        hashlib.blake2b(head + packed[i : i + width], digest_size=16).hexdigest() for i in range(0, len(packed), width)
    )
    return np.array(list(hexes), dtype="S32")
