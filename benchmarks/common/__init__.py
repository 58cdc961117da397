"""What the benchmarks share: folders here, fields in plain numpy in ``spectral``, records and tables in ``runs``."""

from __future__ import annotations

import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[1]
ROOT = BENCHMARKS.parent
PAGES = ROOT / "docs" / "benchmarks"
_CACHE = BENCHMARKS / ".cache"

sys.path.insert(0, str(ROOT))  # what is measured is this checkout, whatever is installed


def cache_folder() -> Path:
    """Folder of references and scans, which git ignores."""
    _CACHE.mkdir(exist_ok=True)
    (_CACHE / ".gitignore").write_text("*\n")
    return _CACHE
