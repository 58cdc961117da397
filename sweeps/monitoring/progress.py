"""How far a run is: a bar on a terminal, plain lines in a log; and where messages of the logger ``phasetwin`` go."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

logger = logging.getLogger("phasetwin")
# Between two plain lines at least this long passes.
LINE_SECONDS = 10.0

Advance = Callable[[int], None]


class _Lines(logging.Handler):
    """Prints messages as they are on what is stderr at that moment: a progress bar replaces it while it is drawn."""

    def emit(self, record: logging.LogRecord) -> None:
        print(record.getMessage(), file=sys.stderr, flush=True)


@contextlib.contextmanager
def lines_on_stderr(show: bool = True) -> Iterator[None]:
    """Print messages of the logger ``phasetwin`` from INFO on, if ``show`` and no handler gets them already."""
    if not show or (logger.isEnabledFor(logging.INFO) and logger.hasHandlers()):
        yield
        return
    handler, before = _Lines(), (logger.level, logger.propagate)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


@contextlib.contextmanager
def point_progress(name: str, total: int, done: int, show: bool = True, checks: float = 0.0) -> Iterator[Advance]:
    """Yields a function to call with the number of points just finished; ``done`` of ``total`` were so before.

    The rate counts only what is finished now; the time left includes the spot checks, which take ``checks`` times as
    long as all points. Shows nothing without ``show``.
    """
    if not show:
        yield lambda points: None  # noqa: ARG005
        return
    from rich.console import Console

    console = Console(file=sys.stderr)
    counter = _Counter(total, done, checks)
    with _bar(console, name, counter) if console.is_terminal else _lines(name, counter) as advance:
        yield advance


@contextlib.contextmanager
def _bar(console: Console, name: str, counter: _Counter) -> Iterator[Advance]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("points  {task.fields[rate]}"),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(name, total=counter.total, completed=counter.done, rate="", left="")

        def advance(points: int) -> None:
            counter.add(points)
            left = f"{counter.left():.0f} s left"
            progress.update(task, advance=points, rate=f"{counter.rate():.3g}/s", left=left)

        yield advance


@contextlib.contextmanager
def _lines(name: str, counter: _Counter) -> Iterator[Advance]:
    last = time.monotonic()

    def advance(points: int) -> None:
        nonlocal last
        counter.add(points)
        now = time.monotonic()
        if now - last >= LINE_SECONDS or counter.done == counter.total:
            last = now
            logger.info(f"{name}: {counter.text()}")

    logger.info(f"{name}: {counter.done} of {counter.total} points done")
    yield advance


class _Counter:
    """Points done, rate, time left; ``checks`` as :func:`point_progress`'s."""

    def __init__(self, total: int, done: int, checks: float) -> None:
        self.total, self.done, self.checks = total, done, checks
        self._before, self._started = done, time.monotonic()

    def add(self, points: int) -> None:
        self.done += points

    def rate(self) -> float:
        """Points per second since the start of this run."""
        return (self.done - self._before) / max(1e-9, time.monotonic() - self._started)

    def left(self) -> float:
        """Seconds until all points are done and checked."""
        return (self.total - self.done + self.checks * self.total) / max(1e-9, self.rate())

    def text(self) -> str:
        share = f"{self.done} of {self.total} points done ({100 * self.done / self.total:.0f} %)"
        return f"{share}, {self.rate():.3g} points/s, {self.left():.0f} s left"
