"""Random kills: workers, nannies, the scheduler, the driver; or stopped for good."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import psutil

from chaos_bench.programs import LIMIT, WORDS, Cluster, Program, run_once, running_cluster, tracebacks
from chaos_bench.rows import Row
from chaos_bench.subjects import OUTPUT, Subject

#: Seconds for the killing; then the program has its own limit to end.
KILLING = 900.0
#: How long to wait for a sign that a restarted program has begun to write.
BEGINS = 30.0
STOP = "stop"


class Run:
    """A program under kills, and the cluster that it may use.

    Args:
        folder: where.
        subject: what.
        expected: its output without faults.
        cluster: None for the program's own.
    """

    def __init__(self, folder: Path, subject: Subject, expected: Path, cluster: Cluster | None) -> None:
        self.folder, self.subject, self.expected, self.cluster = folder, subject, expected, cluster
        self.output = folder / OUTPUT
        self.ends: Counter[str] = Counter()
        self.equal = True
        self.program = self._start()

    def _start(self) -> Program:
        arguments = () if self.cluster is None else ("--address", self.cluster.address)
        self.began = time.time()
        return Program(self.folder, self.subject, *arguments)

    def again(self) -> None:
        """Start the program again."""
        if self.cluster is not None:
            self.cluster.mend()
        self.program = self._start()

    def ended(self, status: int | None) -> None:
        """Count an exit status; compare a finished output."""
        self.ends[WORDS.get(status, f"{status}, unexpected")] += 1
        if status == 0:
            self.equal &= self.subject.same(self.expected, self.output)

    def kill_one(self, rng: random.Random, victim: str) -> bool:
        """Kill or stop a process; whether there was one."""
        if victim == "driver":
            self.program.kill()
            self.again()
            return True
        if victim in ("scheduler", "nanny"):
            return self._kill_in_cluster(rng, victim)
        workers = self.cluster.workers() if self.cluster else self.program.workers()
        if not workers:
            return False
        with contextlib.suppress(psutil.NoSuchProcess):
            rng.choice(workers).send_signal(signal.SIGSTOP if victim == STOP else signal.SIGKILL)
            return True
        return False

    def _kill_in_cluster(self, rng: random.Random, victim: str) -> bool:
        assert self.cluster is not None
        assert self.cluster.scheduler is not None
        (self.cluster.scheduler if victim == "scheduler" else rng.choice(self.cluster.nannies)).kill()
        if victim == "scheduler":
            self.ended(self.program.wait())  # it ends with an error
            self.cluster.scheduler.wait()
            self.again()
        else:
            time.sleep(0.5)
            self.cluster.mend()
        return True

    def writes(self) -> bool:
        """Whether the program has written results since it started."""
        if not self.output.exists():
            return False
        with contextlib.suppress(FileNotFoundError):  # groups are replaced while we look
            names = [p for p in self.output.rglob("c.*") if p.parent.name == "free_energy"]
            return any(p.stat().st_mtime > self.began for p in [*names, *self.output.glob("state.npz")])
        return False

    def moment(self, rng: random.Random) -> None:
        """Wait: half of the kills at a random moment, half while results are being written."""
        if rng.random() < 0.5:
            time.sleep(rng.uniform(0.1, 3.0))
            return
        until = time.monotonic() + BEGINS
        while time.monotonic() < until and not self.writes() and not self.program.ended:
            time.sleep(0.1)
        time.sleep(rng.uniform(0.0, 1.0))


def kills(
    folder: Path, subject: Subject, expected: Path, rng: random.Random, count: int, victims: tuple[str, ...], own: bool
) -> Row:
    """Kill ``count`` times over one run, restarting what a user would restart; then let it end.

    Args:
        folder: of its own.
        subject: what to run.
        expected: its output without faults.
        rng: chooses moments and victims.
        count: how often.
        victims: what to choose from.
        own: run on a scheduler of its own (``--address``).
    """
    started, done, early = time.monotonic(), Counter[str](), 0
    with contextlib.ExitStack() as stack:
        run = Run(folder, subject, expected, stack.enter_context(running_cluster(folder)) if own else None)
        while done.total() < count and time.monotonic() - started < KILLING:
            run.moment(rng)
            if run.program.ended:
                status = run.program.wait()
                run.ended(status)
                if status == 0:  # it finished: the other kills go to a run that starts from nothing
                    shutil.rmtree(run.output, ignore_errors=True)
                run.again()
                continue
            victim, begun = rng.choice(victims), run.writes()
            struck = run.kill_one(rng, victim)
            done[victim] += struck
            early += struck and not begun
        run.ended(run.program.wait(LIMIT))
    for _ in range(2):  # points whose workers were killed too often have failed; the next run computes them
        if run.ends["hung"] or (run.equal and _whole(run)):
            break
        run.ended(run_once(folder, subject))
    equal = run.equal and _whole(run) and done.total() == count
    counts = ", ".join(f"{n} {what}" for what, n in sorted(done.items()))
    note = "; ".join(filter(None, (counts, tracebacks(folder))))
    word = "SIGKILL or SIGSTOP" if STOP in victims else "SIGKILL"
    fault = f"{word}: {', '.join(victims)}" + (" (`--address`)" if own else "")
    return Row(fault, subject.name, done.total(), dict(run.ends), equal, time.monotonic() - started, note, early=early)


def _whole(run: Run) -> bool:
    """Whether the output is complete and right."""
    try:
        return run.subject.same(run.expected, run.output)
    except (OSError, KeyError, ValueError):
        return False
