"""An emulator on disk: arrays in ``emulator.npz``, never unpickled, and a summary with its sha256 beside it."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from solvers.errors import InputError
from sweeps.files import write_bytes, write_text

FORMAT = "phasetwin-emulator"
FORMAT_VERSION = 1
ARRAYS, SUMMARY = "emulator.npz", "emulator.json"


def write_files(folder: Path, arrays: Mapping[str, np.ndarray], about: Mapping[str, object]) -> None:
    """Write arrays and a description of them; InputError if the folder cannot be written."""
    described = {**arrays, "about": np.frombuffer(json.dumps(about, allow_nan=False).encode(), dtype=np.uint8)}
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **described)  # type: ignore[arg-type]
    digest = hashlib.sha256(stream.getvalue()).hexdigest()
    summary = {"format": FORMAT, "format_version": FORMAT_VERSION, "sha256": digest, **about}
    try:
        write_bytes(folder / ARRAYS, stream.getvalue())
        write_text(folder / SUMMARY, json.dumps(summary, indent=1) + "\n")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror or error}") from None


def read_summary(folder: Path) -> dict[str, Any]:
    """``emulator.json``; InputError if it is missing, corrupted, foreign or of another format."""
    path = folder / SUMMARY
    try:
        summary = json.loads(path.read_text())
    except OSError as error:
        raise InputError(f"{folder}: expected {SUMMARY} and {ARRAYS}: {error.strerror or error}") from None
    except ValueError:
        raise InputError(f"{path}: corrupted, not JSON; make the emulator again") from None
    if not isinstance(summary, dict) or summary.get("format") != FORMAT:
        raise InputError(f"{path}: expected an emulator of this program, but found something else")
    if summary.get("format_version") != FORMAT_VERSION:
        raise InputError(f"{path}: expected format {FORMAT_VERSION}, but found {summary.get('format_version')}")
    return summary


def read_files(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and their description; InputError as :func:`read_summary`, and for missing or corrupted arrays."""
    summary = read_summary(folder)
    path = folder / ARRAYS
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{folder}: expected {SUMMARY} and {ARRAYS}: {error.strerror or error}") from None
    if hashlib.sha256(content).hexdigest() != summary.get("sha256"):
        raise InputError(f"{path}: corrupted, its sha256 is not the one in {SUMMARY}; make the emulator again")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return arrays, dict(json.loads(arrays.pop("about").tobytes()))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: expected arrays, but it cannot be read: {error}") from None
