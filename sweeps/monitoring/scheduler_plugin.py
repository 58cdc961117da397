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
from distributed import Client, Scheduler, SchedulerPlugin
from distributed.http.routing import RoutingApplication
from tornado import web

from sweeps.cluster.lazy_dashboard import lazy_dashboard
from sweeps.monitoring.facts import Facts

NAME = "phasetwin-watch"
PATH = "/phasetwin"
#: Sweeps whose facts are kept.
SWEEPS = 20


def publisher(client: Client) -> Callable[[Facts], None]:
    """A function that hands facts to the scheduler; it does nothing where the scheduler cannot show them.

    A scheduler that runs already may be without this package, which is no reason not to compute there.
    """
    try:
        client.register_plugin(WatchPlugin())
    except Exception:  # noqa: BLE001 whatever the other side raises is of the other side's making
        return lambda facts: None  # noqa: ARG005

    def send(facts: Facts) -> None:
        # The loss of the scheduler is reported where results are awaited.
        with contextlib.suppress(OSError, TimeoutError):
            client.run_on_scheduler(_put, facts)

    return send


def _put(facts: Facts, dask_scheduler: Scheduler) -> None:
    plugin = dask_scheduler.plugins[NAME]
    assert isinstance(plugin, WatchPlugin)
    plugin.put(facts)


class WatchPlugin(SchedulerPlugin):
    """Facts of sweeps in a scheduler."""

    name = NAME
    # A second sweep on the same scheduler finds this one there.
    idempotent = True

    def __init__(self) -> None:
        self.sweeps: OrderedDict[str, Facts] = OrderedDict()
        self.workers_lost = 0

    async def start(self, scheduler: Scheduler) -> None:
        """Add the page and the metrics to the scheduler's web server."""
        self.scheduler = scheduler
        server = scheduler.http_application
        lazy = lazy_dashboard(server)
        if lazy is not None:
            lazy.add(lambda: _add_page(self, server))
        if lazy is not None or _add_page(self, server):
            # Among the routes that are asked before the dashboard, which is loaded for all it alone can know.
            server.add_handlers(".*$", [(rf"{PATH}\.json", _Json, {"plugin": self})])
        _gauges().append(self)

    async def close(self) -> None:
        """Take the metrics back: the process may have another scheduler later."""
        with contextlib.suppress(ValueError):
            _gauges().remove(self)

    def remove_worker(self, scheduler: Scheduler, worker: str, **kwargs: Any) -> None:
        """Count workers that were lost, not closed."""
        del scheduler, worker
        if kwargs.get("stimulus_id", "").startswith(("handle-worker-cleanup", "check-worker-ttl")):
            self.workers_lost += 1

    def put(self, facts: Facts) -> None:
        self.sweeps[facts["store"]] = facts
        self.sweeps.move_to_end(facts["store"])
        while len(self.sweeps) > SWEEPS:
            self.sweeps.popitem(last=False)

    def facts(self) -> Facts | None:
        """Of the sweep with the latest facts, and of the workers; None before the first."""
        if not self.sweeps:
            return None
        return {**next(reversed(self.sweeps.values())), **self.machines()}

    def machines(self) -> Facts:
        workers = self.scheduler.workers.values()
        return {
            "workers": len(workers),
            "threads": sum(w.nthreads for w in workers),
            "workers_lost": self.workers_lost,
        }


class _Json(web.RequestHandler):
    """``{"sweeps": [...]}``, the one with the latest facts first."""

    def initialize(self, plugin: WatchPlugin) -> None:
        self._plugin = plugin

    def get(self) -> None:
        sweeps = [{**facts, **self._plugin.machines()} for facts in reversed(self._plugin.sweeps.values())]
        self.set_header("Content-Type", "application/json")
        self.write(json.dumps({"sweeps": sweeps}))


def _add_page(plugin: WatchPlugin, server: RoutingApplication) -> bool:
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


def _gauges() -> list[WatchPlugin]:
    """The schedulers of this process that are served to Prometheus; an unused list without its package."""
    try:
        from sweeps.monitoring.prometheus import collector
    except ImportError:
        return []
    return collector().plugins
