"""The facts of sweeps for Prometheus, beside Dask's own at ``/metrics``."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily

if TYPE_CHECKING:
    from sweeps.monitoring.scheduler_plugin import WatchPlugin


class SweepCollector:
    """Gauges of all sweeps on the schedulers of a process: Prometheus allows one gauge of each name in a process."""

    def __init__(self) -> None:
        self.plugins: list[WatchPlugin] = []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        points = GaugeMetricFamily("phasetwin_points", "Points of a sweep in a state", labels=["sweep", "state"])
        rate = GaugeMetricFamily("phasetwin_points_per_second", "Points finished per second", labels=["sweep"])
        left = GaugeMetricFamily("phasetwin_seconds_left", "Seconds until all points are done", labels=["sweep"])
        failed = GaugeMetricFamily("phasetwin_failed_samples", "Samples that failed or diverged", labels=["sweep"])
        for facts in [facts for plugin in self.plugins for facts in plugin.sweeps.values()]:
            for state, count in facts["states"].items():
                points.add_metric([facts["name"], state], count)
            rate.add_metric([facts["name"]], facts["rate_points_per_s"])
            if facts["seconds_left"] is not None:
                left.add_metric([facts["name"]], facts["seconds_left"])
            failed.add_metric([facts["name"]], facts["failure_count"])
        yield from (points, rate, left, failed)
        lost = sum(plugin.workers_lost for plugin in self.plugins)
        yield GaugeMetricFamily("phasetwin_workers_lost", "Workers that were lost", value=lost)


@cache
def collector() -> SweepCollector:
    """The one of this process, registered when it is first asked for."""
    found = SweepCollector()
    REGISTRY.register(found)
    return found
