"""What was measured, piece by piece, so that an interrupted benchmark goes on where it stopped."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Records:
    """Measurements in a JSON file, written whole after each.

    Args:
        path: of the file.
        again: measure anew what is there.
    """

    def __init__(self, path: Path, again: bool = False) -> None:
        self._path = path
        self._all: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        self._again = again

    def get(self, key: str) -> Any:
        """What is on record under a key, or None."""
        return self._all.get(key)

    def under(self, prefix: str) -> list[dict[str, Any]]:
        """Records whose keys begin so, in the order of their keys."""
        return [self._all[key] for key in sorted(self._all) if key.startswith(prefix)]

    def measured(self, key: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The record of a key, measured if it is not there, with the date and the settings it was measured at."""
        if self._again or key not in self._all:
            found = measure()
            # Processes that wanted to run, a core: above 1 the wall times say little.
            load = round(os.getloadavg()[0] / (os.cpu_count() or 1), 1)
            self._all[key] = {**found, "date": time.strftime("%Y-%m-%d"), "load": load}
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial = self._path.with_suffix(".partial")
            partial.write_text(json.dumps(self._all, indent=1, sort_keys=True) + "\n")
            partial.replace(self._path)
        record: dict[str, Any] = self._all[key]
        return record
