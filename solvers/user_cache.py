"""The folder of what is kept between runs and can be made again: measured costs, machine code."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/phasetwin``, by default under ``~/.cache``.

    Raises:
        RuntimeError: if there is no home folder, as in some containers.
    """
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if home else Path.home() / ".cache") / "phasetwin"
