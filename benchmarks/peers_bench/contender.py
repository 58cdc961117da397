"""What the benchmark needs to know of a contender, and which there are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Literal

from common.spectral import Array

from peers_bench.problem import FIRST

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

Setting = dict[str, str | int | float]
Solver = Callable[[Array], Array]
"""User fields (batch, n, n) at t = 0, float64 numpy -> the same at the end. The batch size may be any."""


@dataclass(frozen=True)
class Contender:
    """A library or scheme, the settings it is tried at, and how to build its solver.

    Args:
        name: shown in tables and plots.
        settings: everything that is scanned; plain values only (they end in the CSV).
        build: makes the solver for a setting. Called once per setting, not timed: coefficients and compilation are
            the warm state. The timed call starts and ends with numpy arrays on the user's grid.
        environment: ``"peers"`` runs in the peers' own environment, ``"project"`` in the one of this project.
        chunks: how many trajectories one solver call may take in batch mode; the best is reported. A library without
            a batched form has ``(1,)``.
        trajectories: on how many trajectories the error is judged (fewer for solvers that need seconds each).
        asked: whether its settings are what a user asks for rather than trials: all are timed, batches are of 64.
        note: one line for the report: variant, precision, what was written for it.
    """

    name: str
    settings: tuple[Setting, ...]
    build: Callable[[Setting], Solver]
    environment: Literal["peers", "project"] = "peers"
    chunks: tuple[int, ...] = (1, 8, 64)
    trajectories: int = 64
    asked: bool = False
    note: str = ""

    def indices(self, problem: str) -> list[int]:
        """Which of the settings are for a problem: all of the first, unless they name another."""
        return [i for i, setting in enumerate(self.settings) if setting.get("problem", FIRST.name) == problem]


def describe(setting: Setting) -> str:
    """A setting on one line: ``order=2 cells=72 steps=250``."""
    return " ".join(
        f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in setting.items()
        if key != "problem"
    )


def contenders_of(module: str) -> list[Contender]:
    """The contenders a module of ``peers_bench.contenders`` offers; it is imported here and where they run."""
    contenders: list[Contender] = import_module(f"peers_bench.contenders.{module}").CONTENDERS
    return contenders
