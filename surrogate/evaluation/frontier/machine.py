"""This machine, and the table of what was measured on it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from surrogate.evaluation.frontier.rows import EDITION, RowFile
from surrogate.models.files import fingerprint, shipped


@lru_cache(maxsize=1)
def machine() -> dict[str, str | int]:
    """Processor, cores and version of torch: what a cost depends on beside the code."""
    return {"processor": _processor(), "cores": os.cpu_count() or 1, "torch": metadata.version("torch")}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def digest(*parts: object) -> str:
    """Hash of plain values and of the edition, 24 hexadecimal digits."""
    text = json.dumps([EDITION, *parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/phasetwin``, by default under ``~/.cache``."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if home else Path.home() / ".cache") / "phasetwin"


def machine_table() -> RowFile:
    """The table of this machine and of the models that ship; empty where nothing was measured or it is damaged."""
    models = {name: fingerprint(name) for name in shipped()}
    return RowFile(cache_folder() / f"frontier-{digest(machine(), models)}.json")
