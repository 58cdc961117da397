"""The dashboard of a scheduler in this process, loaded when the first of its pages is asked for.

Bokeh takes about as long to import as a small sweep takes to run, and few runs of seconds are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import dask
from distributed import Scheduler
from tornado import web
from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest


class LazyDashboard(web.Application):
    """Stands among the applications of a scheduler's web server until the dashboard takes its place.

    Args:
        scheduler: was started with its web server, and without a dashboard.
        settings: Dask's configuration for the dashboard.
    """

    def __init__(self, scheduler: Scheduler, settings: Mapping[str, object]) -> None:
        super().__init__()
        self._scheduler, self._settings = scheduler, settings
        self._further: list[Callable[[], object]] = []
        scheduler.http_application.add_application(self)

    def add(self, page: Callable[[], object]) -> None:
        """Have a function called, which adds a page, once the dashboard is there."""
        self._further.append(page)

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> HTTPMessageDelegate | None:  # type: ignore[override]
        """Whatever no other application of the server knows is asked here."""
        server = self._scheduler.http_application
        self._load(server)
        return server.find_handler(request, **kwargs)

    def _load(self, server: Any) -> None:
        from distributed.dashboard.scheduler import connect

        server.applications.remove(self)
        with dask.config.set(self._settings):
            connect(server, self._scheduler.http_server, self._scheduler)
        for page in self._further:
            page()


def lazy_dashboard(server: Any) -> LazyDashboard | None:
    """The one among the applications of a scheduler's web server; None where the dashboard is there, or off."""
    return next((app for app in server.applications if isinstance(app, LazyDashboard)), None)
