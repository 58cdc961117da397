"""References are computed once and kept in ``benchmarks/.cache``, which git ignores."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

Array = np.ndarray
CACHE = Path(__file__).resolve().parents[1] / ".cache"


def cached(name: str, key: object, make: Callable[[], Array]) -> Array:
    """``make()``, or what an earlier call with the same ``key`` (by its repr) and reference code made."""
    source = (Path(__file__).parent / "reference.py").read_bytes() + (Path(__file__).parent / "starts.py").read_bytes()
    digest = hashlib.sha256(repr(key).encode() + source).hexdigest()[:16]
    path = CACHE / f"validation-{name}-{digest}.npy"
    if path.exists():
        return np.asarray(np.load(path))
    CACHE.mkdir(exist_ok=True)
    (CACHE / ".gitignore").write_text("*\n")
    print(f"  reference: {name} {key}", file=sys.stderr, flush=True)
    value = make()
    np.save(path, value)
    return value
