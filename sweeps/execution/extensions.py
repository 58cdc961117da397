"""Processes, quantities, engines and readers that were registered by a call travel to the workers with the tasks.

Those of installed packages need not: every worker finds their entry points itself. The rest is pickled by value, code
included, for the module that defines it (a script, a notebook, a test) cannot be imported elsewhere; what that module
imports must be importable on the workers.
"""

from __future__ import annotations

import contextlib
import pickle
import sys
import sysconfig
from collections.abc import Iterator
from functools import lru_cache
from types import ModuleType
from typing import Any

import cloudpickle

from solvers.frame_readers import READERS, FrameReader
from solvers.processes.registry import PROCESSES, Process
from solvers.qois.registry import QOIS, Qoi
from solvers.registries import modules_of
from sweeps.engines.registry import ENGINES, EngineKind
from sweeps.inputs.strict_model import rebuild_models

Extension = Process | Qoi | EngineKind | FrameReader


def registered_extensions() -> list[Extension]:
    """What was registered by a call in this process."""
    return [
        *PROCESSES.registered().values(),
        *QOIS.registered().values(),
        *ENGINES.registered().values(),
        *READERS.registered().values(),
    ]


def packed_extensions() -> bytes:
    """:func:`registered_extensions`, for :func:`register_packed`; empty where there are none."""
    found = registered_extensions()
    return dumps_by_value(found) if found else b""


def dumps_by_value(value: object) -> bytes:
    """Pickle something that may hold classes and functions of the modules that define extensions."""
    with _by_value(_defining_modules()):
        return cloudpickle.dumps(value)


def loads_from_driver(content: bytes) -> Any:
    """What :func:`dumps_by_value` packed. Only for what came over Dask's connection, never for a file."""
    return pickle.loads(content)


@lru_cache(maxsize=16)
def register_packed(content: bytes) -> None:
    """Register, on a worker, what :func:`packed_extensions` packed; once in each process."""
    for item in loads_from_driver(content):
        if isinstance(item, Process):
            PROCESSES.adopt(item)
        elif isinstance(item, Qoi):
            QOIS.adopt(item)
        elif isinstance(item, FrameReader):
            READERS.adopt(item)
        else:
            ENGINES.adopt(item)
    rebuild_models()


def _defining_modules() -> list[ModuleType]:
    """Modules of registered extensions that are no part of an installed package."""
    names = {name for item in registered_extensions() for name in modules_of(item)}
    modules = [sys.modules[name] for name in sorted(names) if name in sys.modules and name != "__main__"]
    installed = tuple(sysconfig.get_paths()[place] for place in ("purelib", "platlib", "stdlib"))
    own = ("solvers", "sweeps", "surrogate", "studies")
    return [
        module
        for module in modules
        if not str(getattr(module, "__file__", None) or installed[0]).startswith(installed)
        and module.__name__.partition(".")[0] not in own
    ]


@contextlib.contextmanager
def _by_value(modules: list[ModuleType]) -> Iterator[None]:
    before = cloudpickle.list_registry_pickle_by_value()
    fresh = [module for module in modules if module.__name__ not in before]
    for module in fresh:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in fresh:
            cloudpickle.unregister_pickle_by_value(module)
