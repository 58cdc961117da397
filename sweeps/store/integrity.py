"""Damage in a store: every object read and its checksum compared, and the metadata with the copy that the root keeps.

Objects end in a crc32c of their bytes. The root's metadata holds a copy of all other metadata, and a checksum of itself
(:func:`sweeps.store.store.seal`). So a flipped bit anywhere is found, wherever it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import google_crc32c
import numpy as np
from zarr.codecs import Crc32cCodec
from zarr.core.sync import sync

from sweeps.store.layout import DIVERGED, DONE, VERIFIED
from sweeps.store.store import SEAL, object_name, object_names, open_store, read, read_bytes, seal

ROOT = "zarr.json"
GROUPS = ("reference", "verification")
MISSING = "missing"
LEDGER = ("status", "error", "wall_s", "engine")


@dataclass(frozen=True)
class Damage:
    """Something that is not as it was written.

    Attributes:
        variable: whose, with its group; empty for the root.
        object: path below the store.
        rows: first and one past the last row of the variable; (0, 0) for metadata.
        error: what is wrong with it.
    """

    variable: str
    object: str
    rows: tuple[int, int]
    error: str

    @property
    def is_metadata(self) -> bool:
        """Whether it is a description, not values."""
        return self.object.endswith(ROOT)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def find_damage(url: str) -> list[Damage]:
    """Read everything in a store.

    Args:
        url: of the store.

    Returns:
        What is damaged or missing; empty for a sound store.

    Raises:
        InputError: if there is no store, or its root cannot be read at all.
    """
    open_store(url)
    bad = root_damage(url)
    if bad:
        return bad  # it describes all else: until it is restored nothing else can be judged
    bad = _metadata_damage(url)
    root: Any = open_store(url)
    for name in ("", *(group for group in GROUPS if group in root)):
        bad += _group_damage(root[name] if name else root, name)
    return bad


def root_damage(url: str) -> list[Damage]:
    """What is wrong with the root's metadata, which must parse: nothing, or one item."""
    raw = read_bytes(url, ROOT) or b"{}"
    about = json.loads(raw)
    attributes = about.get("attributes", {})
    found = attributes.get(SEAL)
    if found is None:
        # Stores of earlier versions have no checksum; under a name that is not its own it is one whose name was hit.
        lost = any(re.fullmatch("[0-9a-f]{8}", str(value)) for value in attributes.values())
    else:
        # Compared byte for byte too: 1e-05 and 1E-05 are the same number.
        lost = bool(found) and (found != seal(about) or raw != json.dumps(about, indent=2).encode())
    return [Damage("", ROOT, (0, 0), "metadata differ from their checksum")] if lost else []


def described(url: str) -> dict[str, Any]:
    """Metadata of every array and group as the root has them: path -> content; empty where it keeps none."""
    about = json.loads(read_bytes(url, ROOT) or b"{}")
    if not about.get("attributes", {}).get(SEAL):
        return {}  # its writer was killed half way: the copy may be older than what it copies
    return dict((about.get("consolidated_metadata") or {}).get("metadata") or {})


def _metadata_damage(url: str) -> list[Damage]:
    bad = []
    for name, expected in described(url).items():
        path = f"{name}/{ROOT}"
        raw = read_bytes(url, path)
        if raw is None:
            bad.append(Damage(name, path, (0, 0), MISSING))
            continue
        try:
            there = json.loads(raw)
        except ValueError:
            there = None
        if not _same_metadata(there, expected):
            bad.append(Damage(name, path, (0, 0), "metadata differ from the copy in the root"))
    return bad


def _same_metadata(there: Any, expected: dict[str, Any]) -> bool:
    if not isinstance(there, dict):
        return False
    # The copy of a group also holds copies of what is below it.
    ignored = {"consolidated_metadata"}
    return {k: v for k, v in there.items() if k not in ignored} == {
        k: v for k, v in expected.items() if k not in ignored
    }


def _group_damage(group: Any, prefix: str) -> Iterator[Damage]:
    done = _expected(group)
    for name, array in sorted(group.arrays()):
        there = object_names(array, prefix)
        rows = (array.shards or array.chunks)[0]
        written_by_workers = name not in LEDGER[1:] and "point" in _dims(array)
        for number, start in enumerate(range(0, array.shape[0], rows)):
            key = object_name(array, number)
            error = None
            if key in there:
                error = _object_error(array, key, start, start + rows)
            elif written_by_workers and done is not None and done[start : start + rows].any():
                error = MISSING
            if error:
                path = "/".join(part for part in (prefix, name) if part)
                yield Damage(path, f"{path}/{key}", (start, min(start + rows, array.shape[0])), error)


def _dims(array: Any) -> tuple[str, ...]:
    return tuple(array.metadata.dimension_names or ())


def _expected(group: Any) -> np.ndarray | None:
    """bool (point,): points with results on disk; None where the group keeps no status, or it cannot be read."""
    if "status" not in group:
        return None
    try:
        return np.asarray(np.isin(read(group, "status"), (DONE, DIVERGED, VERIFIED)).any(axis=1))
    except (OSError, ValueError, RuntimeError):
        return None


def _object_error(array: Any, key: str, start: int, stop: int) -> str | None:
    """What is wrong with an object. Plain ones need not be decoded for that: their last four bytes tell."""
    if not sync(array.store.getsize(f"{array.path}/{key}")):
        return "empty"  # a shard of no bytes reads as one that was never written
    if array.shards is None and isinstance(array.metadata.codecs[-1], Crc32cCodec):
        raw = read_bytes(array.store, f"{array.path}/{key}")
        if raw is None or len(raw) < 4:
            return "too short"
        told = int.from_bytes(raw[-4:], "little")
        return None if google_crc32c.value(raw[:-4]) == told else "bytes differ from their checksum"
    try:
        array[start:stop]
    except Exception as error:  # noqa: BLE001 decoders raise what they like on damaged bytes; it is reported
        return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
    return None
