"""Files that are there whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def partial_name(name: str) -> str:
    """The temporary name of a file."""
    return f".{name}.partial"


def write_json(path: Path, data: Any) -> None:
    """Write JSON under a temporary name, then put it in place."""
    write_text(path, json.dumps(data, indent=1, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write text under a temporary name, then put it in place; makes the folder."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes under a temporary name, then put them in place; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(partial_name(path.name))
    partial.write_bytes(content)
    partial.replace(path)
