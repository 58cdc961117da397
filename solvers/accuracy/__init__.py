"""From a tolerance to steps and internal grids, and the measured error of what came out. Loads no torch."""

from solvers.accuracy.model import (
    HIGHEST_TOLERANCE,
    LOWEST_TOLERANCE,
    AccuracyModel,
    check_tolerance,
    finest_aim,
    internal_shape,
)

__all__ = ["HIGHEST_TOLERANCE", "LOWEST_TOLERANCE", "AccuracyModel", "check_tolerance", "finest_aim", "internal_shape"]
