"""The driver's side of watching: it has the book, so it alone tells how far the sweep is."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeps.monitoring.facts import FAILURES, Curves, count_states, parameter_map, point_states, time_left
from sweeps.store.layout import DIVERGED, FAILED, PENDING, STATUS_FLAGS

if TYPE_CHECKING:
    from distributed import Client

    from sweeps.execution.prepare import Prepared

logger = logging.getLogger("phasetwin")
#: Between two reports at least this long passes.
REPORT_SECONDS = 1.0

Tell = Callable[[dict[str, Any]], None]


class Watcher:
    """Gathers facts about a run, and hands them on.

    Args:
        prepared: the store being filled.
        tell: writes a few of them where `phasetwin status` finds them.
    """

    def __init__(self, prepared: Prepared, tell: Tell) -> None:
        self._prepared, self._tell = prepared, tell
        self._started = time.time()
        self._before = len(prepared.pending) - int(prepared.pending.sum())
        layout = prepared.layout
        self._curves = Curves(prepared.root, layout.process, layout.times, layout.points)
        self._send: Callable[[dict[str, Any]], None] | None = None
        self._reported = -np.inf
        self._troubled = False
        self.phase = "computing"
        self.dashboard = ""

    def connect(self, client: Client, link: str) -> None:
        """Have the facts shown in the dashboard of a client's scheduler, which is at ``link``, from now on."""
        from sweeps.monitoring.scheduler_plugin import publisher

        self._send = publisher(client)
        self.dashboard = link
        self.report(now=True)

    def enter(self, phase: str) -> None:
        """Say what the run is at: ``computing``, ``verifying`` or ``finished``."""
        self.phase = phase
        self.report(now=True)

    def report(self, now: bool = False) -> None:
        """Hand on the facts, if the last time was long enough ago or ``now``."""
        if not now and time.monotonic() - self._reported < REPORT_SECONDS:
            return
        self._reported = time.monotonic()
        try:
            self._hand_on(self.facts())
        except Exception as error:  # noqa: BLE001 nobody's night of computing ends because it cannot be watched
            if not self._troubled:
                logger.warning(f"note: cannot be watched: {type(error).__name__}: {error}")
            self._troubled = True

    def _hand_on(self, facts: dict[str, Any]) -> None:
        self._tell({name: facts[name] for name in ("phase", "rate_points_per_s", "seconds_left", "updated")})
        if self._send is not None:
            self._send(facts)

    def facts(self) -> dict[str, Any]:
        """All there is to know now, fit for JSON."""
        prepared, status = self._prepared, self._prepared.ledger.status
        state = point_states(status)
        counts = count_states(state)
        finished = len(state) - counts["pending"]
        rate = max(0, finished - self._before) / max(1e-9, time.time() - self._started)
        return {
            "name": prepared.plan.config.name,
            "store": prepared.url,
            "phase": self.phase,
            "dashboard": self.dashboard,
            "points": len(state),
            "realizations": status.shape[1],
            "states": counts,
            "started": self._started,
            "updated": time.time(),
            "rate_points_per_s": round(rate, 4),
            "seconds_left": time_left(len(state), finished, rate) if self.phase == "computing" else None,
            "map": parameter_map(prepared.plan.parameters, state),
            "curves": self._curves.read(state),
            "failure_count": int(np.isin(status, (FAILED, DIVERGED)).sum()),
            "failures": self._failures(status),
            **self._checked(),
        }

    def _failures(self, status: np.ndarray) -> list[dict[str, Any]]:
        plan, errors = self._prepared.plan, self._prepared.ledger.values["error"]
        names = {number: name for name, number in STATUS_FLAGS.items()}
        return [
            {
                "point": int(plan.design_index[row]),
                "realization": int(realization),
                "parameters": {name: float(v[row]) for name, v in plan.parameters.items()},
                "status": names[int(status[row, realization])],
                "error": str(errors[row, realization]),
            }
            for row, realization in np.argwhere(np.isin(status, (FAILED, DIVERGED)))[:FAILURES]
        ]

    def _checked(self) -> dict[str, Any]:
        """Spot checks, and how many samples are not to be trusted and why, from the book alone."""
        from sweeps.monitoring.status import verification_of

        ledger = self._prepared.ledger
        found: dict[str, Any] = {"verification": None, "trust": None}
        if self.phase == "finished":
            found["verification"] = verification_of(self._prepared.root)
        if self._prepared.layout.learned:
            errors = ledger.values["error"]
            doubted = np.strings.startswith(errors, "not trusted")
            reasons = sorted({str(text).removeprefix("not trusted: ") for text in errors[doubted]})
            known = int((ledger.status != PENDING).sum())
            found["trust"] = {"samples": known, "trusted": known - int(doubted.sum()), "reasons": reasons[:20]}
        return found
