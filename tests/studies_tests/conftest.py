"""What the tests of studies share: one client with workers as threads, so that tests can replace what they run."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from distributed import Client

torch.set_num_threads(1)


def _make_importable(name: str) -> None:
    """Test modules are imported by path (``--import-mode=importlib``) and cannot import their neighbours by
    themselves.
    """
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])


_make_importable("inverse_studies")


@pytest.fixture(scope="session")
def client() -> Iterator[Client]:
    options: dict[str, Any] = {"n_workers": 1, "threads_per_worker": 2, "dashboard_address": ":0"}
    with Client(processes=False, **options) as started:
        yield started
