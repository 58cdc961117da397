"""Error against cost of the solver and of the learned models on this machine, and the engine that follows from it.

``cases``: what is computed. ``candidates``: who computes it. ``references``: the truth, computed once. ``errors``:
what is compared. ``measure``: a candidate's row. ``rows``: rows and their files. ``curves``: cost at equal error.
``machine``: this machine's table. ``choice``: the cheapest engine that meets a tolerance. ``bench``: a whole run.
``report``, ``picture``: how it is written down. ``cli``: ``phasetwin bench frontier``.

Names are imported when they are first used, and choosing from a table that is there needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from surrogate.evaluation.frontier.bench import ensure_table
    from surrogate.evaluation.frontier.choice import Choice, auto_choice, decide
    from surrogate.evaluation.frontier.machine import machine_table

_HOME = {
    "Choice": "choice",
    "auto_choice": "choice",
    "decide": "choice",
    "ensure_table": "bench",
    "machine_table": "machine",
}

__all__ = ["Choice", "auto_choice", "decide", "ensure_table", "machine_table"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'surrogate.evaluation.frontier' has no attribute {name!r}")
    return getattr(importlib.import_module(f"surrogate.evaluation.frontier.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
