"""Damage in a store: every object is read and compared with its checksum, metadata with the copy in the root.

Objects end in a crc32c of their bytes. The root's metadata holds a copy of all other metadata, and a checksum of itself
(:func:`sweeps.store.store.seal`). So a flipped bit is found wherever it is.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import google_crc32c
import numpy as np
from zarr.abc.store import Store as Objects
from zarr.codecs import Crc32cCodec, ShardingCodec, ShardingCodecIndexLocation
from zarr.core.sync import sync

from sweeps.store.group import Array, Attributes, PointGroup, dimension_names, object_name, object_names, object_shape
from sweeps.store.layout import DIVERGED, DONE, VERIFIED
from sweeps.store.locations import object_store, read_object
from sweeps.store.status_table import NAMES
from sweeps.store.store import METADATA, REFERENCE, SEAL, VERIFICATION, Store, seal

MISSING = "missing"
#: Arrays read at a time.
THREADS = 4
CRC_BYTES = 4
#: Offset and length of a chunk that was never written, in the index of a shard.
EMPTY_CHUNK = 2**64 - 1


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
        return self.object.endswith(METADATA)


def find_damage(store: Store) -> list[Damage]:
    """Read everything in a store, which was opened for reading; empty if all is sound."""
    objects = object_store(store.url)
    root = root_damage(objects)
    if root:
        return root  # it describes all else: until it is restored nothing else can be judged
    found = _metadata_damage(objects)
    found += _group_damage(store)
    for name in (REFERENCE, VERIFICATION):
        group = store.subgroup(name)
        if group is not None:
            found += _group_damage(group)
    return found


def root_damage(objects: Objects) -> list[Damage]:
    """What is wrong with the root's metadata, which must parse: nothing, or one item."""
    raw = read_object(objects, METADATA) or b"{}"
    metadata = json.loads(raw)
    attributes = metadata.get("attributes", {})
    stored = attributes.get(SEAL)
    if stored is None:
        # Stores of earlier versions have no checksum; one under another name had its name damaged.
        lost = any(re.fullmatch("[0-9a-f]{8}", str(value)) for value in attributes.values())
    else:
        # Compared byte for byte too: 1e-05 and 1E-05 are the same number.
        lost = bool(stored) and (stored != seal(metadata) or raw != json.dumps(metadata, indent=2).encode())
    return [Damage("", METADATA, (0, 0), "metadata differ from their checksum")] if lost else []


def gathered_metadata(objects: Objects) -> Attributes:
    """The root's copies of the metadata of every array and group: path -> content; empty where it has none."""
    metadata = json.loads(read_object(objects, METADATA) or b"{}")
    if not metadata.get("attributes", {}).get(SEAL):
        return {}  # its writer was killed half way: the copies may be older than what they copy
    return dict((metadata.get("consolidated_metadata") or {}).get("metadata") or {})


def _metadata_damage(objects: Objects) -> list[Damage]:
    found = []
    for name, expected in gathered_metadata(objects).items():
        path = f"{name}/{METADATA}"
        raw = read_object(objects, path)
        if raw is None:
            found.append(Damage(name, path, (0, 0), MISSING))
        elif not _same_metadata(raw, expected):
            found.append(Damage(name, path, (0, 0), "metadata differ from the copy in the root"))
    return found


def _same_metadata(raw: bytes, expected: Attributes) -> bool:
    try:
        there = json.loads(raw)
    except ValueError:
        return False
    # The copy of a group also holds copies of what is below it.
    ignored = {"consolidated_metadata": None}
    return isinstance(there, dict) and {**there, **ignored} == {**expected, **ignored}


def _group_damage(group: PointGroup) -> list[Damage]:
    """Objects of several arrays are read and compared at a time, each in a thread."""
    done = _points_with_results(group)
    with ThreadPoolExecutor(THREADS) as pool:
        parts = [pool.submit(_array_damage, group.array(name), name, done) for name in group.array_names]
        return [damage for part in parts for damage in part.result()]


