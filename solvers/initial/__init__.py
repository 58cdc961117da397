"""Initial conditions: random starts, stored ones, benchmark formulas. Names are imported when they are first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from solvers.initial.random_starts import noise, voronoi
    from solvers.initial.stored_starts import from_file

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"random_starts": ["noise", "voronoi"], "stored_starts": ["from_file"]}
)
