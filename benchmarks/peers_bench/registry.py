"""Which contender modules exist. A module is imported in the environment it runs in and in the driver."""

from __future__ import annotations

from importlib import import_module

from peers_bench.contender import Contender

OURS = "ours"
MODULES = (
    OURS,
    "exponax_jax",
    "torchfsm_torch",
    "spectraletd_torch",
    "evoxels_jax",
    "pypde_numba",
    "plain_numpy",
)


def contenders_of(module: str) -> list[Contender]:
    """The contenders a module of ``peers_bench.contenders`` offers."""
    return list(import_module(f"peers_bench.contenders.{module}").contenders())


def find(module: str, name: str) -> Contender:
    """The contender called ``name`` in ``module``."""
    for contender in contenders_of(module):
        if contender.name == name:
            return contender
    raise KeyError(f"no contender {name!r} in {module}")
