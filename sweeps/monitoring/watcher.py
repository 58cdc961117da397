"""Facts about a running sweep, gathered by the driver from its status table."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from sweeps.monitoring.facts import (
    FAILURES,
    Curves,
    Facts,
    count_states,
    failure_facts,
    parameter_map,
    point_states,
    time_left,
    verification_facts,
)
from sweeps.store.layout import DIVERGED, FAILED, PENDING

if TYPE_CHECKING:
    from distributed import Client

    from sweeps.execution.prepare import Prepared

logger = logging.getLogger("phasetwin")
#: Between two reports at least this long passes.
REPORT_SECONDS = 1.0

Publish = Callable[[Facts], None]


class Watcher:
    """Gathers facts about a run; ``publish`` writes a few of them where `phasetwin status` finds them."""

    def __init__(self, prepared: Prepared, publish: Publish) -> None:
        self._prepared, self._publish = prepared, publish
        self._started = time.time()
        self._before = len(prepared.pending) - int(prepared.pending.sum())
        self._curves = Curves(prepared.store)
        self._send: Publish | None = None
        self._reported = -np.inf
        self._warned = False
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
        """Publish the facts, if the last time was long enough ago or ``now``."""
        if not now and time.monotonic() - self._reported < REPORT_SECONDS:
            return
        self._reported = time.monotonic()
        try:
            state = point_states(self._prepared.store.table.status)
            progress = self._progress(state)
            self._publish(progress)
            if self._send is not None:
                self._send({**self.facts(state), **progress})
        except Exception as error:  # noqa: BLE001 errors of the dashboard never stop a run
            if not self._warned:
                logger.warning(f"note: cannot be watched: {type(error).__name__}: {error}")
            self._warned = True

    def _progress(self, state: np.ndarray) -> Facts:
        """What others see of the run without its dashboard."""
        finished = len(state) - count_states(state)["pending"]
        rate = max(0, finished - self._before) / max(1e-9, time.time() - self._started)
        checks = self._prepared.plan.estimate.check_share
        return {
            "phase": self.phase,
            "rate_points_per_s": round(rate, 4),
            "seconds_left": time_left(len(state), finished, rate, checks) if self.phase == "computing" else None,
            "updated": time.time(),
        }

    def facts(self, state: np.ndarray) -> Facts:
        """What the dashboard shows beside the progress."""
        plan, table = self._prepared.plan, self._prepared.store.table
        status = table.status
        return {
            "name": plan.config.name,
            "store": self._prepared.store.url,
            "dashboard": self.dashboard,
            "points": len(state),
            "realizations": status.shape[1],
            "states": count_states(state),
            "started": self._started,
            "map": parameter_map(plan.parameters, state),
            "curves": self._curves.read(state),
            "failure_count": int(np.isin(status, (FAILED, DIVERGED)).sum()),
            "failures": failure_facts(status, table.values["error"], plan.design_index, plan.parameters)[:FAILURES],
            **self._spot_checks_and_trust(),
        }

    def _spot_checks_and_trust(self) -> Facts:
        """Spot checks, and how many samples are not to be trusted and why, from the status table alone."""
        store = self._prepared.store
        found: Facts = {"verification": None, "trust": None}
        if self.phase == "finished":
            found["verification"] = verification_facts(store)
        if store.layout.learned:
            errors = store.table.values["error"]
            doubted = np.strings.startswith(errors, "not trusted")
            reasons = sorted({str(text).removeprefix("not trusted: ") for text in errors[doubted]})
            known = int((store.table.status != PENDING).sum())
            found["trust"] = {"samples": known, "trusted": known - int(doubted.sum()), "reasons": reasons[:20]}
        return found
