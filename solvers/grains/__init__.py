"""Polycrystals: following many grains through time, labelled maps, neighbours. Names load when they are first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from solvers.grains.segmentation import boundary_threshold, label_grains

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"segmentation": ["boundary_threshold", "label_grains"]}
)
