"""Wall and processor time of a process and all that it started: the second means something on a busy machine too."""

from __future__ import annotations

import time

import psutil


class Clock:
    """Wall and processor time of this process and its descendants."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), _cpu()

    def lap(self) -> dict[str, float]:
        """``seconds`` and ``cpu_s`` since the last lap."""
        now = time.perf_counter(), _cpu()
        found = {"seconds": round(now[0] - self.wall, 3), "cpu_s": round(now[1] - self.cpu, 3)}
        self.wall, self.cpu = now
        return found


def _cpu() -> float:
    """Processor seconds so far; those of processes that have ended are not in it."""
    here = psutil.Process()
    total = 0.0
    for process in (here, *here.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total
