"""Whether every worker runs the same program and models as the driver, found out before anything is computed."""

from __future__ import annotations

import hashlib
import platform
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from solvers.errors import InputError
from solvers.registries import installed_extensions
from sweeps.execution.extensions import dumps_by_value, loads_from_driver, packed_extensions, register_packed
from sweeps.store.provenance import installed_version

if TYPE_CHECKING:
    from distributed import Client

    from sweeps.config.sweep import SweepConfig
    from sweeps.engines.registry import EngineBlock

#: Packages that decide numbers, or the messages between worker and driver.
PACKAGES = ("phasetwin", "torch", "numpy", "numba", "zarr", "distributed")
ROOMS = ("solvers", "surrogate", "sweeps")
EXTENSION_GROUPS = ("phasetwin.processes", "phasetwin.qois", "phasetwin.engines")


@lru_cache(maxsize=1)
def program() -> dict[str, str]:
    """Versions of what computes here, and a hash of this program's source."""
    found = {"python": ".".join(platform.python_version_tuple()[:2])}
    # 2.13.0+cpu and 2.13.0+cu130 are builds of the same version.
    found |= {name: installed_version(name).partition("+")[0] for name in PACKAGES}
    return {**found, **installed_extensions(*EXTENSION_GROUPS), "source": source_hash()}


def source_hash() -> str:
    """Hash of the source files of this program, 16 hexadecimal digits."""
    digest, root = hashlib.blake2b(digest_size=8), Path(__file__).resolve().parents[2]
    for room in ROOMS:
        for path in sorted((root / room).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def environment(engine: EngineBlock) -> dict[str, str]:
    """What must be the same everywhere: the program, and the model of a learned engine."""
    return {**program(), "weights": _fingerprint(engine)}


def _environment_there(extensions: bytes, engine: bytes) -> dict[str, str]:
    """:func:`environment` on a worker, which may know the class of the block only with the extensions."""
    if extensions:
        register_packed(extensions)
    return environment(loads_from_driver(engine))


def _fingerprint(engine: EngineBlock) -> str:
    try:
        return engine.model_fingerprint()
    except (InputError, OSError) as error:
        return f"not there ({error})"


def check_workers(client: Client, config: SweepConfig) -> None:
    """Compare all workers that are there with this process.

    Raises:
        InputError: naming the worker and what differs.
    """
    from distributed.comm import CommClosedError

    here = environment(config.engine)
    packed = packed_extensions(), dumps_by_value(config.engine)
    for worker, there in client.run(_environment_there, *packed, on_error="return").items():
        if isinstance(there, CommClosedError):
            continue  # it has just gone; the one that takes its place compares itself (:func:`check_here`)
        if isinstance(there, BaseException):
            what = " ".join(str(there).split())[:200]
            raise InputError(f"cluster: worker {worker} cannot run this program ({type(there).__name__}: {what})")
        refuse_other(worker, here, there)


def refuse_other(worker: str, here: dict[str, str], there: dict[str, str]) -> None:
    """Raises InputError for a worker that differs."""
    different = [
        f"{name} {there.get(name)} there, {value} here" for name, value in here.items() if there.get(name) != value
    ]
    if different:
        raise InputError(f"cluster: worker {worker} runs something else than this driver: {'; '.join(different)}")


@lru_cache(maxsize=8)
def _same_as(expected: tuple[tuple[str, str], ...], engine: EngineBlock) -> None:
    refuse_other(platform.node() or "?", dict(expected), environment(engine))


def check_here(expected: tuple[tuple[str, str], ...], engine: EngineBlock) -> None:
    """On a worker, which may have joined after the driver looked: raises InputError, once a process, if it differs."""
    if expected:
        _same_as(expected, engine)
