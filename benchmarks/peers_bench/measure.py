"""Scan every contender's settings, choose those worth timing, time them in interleaved rounds.

Errors of a pinned library at a given setting do not change, and finding them takes most of a run; so the scan of a
contender is kept in ``benchmarks/.cache`` until its module or the pins change. This project's own schemes are scanned
again every time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, product, zip_longest
from pathlib import Path
from typing import Literal

from common import cache_folder
from common.runs import say

from peers_bench.contender import OURS, describe
from peers_bench.curves import near_front, summarise
from peers_bench.worker import REQUIREMENTS, Client, WorkerFailedError

Mode = Literal["alone", "batch"]
#: By contender and problem.
Clients = dict[tuple[str, str], Client]

_SLACKS = (1.3, 1.15, 1.05, 1.0)
_MOST_TIMED = 8
_LONGEST_CALL, _BATCH_TRIAL = 4.0, 0.5  # seconds, of batches that are tried, and of a trial
_BATCH_BUDGET = 5.0  # times the budget of a single-trajectory timing
_ERRORS_OF_INTEREST = (5e-5, 0.2)
_TARGETS = (1e-2, 1e-3, 1e-4)
_SCAN_TRAJECTORIES = 8


@dataclass
class Point:
    """One setting of one contender on one problem in one mode.

    Attributes:
        chunk: trajectories per solver call.
        errors: relative L2 error of each judged trajectory.
        wall, cpu: seconds per trajectory, one entry per timing round; empty for a setting that was only scanned.
        scanned: processor seconds per trajectory of the first pass.
    """

    contender: str
    problem: str
    index: int
    setting: str
    mode: Mode
    chunk: int
    errors: list[float]
    scanned: float
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    @property
    def error(self) -> dict[str, float]:
        """Median, rms and worst error."""
        return summarise(self.errors)


def scan(client: Client, trajectories: int, every: int = 1) -> list[Point]:
    """A first pass over the settings, one trajectory at a time; settings that fail are reported and left out."""
    contender, problem = client.contender, client.problem.name
    count = min(trajectories, contender.trajectories)
    points = []
    for index in contender.indices(problem)[:: 1 if contender.asked else every]:
        text = describe(contender.settings[index])
        try:
            answer = client.ask("run", index=index, chunk=1, trajectories=count)
        except WorkerFailedError as failure:
            say(f"  {text}: failed, {failure}")
            continue
        points.append(Point(contender.name, problem, index, text, "alone", 1, answer["errors"], answer["seconds"]))
        say(f"  {text}: error {points[-1].error['median']:.2e}, {1e3 * answer['seconds']:.1f} ms")
    return points


def choose(points: Sequence[Point]) -> list[Point]:
    """The settings worth timing: near the front by median or by rms error, and accurate enough to matter."""
    low, high = _ERRORS_OF_INTEREST
    costs = [point.scanned for point in points]
    kept: list[Point] = []
    for slack in _SLACKS:
        chosen: set[int] = set()
        for statistic in ("median", "rms"):
            chosen.update(near_front([point.error[statistic] for point in points], costs, slack))
        kept = [points[i] for i in sorted(chosen) if low <= points[i].error["median"] <= high]
        if len(kept) <= _MOST_TIMED:
            break
    else:
        kept = _cheapest(kept)
    if not kept and points:  # a contender that never gets there still belongs on the plot
        kept = [min(points, key=lambda point: point.error["median"])]
    return kept


def _cheapest(points: Sequence[Point]) -> list[Point]:
    """Of many, the two that reach each error of the tables at the least cost, by median and by rms."""
    chosen: set[int] = set()
    for target, statistic in product(_TARGETS, ("median", "rms")):
        reaching = [i for i, point in enumerate(points) if point.error[statistic] <= target]
        chosen.update(sorted(reaching, key=lambda i: points[i].scanned)[:2])
    return [points[i] for i in sorted(chosen)]


def confirm(client: Client, chosen: Sequence[Point], trajectories: int) -> list[Point]:
    """Errors over all trajectories alone, and the best chunk size in batch mode, for each chosen setting."""
    contender = client.contender
    count = min(trajectories, contender.trajectories)
    points: list[Point] = []
    for point in chosen:
        alone = client.ask("run", index=point.index, chunk=1, trajectories=min(count, client.problem.judged))
        seconds = {1: alone["seconds"]}
        for chunk in contender.chunks:
            # What takes long gains nothing from a batch: its transforms have left the cache already.
            if 1 < chunk <= count and (contender.asked or chunk * alone["seconds"] <= _LONGEST_CALL):
                seconds[chunk] = client.ask("time_batch", index=point.index, chunk=chunk, budget=_BATCH_TRIAL)["cpu"]
        best = max(seconds) if contender.asked else min(seconds, key=lambda chunk: seconds[chunk])
        kept: tuple[tuple[Mode, int], ...] = (("alone", 1), ("batch", best))
        for mode, chunk in kept:
            found = {"errors": alone["errors"], "scanned": seconds[chunk]}
            points.append(replace(point, mode=mode, chunk=chunk, wall=[], cpu=[], **found))
        costs = ", ".join(f"chunk {chunk} {1e3 * value:.1f} ms" for chunk, value in seconds.items())
        say(f"  {point.contender}: {point.setting}: {costs}")
    return points


def scanned(client: Client, trajectories: int, every: int, fresh: bool) -> tuple[list[Point], list[Point]]:
    """Points to time, and points that were only scanned.

    Args:
        client: the contender's running worker.
        trajectories: how many the errors are judged on, at most.
        every: scan only each n-th setting (a smoke run); 1 scans all.
        fresh: ignore what an earlier run remembered.
    """
    path = _scan_file(client, trajectories, every)
    if path.exists() and not fresh and client.module != OURS:
        stored = json.loads(path.read_text())
        chosen, rest = ([Point(**row) for row in stored[part]] for part in ("chosen", "rest"))
        return chosen, rest
    say(f"{client.problem.name}, {client.contender.name}")
    found = scan(client, min(trajectories, _SCAN_TRAJECTORIES), every)
    kept = found if client.contender.asked else choose(found)
    chosen = confirm(client, kept, trajectories)
    indices = {point.index for point in kept}
    rest = [point for point in found if point.index not in indices]
    if client.module != OURS:
        content = {"chosen": [asdict(point) for point in chosen], "rest": [asdict(point) for point in rest]}
        path.write_text(json.dumps(content))
    return chosen, rest


def _scan_file(client: Client, trajectories: int, every: int) -> Path:
    source = Path(__file__).parent / "contenders" / f"{client.module}.py"
    key = hashlib.sha256()
    text = f"{trajectories} {every} {client.problem}"
    for part in (source.read_bytes(), REQUIREMENTS.read_bytes(), text.encode()):
        key.update(part)
    name = "".join(letter if letter.isalnum() else "-" for letter in client.contender.name)
    return cache_folder() / f"peers-scan-{name}-{key.hexdigest()[:16]}.json"


def interleave(groups: Iterable[Sequence[Point]]) -> list[Point]:
    """First of each group, then second of each, and so on: noise that drifts hits every contender alike."""
    return [point for point in chain.from_iterable(zip_longest(*groups)) if point is not None]


def time_round(clients: Clients, points: Sequence[Point], budget: float) -> None:
    """Time every point once more; a contender without a batched form has its single-trajectory time in batch mode."""
    alone: dict[tuple[str, str, int], dict[str, float]] = {}
    for point in sorted(points, key=lambda point: point.mode == "batch"):
        client = clients[point.contender, point.problem]
        key = (point.contender, point.problem, point.index)
        if point.mode == "alone":
            answer = alone[key] = client.ask("time_single", index=point.index, budget=budget)
        elif client.contender.chunks == (1,):
            answer = alone[key]
        else:
            answer = client.ask("time_batch", index=point.index, chunk=point.chunk, budget=_BATCH_BUDGET * budget)
        point.wall.append(answer["wall"])
        point.cpu.append(answer["cpu"])
