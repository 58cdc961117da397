"""Initial conditions: random starts, stored ones, benchmark formulas. Names are imported when they are first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from solvers.initial.random_starts import noise
    from solvers.initial.stored_starts import from_file
    from solvers.initial.tessellation import voronoi

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={"random_starts": ["noise"], "stored_starts": ["from_file"], "tessellation": ["voronoi"]},
)