def _array_damage(array: Array, name: str, done: np.ndarray | None) -> list[Damage]:
    there, rows = object_names(array), object_shape(array)[0]
    written_by_workers = name not in NAMES[:-1] and "point" in dimension_names(array)
    checked = _checksums(array)
    found = []
    for number, start in enumerate(range(0, array.shape[0], rows)):
        key = object_name(array, number)
        error = None
        if key in there:
            error = _object_error(array, key, start, start + rows, checked)
        elif written_by_workers and done is not None and done[start : start + rows].any():
            error = MISSING
        if error:
            stop = min(start + rows, array.shape[0])
            found.append(Damage(array.path, f"{array.path}/{key}", (start, stop), error))
    return found


def _points_with_results(group: PointGroup) -> np.ndarray | None:
    """bool (point,): points with results on disk; None where the group keeps no status, or it cannot be read."""
    if "status" not in group:
        return None
    try:
        return np.asarray(np.isin(group.read("status"), (DONE, DIVERGED, VERIFIED)).any(axis=1))
    except (OSError, ValueError, RuntimeError):
        return None


#: What compares the bytes of an object with its checksums; what is wrong with them.
Checksums = Callable[[np.ndarray], str | None]


def _checksums(array: Array) -> Checksums | None:
    """How an array's objects carry their checksums; None where they must be decoded to find out."""
    codecs = getattr(array.metadata, "codecs", ())
    if not codecs:
        return None
    if array.shards is None:
        return _plain_error if isinstance(codecs[-1], Crc32cCodec) else None
    outer = codecs[0]
    if (
        isinstance(outer, ShardingCodec)
        and len(codecs) == 1
        and outer.index_location is ShardingCodecIndexLocation.end
        and all(isinstance(inner[-1], Crc32cCodec) for inner in (outer.codecs, outer.index_codecs))
        and len(outer.index_codecs) == 2
    ):
        return partial(_shard_error, math.prod(s // c for s, c in zip(array.shards, array.chunks, strict=True)))
    return None


def _plain_error(raw: np.ndarray) -> str | None:
    """Of bytes, uint8 (n,), that end in the checksum of all before."""
    if len(raw) < CRC_BYTES:
        return "too short"
    stored = int.from_bytes(raw[-CRC_BYTES:].tobytes(), "little")
    return None if google_crc32c.value(raw[:-CRC_BYTES]) == stored else "bytes differ from their checksum"


def _shard_error(chunks: int, raw: np.ndarray) -> str | None:
    """Of a shard: chunks, each with its checksum, and at the end where each begins and how long it is, with one too.

    Zarr v3 specification, codec ``sharding_indexed``.
    """
    size = 16 * chunks + CRC_BYTES
    if len(raw) < size:
        return "too short"
    if error := _plain_error(raw[-size:]):
        return f"index: {error}"
    index = raw[-size:-CRC_BYTES].view("<u8").reshape(chunks, 2)
    kept = index[(index != EMPTY_CHUNK).all(axis=1)]
    if int(kept[:, 1].sum()) + size != len(raw):
        return "not as long as its index says"
    for start, length in kept.tolist():
        if error := _plain_error(raw[start : start + length]):
            return error
    return None


def _object_error(array: Array, key: str, start: int, stop: int, checksums: Checksums | None) -> str | None:
    """What is wrong with an object: its bytes are compared with their checksums, or it is decoded."""
    path = f"{array.path}/{key}"
    if checksums is not None:
        raw = read_object(array.store, path)
        # A shard of no bytes reads as one that was never written.
        return checksums(np.frombuffer(raw, dtype=np.uint8)) if raw else "empty"
    if not sync(array.store.getsize(path)):
        return "empty"
    try:
        array[start:stop]
    except Exception as error:  # noqa: BLE001 decoders raise any kind of error on damaged bytes; it is reported
        return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
    return None
