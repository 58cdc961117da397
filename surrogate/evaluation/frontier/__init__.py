"""Error against cost of the solver and of the learned models on this machine, and the engine that follows from it.

``cases``: what is computed. ``candidates``: who computes it. ``references``: the truth, computed once. ``errors``:
what is compared. ``measure``: a candidate's row. ``rows``: rows and their files. ``curves``: cost at equal error.
``machine``: this machine's table. ``choice``: the cheapest engine that meets a tolerance. ``bench``: a whole run.
``report``, ``picture``: how it is written down. ``cli``: ``phasetwin bench frontier``.

Names are imported when they are first used, and choosing from a table that is there needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from surrogate.evaluation.frontier.bench import ensure_table
    from surrogate.evaluation.frontier.choice import Choice, auto_choice, decide
    from surrogate.evaluation.frontier.machine import machine_table

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "bench": ["ensure_table"],
        "choice": ["Choice", "auto_choice", "decide"],
        "machine": ["machine_table"],
    },
)
