"""Files that are there whole or not at all."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def replacing(path: Path, shared: bool = False) -> Iterator[IO[bytes]]:
    """A file open to be written that takes the place of ``path`` when the block ends; makes the folder.

    It is on disk under a temporary name until then, one for each process if ``shared``, and removed where the block
    raises.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial" if shared else f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def partial_pattern(name: str) -> str:
    """Regular expression of the temporary name of a file, now and in earlier versions."""
    return rf"\.?{re.escape(name)}\.partial"


def write_bytes(path: Path, content: bytes, shared: bool = False) -> None:
    """Write a file, replacing one that is there in one step; see :func:`replacing`."""
    with replacing(path, shared) as file:
        file.write(content)


def write_text(path: Path, text: str, shared: bool = False) -> None:
    """Write text, replacing a file that is there in one step; see :func:`replacing`."""
    write_bytes(path, text.encode(), shared)


def write_json(path: Path, data: Any) -> None:
    """Write JSON, replacing a file that is there in one step; NaN is an error."""
    write_text(path, json.dumps(data, indent=1, allow_nan=False) + "\n")
