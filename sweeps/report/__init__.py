"""The report of a sweep: one page to show to a colleague, made from the store alone.

``data`` reads the store; ``choices`` picks what stands for all; ``maps``, ``curves`` and ``montage`` draw;
``sections`` and ``page`` put it together.
"""

from __future__ import annotations

from pathlib import Path


def write_report(store_url: str, out_dir: str | Path | None = None) -> Path:
    """Write a self-contained HTML page about a sweep, and its figures as PNG files beside it.

    Works at any time: of a store that is still being filled it shows what is there.

    Args:
        store_url: of the store, a path or any fsspec URL.
        out_dir: folder to write into; None is ``<store without .zarr>-report`` beside a local store, in the
            current folder for a remote one.

    Returns:
        Path of ``index.html``.

    Raises:
        InputError: if there is no sweep's store at the URL.
    """
    from sweeps.report.data import read_store
    from sweeps.report.page import write_page

    return write_page(read_store(str(store_url)), Path(out_dir) if out_dir else report_folder(str(store_url)))


def report_folder(store_url: str) -> Path:
    """``runs/a.zarr`` -> ``runs/a-report``; reports about remote stores go into the current folder."""
    from sweeps.store.locations import local_path

    name = store_url.rstrip("/").rsplit("/", 1)[-1].removesuffix(".zarr") + "-report"
    path = local_path(store_url)
    return path.parent / name if path else Path(name)
