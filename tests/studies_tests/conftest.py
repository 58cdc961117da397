"""What the tests of studies share: one client with workers as threads, so that tests can replace what they run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from distributed import Client

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def client() -> Iterator[Client]:
    options: dict[str, Any] = {"n_workers": 1, "threads_per_worker": 2, "dashboard_address": ":0"}
    with Client(processes=False, **options) as started:
        yield started
