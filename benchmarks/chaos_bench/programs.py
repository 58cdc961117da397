"""``phasetwin`` and Dask clusters in processes of their own: started, killed, waited for with a limit."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import psutil
from common import ROOT

from chaos_bench.subjects import Subject

#: Seconds after which a program counts as hanging.
LIMIT = 240.0
ENVIRONMENT = {
    "PYTHONPATH": str(ROOT),
    "OMP_NUM_THREADS": "1",
    # By default Dask gives up a silent worker after five minutes; here sooner, to save time.
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "30s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "30s",
}
#: Exit statuses that the README promises; all others are failures of the program.
WORDS = {0: "0", 1: "1 (points named)", 2: "2 (one line)", None: "hung"}


class Program:
    """A ``phasetwin`` command that runs.

    Args:
        folder: of its file and log.
        subject: what to run.
        arguments: after the file.
    """

    def __init__(self, folder: Path, subject: Subject, *arguments: str) -> None:
        file = subject.write(folder)
        command = [sys.executable, "-m", "phasetwin", subject.verb, str(file), *arguments]
        self._log = (folder / "log.txt").open("a")
        self.process = _started(command, self._log, folder)

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self.process.poll() is not None

    def workers(self) -> list[psutil.Process]:
        """Its worker processes, those that compute."""
        return [p for p in below(self.process.pid) if is_worker(p)]

    def wait(self, limit: float = LIMIT) -> int | None:
        """Exit status, None if it hangs (it is then killed)."""
        try:
            return self.process.wait(limit)
        except subprocess.TimeoutExpired:
            self.kill()
            return None
        finally:
            self._log.close()

    def kill(self) -> None:
        """End it at once, and wait until its workers have ended, which they do when they lose it."""
        left = below(self.process.pid)
        self.process.kill()
        self.process.wait()
        self._log.close()
        for process in psutil.wait_procs(left, timeout=20)[1]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def _started(command: list[str], log: IO[str], folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env={**os.environ, **ENVIRONMENT})


def below(pid: int) -> list[psutil.Process]:
    """All descendants of a process."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def is_worker(process: psutil.Process) -> bool:
    """Whether a process computes: its nanny has spawned it."""
    try:
        return "spawn_main" in " ".join(process.cmdline())
    except psutil.Error:
        return False


def run_once(folder: Path, subject: Subject) -> int | None:
    """Exit status of a run without faults."""
    return Program(folder, subject).wait()


def tracebacks(folder: Path) -> str:
    """Python tracebacks in a folder's log, in words; empty where there are none; errors should be single lines."""
    text = (folder / "log.txt").read_text()
    count = text.count("Traceback (most recent call last)")
    kinds = sorted(set(re.findall(r"^([\w.]+(?:Error|Exception))\b", text, re.MULTILINE)))
    return f"{count} tracebacks in the log ({', '.join(kinds)})" if count else ""


class Cluster:
    """A scheduler and two workers with nannies, as ``dask scheduler`` and ``dask worker``, on loopback."""

    def __init__(self, folder: Path) -> None:
        self._about = folder / "scheduler.json"
        self._log = (folder / "cluster.txt").open("a")
        self._folder = folder
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.nannies: list[subprocess.Popen[bytes]] = []
        self.mend()

    @property
    def address(self) -> str:
        """Of the scheduler."""
        return str(json.loads(self._about.read_text())["address"])

    def mend(self) -> None:
        """Start what is missing, as a batch system would."""
        about = ("--scheduler-file", str(self._about), "--no-dashboard", "--host", "127.0.0.1")
        if self.scheduler is None or self.scheduler.poll() is not None:
            self.close(log=False)
            self.scheduler = self._dask("scheduler", "--port", "0", *about)
            while not self._about.exists():
                time.sleep(0.1)
        self.nannies = [n for n in self.nannies if n.poll() is None]
        while len(self.nannies) < 2:
            self.nannies.append(self._dask("worker", "--nthreads", "1", *about))

    def _dask(self, *words: str) -> subprocess.Popen[bytes]:
        return _started([sys.executable, "-m", "dask", *words], self._log, self._folder)

    def workers(self) -> list[psutil.Process]:
        """The processes that compute."""
        return [p for nanny in self.nannies for p in below(nanny.pid) if is_worker(p)]

    def close(self, log: bool = True) -> None:
        """End everything."""
        for process in [*self.nannies, *([self.scheduler] if self.scheduler else [])]:
            for pid in (process.pid, *(c.pid for c in below(process.pid))):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()
        self.nannies, self.scheduler = [], None
        self._about.unlink(missing_ok=True)
        if log:
            self._log.close()


@contextlib.contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    """A cluster while the block runs."""
    cluster = Cluster(folder)
    try:
        yield cluster
    finally:
        cluster.close()
