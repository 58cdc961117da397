"""From a tolerance to steps and internal grids (loads no torch), and the measured error of what came out.

The latter, :mod:`solvers.accuracy.error_control`, is imported by its own name.
"""

from solvers.accuracy.model import (
    HIGHEST_TOLERANCE,
    LOWEST_TOLERANCE,
    AccuracyModel,
    check_tolerance,
    finest_aim,
    internal_shape,
)

__all__ = ["HIGHEST_TOLERANCE", "LOWEST_TOLERANCE", "AccuracyModel", "check_tolerance", "finest_aim", "internal_shape"]
