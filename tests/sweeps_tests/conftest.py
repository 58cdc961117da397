"""Small sweeps for the tests of stores and runs: 16x16 cells, a dozen points."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from distributed import Client

from solvers.user_cache import cache_folder
from sweeps import Sweep
from sweeps.store.group import object_names

torch.set_num_threads(1)
TINY: dict[str, Any] = {
    "schema_version": 1,
    "name": "tiny",
    "process": "cahn_hilliard",
    "grid": {"shape": [16, 16]},
    "parameters": {"mobility": [0.5, 1.0, 2.0], "kappa": [0.7, 1.0, 1.3, 1.9]},
    "realizations": {"count": 2},
    "initial": {"kind": "noise"},
    "times": {"stop": 20, "count": 5},
    "engine": {"kind": "solver", "tolerance": 1.0e-2},
    "batch": {"rollouts": 1},
    "verify": {"count": 0},
}
# Tells of one computation, not of its result.
NOT_COMPARED = ("wall_s",)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What ``engine: auto`` measures goes into a folder of the tests, not into the user's."""
    with pytest.MonkeyPatch.context() as patch:
        if "NUMBA_CACHE_DIR" not in os.environ:  # machine code stays where it is
            patch.setenv("NUMBA_CACHE_DIR", str(cache_folder() / "kernels"))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def client() -> Iterator[Client]:
    """Workers as threads of this process: starts at once, and tests can replace what they run."""
    options: dict[str, Any] = {"n_workers": 1, "threads_per_worker": 2, "dashboard_address": ":0"}
    with Client(processes=False, **options) as started:
        yield started


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., Sweep]:
    """A function that makes a sweep of 12 points in 4 batches; its arguments replace top keys."""

    def make(store: str = "tiny.zarr", **changes: Any) -> Sweep:
        path = store if "://" in store else str(tmp_path / store)
        output = {"path": path, **changes.pop("output", {})}
        return Sweep.from_config({**TINY, "output": output, **changes})

    return make


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, client: Client) -> Callable[[int], Path]:
    """A function that gives the folder of the tiny sweep, done, with so many spot checks; computed once."""
    made: dict[int, Path] = {}

    def get(checks: int) -> Path:
        if checks not in made:
            made[checks] = tmp_path_factory.mktemp("finished") / "tiny.zarr"
            changes = {"output": {"path": str(made[checks])}, "verify": {"count": checks}}
            result = Sweep.from_config({**TINY, **changes}).run(client, progress=False)
            assert (result.computed, result.failed, result.diverged) == (12, (), 0)
        return made[checks]

    return get


@pytest.fixture
def stored(tiny: Callable[..., Sweep], finished: Callable[[int], Path]) -> Sweep:
    """The tiny sweep, done, in this test's own folder."""
    sweep = tiny()
    shutil.copytree(finished(0), sweep.store)
    return sweep


@pytest.fixture
def same_store() -> Callable[[str, str], None]:
    """A function that compares every array of two stores, and the bytes of every object of results."""
    return assert_same_store


def assert_same_store(first: str, second: str) -> None:
    a, b = (zarr.open_group(path, mode="r", use_consolidated=False) for path in (first, second))
    names = sorted(name for name, _ in a.members(max_depth=None))
    assert names == sorted(name for name, _ in b.members(max_depth=None))
    for name, array in a.members(max_depth=None):
        if isinstance(array, zarr.Group) or name.split("/")[-1] in NOT_COMPARED:
            continue
        np.testing.assert_array_equal(array[:], b[name][:], err_msg=name)  # type: ignore[index]
        for key in object_names(array):
            bytes_a, bytes_b = (Path(path, name, key).read_bytes() for path in (first, second))
            assert bytes_a == bytes_b, (name, key)


@pytest.fixture(scope="session")
def run_script() -> Callable[..., BaseProcess]:
    """A function that runs Python code in a new process, which leads its own group; ``ARGUMENTS`` are its texts.

    Processes are forked from one that has imported what is slow to import and started nothing yet.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sweeps.execution.run"])

    def start(code: str, *arguments: str) -> BaseProcess:
        lead = "import os; os.setsid()\n"
        process = context.Process(target=exec, args=(lead + code, {"ARGUMENTS": arguments}))
        process.start()
        return process

    return start
