"""Scan every contender's settings, choose those worth timing, time them in interleaved rounds."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from typing import Literal

from peers_bench.client import Client, WorkerFailedError
from peers_bench.contender import describe
from peers_bench.curves import near_front, summarise

Mode = Literal["alone", "batch"]

_SLACKS = (1.3, 1.15, 1.05, 1.0)
_MOST_TIMED = 12
_BATCH_BUDGET = 5.0  # times the budget of a single-trajectory timing
_ERRORS_OF_INTEREST = (5e-5, 0.2)


@dataclass
class Point:
    """One setting of one contender in one mode.

    Attributes:
        chunk: trajectories per solver call.
        errors: relative L2 error of each judged trajectory.
        wall, cpu: seconds per trajectory, one entry per timing round; empty for a setting that was only scanned.
        scanned: processor seconds per trajectory of the first pass.
    """

    contender: str
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


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def scan(client: Client, trajectories: int, every: int = 1) -> list[Point]:
    """A first pass over the settings, one trajectory at a time; settings that fail are reported and left out."""
    contender = client.contender
    count = min(trajectories, contender.trajectories)
    points = []
    for index, setting in enumerate(contender.settings):
        if index % every:
            continue
        text = describe(setting)
        try:
            answer = client.ask("run", index=index, chunk=1, trajectories=count)
        except WorkerFailedError as failure:
            _say(f"  {text}: failed, {failure}")
            continue
        points.append(Point(contender.name, index, text, "alone", 1, answer["errors"], answer["seconds"]))
        _say(f"  {text}: error {points[-1].error['median']:.2e}, {1e3 * answer['seconds']:.1f} ms")
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
    if not kept and points:  # a contender that never gets there still belongs on the plot
        kept = [min(points, key=lambda point: point.error["median"])]
    return kept


def confirm(client: Client, chosen: Sequence[Point], trajectories: int) -> list[Point]:
    """Errors over all trajectories alone, and the best chunk size in batch mode, for each chosen setting."""
    count = min(trajectories, client.contender.trajectories)
    points: list[Point] = []
    for point in chosen:
        alone = client.ask("run", index=point.index, chunk=1, trajectories=count)
        points.append(Point(point.contender, point.index, point.setting, "alone", 1, alone["errors"], alone["seconds"]))
        trials = {1: alone}
        for chunk in client.contender.chunks:
            if 1 < chunk <= count:
                trials[chunk] = client.ask("run", index=point.index, chunk=chunk, trajectories=count)
        best = min(trials, key=lambda chunk: trials[chunk]["seconds"])
        points.append(
            Point(
                point.contender,
                point.index,
                point.setting,
                "batch",
                best,
                trials[best]["errors"],
                trials[best]["seconds"],
            )
        )
        _say(f"  {point.contender}: {point.setting}: " + _trial_text({c: t["seconds"] for c, t in trials.items()}))
    return points


def _trial_text(seconds: dict[int, float]) -> str:
    return ", ".join(f"chunk {chunk} {1e3 * cost:.1f} ms" for chunk, cost in seconds.items())


def interleave(groups: Iterable[Sequence[Point]]) -> list[Point]:
    """First of each group, then second of each, and so on: noise that drifts hits every contender alike."""
    return [point for point in chain.from_iterable(zip_longest(*groups)) if point is not None]


def time_round(clients: dict[str, Client], points: Sequence[Point], budget: float) -> None:
    """Time every point once more; a contender without a batched form has its single-trajectory time in batch mode."""
    alone: dict[tuple[str, int], dict[str, float]] = {}
    for point in sorted(points, key=lambda point: point.mode == "batch"):
        client = clients[point.contender]
        key = (point.contender, point.index)
        if point.mode == "alone":
            answer = alone[key] = client.ask("time_single", index=point.index, budget=budget)
        elif client.contender.chunks == (1,):
            answer = alone[key]
        else:
            answer = client.ask("time_batch", index=point.index, chunk=point.chunk, budget=_BATCH_BUDGET * budget)
        point.wall.append(answer["wall"])
        point.cpu.append(answer["cpu"])
