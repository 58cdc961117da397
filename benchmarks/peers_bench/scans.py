"""Which settings of each contender are worth timing, remembered between runs.

Errors of a pinned library at a given setting do not change, and finding them takes most of a run; so the scan of a
contender is kept in ``benchmarks/.cache`` until its module or the pins change. This project's own schemes are scanned
anew every time.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict
from pathlib import Path

from peers_bench.client import Client
from peers_bench.environment import REQUIREMENTS
from peers_bench.measure import Point, choose, confirm, scan
from peers_bench.reference import CACHE
from peers_bench.registry import OURS

_SCAN_TRAJECTORIES = 8


def scanned(client: Client, trajectories: int, every: int, fresh: bool) -> tuple[list[Point], list[Point]]:
    """Points to time, and points that were only scanned.

    Args:
        client: the contender's running worker.
        trajectories: how many the errors are judged on, at most.
        every: scan only each n-th setting (a smoke run); 1 scans all.
        fresh: ignore what an earlier run remembered.
    """
    path = _path(client, trajectories, every)
    if path.exists() and not fresh and client.module != OURS:
        stored = json.loads(path.read_text())
        chosen, rest = ([Point(**row) for row in stored[part]] for part in ("chosen", "rest"))
        return chosen, rest
    print(f"{client.contender.name}: {len(client.contender.settings)} settings", file=sys.stderr, flush=True)
    found = scan(client, min(trajectories, _SCAN_TRAJECTORIES), every)
    kept = choose(found)
    chosen = confirm(client, kept, trajectories)
    indices = {point.index for point in kept}
    rest = [point for point in found if point.index not in indices]
    if client.module != OURS:
        CACHE.mkdir(exist_ok=True)
        content = {"chosen": [asdict(point) for point in chosen], "rest": [asdict(point) for point in rest]}
        path.write_text(json.dumps(content))
    return chosen, rest


def _path(client: Client, trajectories: int, every: int) -> Path:
    source = Path(__file__).parent / "contenders" / f"{client.module}.py"
    key = hashlib.sha256()
    for part in (source.read_bytes(), REQUIREMENTS.read_bytes(), f"{trajectories} {every}".encode()):
        key.update(part)
    name = "".join(letter if letter.isalnum() else "-" for letter in client.contender.name)
    return CACHE / f"peers-scan-{name}-{key.hexdigest()[:16]}.json"
