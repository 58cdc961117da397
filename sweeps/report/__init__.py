"""The report of a sweep, one page made from the store alone, and what reports of studies and twins share with it.

``page`` writes any report from sections, tables and figures; ``style`` is the look of figures, ``appearance`` that of
processes and quantities. Of a sweep: ``data`` reads the store, ``choices`` picks what stands for all, ``maps``,
``curves`` and ``montage`` draw, ``sections`` and ``overview`` put it together.
"""

from __future__ import annotations

import logging
from pathlib import Path

from sweeps.store.locations import local_path

logger = logging.getLogger("phasetwin")


def write_report(store_url: str, out_dir: str | Path | None = None) -> Path:
    """Write a self-contained HTML page about a sweep, and its figures as PNG files beside it; returns the page's path.

    Of a store that is still being filled it shows what is there.

    Args:
        store_url: of the store, a path or any fsspec URL.
        out_dir: folder to write into; None is ``<store without .zarr>-report`` beside a local store, in the current
            folder for a remote one.

    Raises:
        InputError: if there is no sweep's store at the URL.
    """
    # Matplotlib is loaded with these: `status` imports this package for how quantities are named.
    from sweeps.report.data import read_store
    from sweeps.report.overview import sweep_page

    folder = Path(out_dir) if out_dir else report_folder(str(store_url))
    data = read_store(str(store_url))
    if data.unfinished:
        logger.info(f"{data.name}: {data.unfinished}")
    return sweep_page(data).write(folder)


def report_folder(store_url: str) -> Path:
    """``runs/a.zarr`` -> ``runs/a-report``; reports about remote stores go into the current folder."""
    name = store_url.rstrip("/").rsplit("/", 1)[-1].removesuffix(".zarr") + "-report"
    path = local_path(store_url)
    return path.parent / name if path else Path(name)
