"""Initial conditions: random starts, stored ones, benchmark formulas."""

from __future__ import annotations

from solvers.initial.starts import from_file, noise, voronoi

__all__ = ["from_file", "noise", "voronoi"]
