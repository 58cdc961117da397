"""Lines about results while a sweep runs: what came out of a batch, for its range of parameters."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import numpy as np

from sweeps.report.appearance import appearance_of, number
from sweeps.store.layout import usable
from sweeps.store.store import UNREADABLE

if TYPE_CHECKING:
    from sweeps.execution.batch_task import BatchOutcome
    from sweeps.execution.prepare import Prepared

logger = logging.getLogger("phasetwin")
#: The first batches have a line each. Then this long passes between two lines at least, and this share of the time so
#: far: a log of hours stays short.
FIRST_LINES, LINE_SECONDS, LINE_SHARE = 10, 1.0, 0.05


class ResultLines:
    """Says what batches gave, a line each, or less often where they come fast; nothing without ``show``."""

    def __init__(self, prepared: Prepared, show: bool) -> None:
        self._plan, self._store = prepared.plan, prepared.store
        wanted = appearance_of(self._plan.config.process).headline
        self._name = wanted if wanted in self._store else "free_energy"
        self._varied = [name for name, values in self._plan.parameters.items() if np.ptp(values) > 0]
        self._show = show
        self._lines = 0
        self._started = self._last = time.monotonic()

    def report(self, outcome: BatchOutcome) -> None:
        """Log a line about a batch whose results are on disk, if the last line was long enough ago."""
        now = time.monotonic()
        pause = max(LINE_SECONDS, LINE_SHARE * (now - self._started)) if self._lines >= FIRST_LINES else 0.0
        if not self._show or now - self._last < pause or not outcome.computed.any():
            return
        self._lines, self._last = self._lines + 1, now
        try:
            logger.info(self._text(outcome))
        except UNREADABLE:
            # Results are looked at for the reader's sake; what is damaged is found by checks.
            return

    def _text(self, outcome: BatchOutcome) -> str:
        rows = np.flatnonzero(outcome.computed)
        where = [_range(name, self._plan.parameters[name][outcome.start + rows]) for name in self._varied]
        head = f"  {', '.join([_count(len(rows)), *where])}"
        good = usable(outcome.status[rows])
        lost = f"; {(~good).sum()} of {good.size} samples failed" if not good.all() else ""
        if not good.any():
            return f"{head}{lost}"
        values = np.asarray(self._store.array(self._name)[outcome.start : outcome.stop, :, -1])[rows][good]
        quantity = _range(self._name, values[np.isfinite(values)])
        return f"{head}: {quantity} at t = {self._store.layout.times[-1]:g}{lost}"


def _count(points: int) -> str:
    return "1 point" if points == 1 else f"{points} points"


def _range(name: str, values: np.ndarray) -> str:
    """Such as "kappa 0.5 to 2", or "kappa 0.5" where all are alike."""
    if not len(values):
        return f"{name.replace('_', ' ')} undefined"
    low, high = number(float(values.min())), number(float(values.max()))
    return f"{name.replace('_', ' ')} {low}" + ("" if low == high else f" to {high}")
