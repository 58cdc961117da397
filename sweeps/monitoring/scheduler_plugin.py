"""The scheduler's side of watching: it keeps the last facts of each sweep and serves them.

``/phasetwin`` is the page, ``/phasetwin.json`` the facts behind it, ``/metrics`` has them for Prometheus.
"""

from __future__ import annotations

import contextlib
import json
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import dask
from distributed import Client, SchedulerPlugin
from tornado import web

NAME = "phasetwin-watch"
PATH = "/phasetwin"
#: Sweeps whose facts are kept.
SWEEPS = 20


def publisher(client: Client) -> Callable[[dict[str, Any]], None]:
    """A function that hands facts to the scheduler; it does nothing where the scheduler cannot show them.

    A scheduler that runs already may be without this package, which is no reason not to compute there.
    """
    try:
        client.register_plugin(WatchPlugin())
    except Exception:  # noqa: BLE001 whatever the other side raises is of the other side's making
        return lambda facts: None  # noqa: ARG005

    def send(facts: dict[str, Any]) -> None:
        # A scheduler that is gone is noticed by whoever waits for results.
        with contextlib.suppress(OSError, TimeoutError):
            client.run_on_scheduler(_put, facts)

    return send


def _put(facts: dict[str, Any], dask_scheduler: Any) -> None:
    dask_scheduler.plugins[NAME].put(facts)


class WatchPlugin(SchedulerPlugin):
    """Facts of sweeps in a scheduler."""

    name = NAME
    # A second sweep on the same scheduler finds this one there.
    idempotent = True

    def __init__(self) -> None:
        self.sweeps: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self.workers_lost = 0

    async def start(self, scheduler: Any) -> None:
        """Add the page and the metrics to the scheduler's web server."""
        self.scheduler = scheduler
        if _add_page(self, scheduler.http_application):
            facts = web.Application([(rf"{PATH}\.json", _Json, {"plugin": self})])
            scheduler.http_application.add_application(facts)
        _gauges().append(self)

    async def close(self) -> None:
        """Take the metrics back: the process may have another scheduler later."""
        with contextlib.suppress(ValueError):
            _gauges().remove(self)

    def remove_worker(self, scheduler: Any, worker: str, **kwargs: Any) -> None:
        """Count workers that went without being told to."""
        del scheduler, worker
        if kwargs.get("stimulus_id", "").startswith(("handle-worker-cleanup", "check-worker-ttl")):
            self.workers_lost += 1

    def put(self, facts: dict[str, Any]) -> None:
        """Take over what a driver says of its sweep."""
        self.sweeps[facts["store"]] = facts
        self.sweeps.move_to_end(facts["store"])
        while len(self.sweeps) > SWEEPS:
            self.sweeps.popitem(last=False)

    def facts(self) -> dict[str, Any] | None:
        """Of the sweep that was heard of last, with what the scheduler knows itself; None before the first."""
        if not self.sweeps:
            return None
        return {**next(reversed(self.sweeps.values())), **self.machines()}

    def machines(self) -> dict[str, Any]:
        """Workers now, threads of them, and workers lost since the scheduler began."""
        workers = self.scheduler.workers.values()
        return {
            "workers": len(workers),
            "threads": sum(w.nthreads for w in workers),
            "workers_lost": self.workers_lost,
        }


class _Json(web.RequestHandler):
    """``{"sweeps": [...]}``, the one heard of last first."""

    def initialize(self, plugin: WatchPlugin) -> None:
        self._plugin = plugin

    def get(self) -> None:
        sweeps = [{**facts, **self._plugin.machines()} for facts in reversed(self._plugin.sweeps.values())]
        self.set_header("Content-Type", "application/json")
        self.write(json.dumps({"sweeps": sweeps}))


def _add_page(plugin: WatchPlugin, server: Any) -> bool:
    """The page, for the same visitors as Dask's own pages; False and none where the dashboard is off."""
    from bokeh.server.tornado import BokehTornado
    from distributed.dashboard.core import BokehApplication
    from tornado.ioloop import IOLoop

    from sweeps.monitoring.dashboard_page import draw

    others = [app for app in server.applications if isinstance(app, BokehTornado)]
    if not others:
        return False
    origins = sorted(others[0].websocket_origins)
    with dask.config.set({"distributed.scheduler.dashboard.bokeh-application.allow_websocket_origin": origins}):
        page = BokehApplication({PATH: lambda scheduler, extra, doc: draw(plugin, doc)}, plugin.scheduler)  # noqa: ARG005
    server.add_application(page)
    page.initialize(IOLoop.current())
    page.start()
    return True


def _gauges() -> list[Any]:
    """The schedulers of this process that Prometheus is told of; a list of no use without its package."""
    try:
        from sweeps.monitoring.prometheus import collector
    except ImportError:
        return []
    return collector().plugins
