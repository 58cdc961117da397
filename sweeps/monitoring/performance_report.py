"""Dask's own report of a run: the task stream, the profile of workers, bandwidths; one HTML page."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sweeps.report import report_folder

if TYPE_CHECKING:
    from distributed import Client


@contextlib.contextmanager
def performance(client: Client, store: str) -> Iterator[None]:
    """Save what the cluster does while the block runs as ``performance-TIME.html`` beside the sweep's report."""
    from distributed import performance_report

    folder = report_folder(store)
    folder.mkdir(parents=True, exist_ok=True)
    name = time.strftime("performance-%Y%m%d-%H%M%S.html", time.gmtime())
    with client.as_current(), performance_report(filename=str(folder / name)):
        yield
