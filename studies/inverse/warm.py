"""What a study begins with: engines that are there, points of other stores, an emulator learned for it."""

from __future__ import annotations

from pathlib import Path

from studies.inverse.base import Prepared
from studies.inverse.driver import Driver, LazyClient, Say


def with_engines(prepared: Prepared, folder: Path, client: LazyClient, say: Say) -> tuple[Driver, Prepared]:
    from sweeps.engines import check_engine

    check_engine(prepared.exploring)
    driver = Driver(prepared, folder, client, say)
    return driver, prepared
