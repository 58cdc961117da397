"""What a point's result depends on, as a hash: the reason a changed file recomputes only what changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sweeps.config.sweep import EmulatorEngine, FileInitial, SurrogateEngine, SweepConfig, TableDesign

#: Raised when the numbers that the program produces from the same file change.
NUMBERS_VERSION = 2
#: Decide where and how a sweep runs, or what it is called; never a number in its result.
EXECUTION_ONLY = ("name", "cluster", "verify", "reuse")


def realization_seeds(config: SweepConfig) -> list[int]:
    """The seed of each realization, the same for every point (common random numbers; 63 bits)."""
    return [_seed(config.realizations.seed, r) for r in range(config.realizations.count)]


def sample_seeds(config: SweepConfig, samples: Mapping[str, Any], realizations: Sequence[int]) -> list[int]:
    """The seed of each sample's start.

    Args:
        config: the sweep.
        samples: parameter name -> values (batch,); mobility does not matter.
        realizations: (batch,) number of the start.
    """
    common = realization_seeds(config)
    if not config.realizations.independent:
        return [common[r] for r in realizations]
    names = sorted(n for n in samples if n != "mobility")
    rows = np.stack([np.asarray(samples[n], dtype="<f8") + 0.0 for n in names], axis=1)
    return [
        _seed(config.realizations.seed, r, hashlib.blake2b(row.tobytes(), digest_size=8).hexdigest())
        for r, row in zip(realizations, rows, strict=True)
    ]


def _seed(seed: int, realization: int, of_point: str = "") -> int:
    text = f"realization:{seed}:{realization}" + (f":{of_point}" if of_point else "")
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def content_hash(path: str) -> str:
    """Hash of a file's bytes, or of all files in a folder (a Zarr store); of the address for a remote one."""
    digest = hashlib.blake2b(digest_size=16)
    root = Path(path)
    if not root.exists():
        return hashlib.blake2b(path.encode(), digest_size=16).hexdigest()
    files = sorted(p for p in root.rglob("*") if p.is_file()) if root.is_dir() else [root]
    for file in files:
        digest.update(file.relative_to(root).as_posix().encode())
        with file.open("rb") as stream:
            while block := stream.read(2**20):
                digest.update(block)
    return digest.hexdigest()


def _canonical(data: Any) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _inputs(config: SweepConfig) -> dict[str, Any]:
    """The resolved file with every input file replaced by the hash of its content."""
    data = config.model_dump(mode="json")
    if isinstance(config.initial, FileInitial):
        data["initial"]["file"] = content_hash(config.initial.file)
    if isinstance(config.design, TableDesign):
        data["design"]["table"] = content_hash(config.design.table)
    data["engine"] = _engine(config)
    return data


def _engine(config: SweepConfig) -> dict[str, Any]:
    """The engine's block; a model is what is in its files, wherever they are."""
    data = config.engine.model_dump(mode="json")
    data.pop("device", None)
    if isinstance(data.get("outside"), dict):
        data["outside"].pop("device", None)
    if config.engine.kind in ("surrogate", "emulator"):
        data["model"] = model_fingerprint(config)
    if data.get("precision") == "float32":
        data.pop("precision")  # as it was before there was a choice: stores keep their keys
    return data


def model_fingerprint(config: SweepConfig) -> str:
    """Hash of all of a learned engine that decides its numbers, bands and trust; empty for other engines.

    Raises:
        InputError: for a model that is not there.
    """
    engine = config.engine
    if isinstance(engine, SurrogateEngine):
        from surrogate.models.files import fingerprint

        return fingerprint(engine.model)
    if isinstance(engine, EmulatorEngine):
        return content_hash(engine.model)
    return ""


def model_sha256(config: SweepConfig) -> str:
    """sha256 of the weights of a surrogate, or of an emulator's arrays; empty for the solver."""
    engine = config.engine
    if isinstance(engine, SurrogateEngine):
        from surrogate.models.files import folder_of, read_about

        return str(read_about(folder_of(engine.model))["weights_sha256"])
    if isinstance(engine, EmulatorEngine):
        from surrogate.emulator.files import ABOUT

        return str(json.loads((Path(engine.model) / ABOUT).read_text())["sha256"])
    return ""


def config_hash(config: SweepConfig) -> str:
    """Hash of everything that decides the store's content and layout (32 hex digits)."""
    data = _inputs(config)
    for key in EXECUTION_ONLY:
        data.pop(key)
    data["output"].pop("path")
    data["output"].pop("performance")
    # A grid design stores its points in the order of its parameters: keep that order in the hash.
    data["parameters"] = list(data["parameters"].items())
    return hashlib.blake2b(_canonical([NUMBERS_VERSION, data]), digest_size=16).hexdigest()


def point_keys(config: SweepConfig, parameters: dict[str, np.ndarray]) -> np.ndarray:
    """Hash of everything that determines each point's numbers.

    That is the problem with the point's parameters, grid, start, seeds, times and engine; not the other
    points, the batch, what is retained, or where it runs.

    Args:
        config: the sweep.
        parameters: name -> float64 (point,).

    Returns:
        'S32' (point,), hexadecimal.
    """
    data = _inputs(config)
    common = {k: data[k] for k in ("schema_version", "process", "grid", "well", "initial", "engine")}
    common["times"] = config.time_values().tolist()
    common["seeds"] = [data["realizations"], realization_seeds(config)]
    common["names"] = sorted(parameters)
    head = hashlib.blake2b(_canonical([NUMBERS_VERSION, common]), digest_size=16).digest()
    # + 0.0 makes a negative zero the zero it equals.
    rows = np.stack([parameters[name] + 0.0 for name in sorted(parameters)], axis=1).astype("<f8")
    packed, width = rows.tobytes(), rows.shape[1] * 8
    hexes = (
        hashlib.blake2b(head + packed[i : i + width], digest_size=16).hexdigest() for i in range(0, len(packed), width)
    )
    return np.array(list(hexes), dtype="S32")
