"""How much a sweep's spot checks solve again, and how accurately, from what the sweep itself is estimated to take.

Nothing here looks at a clock: the choice decides what is in the store, and a run that was killed has to come to the
same one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweeps.engines.reference import assumed_tolerances, reference_dtype

if TYPE_CHECKING:
    from sweeps.config.sweep import SweepConfig

#: Seconds of one core that spot checks may always take: less than anything around them.
ALWAYS_SECONDS = 0.25


@dataclass(frozen=True)
class CheckBudget:
    """What spot checks may solve.

    Attributes:
        points: checked.
        rollouts: distinct trajectories among them, where the points can be chosen so.
        realizations: of each of these.
        tolerance: of the reference solver; that of an engine with bands follows from them once they are there.
        seconds: of one core; a guess.
    """

    points: int
    rollouts: int
    realizations: int
    tolerance: float
    seconds: float


def check_budget(
    config: SweepConfig,
    points: int,
    rollouts: int,
    computing: float,
    solving: Callable[[float, str], float],
    count: int | None = None,
) -> CheckBudget:
    """What fits into ``verify.share`` of the computing, at least one trajectory.

    A ``count`` that is given, here or in the file, stays the number of points.

    Args:
        config: of the sweep.
        points, rollouts: how many the sweep has.
        computing: estimated seconds of the sweep.
        solving: (tolerance, dtype) -> estimated seconds of one reference trajectory.
        count: of points; None for ``verify.count``.
    """
    verify = config.verify
    asked = count is not None or "count" in verify.model_fields_set
    wanted = min(points, verify.count if count is None else count)
    if not wanted:
        return CheckBudget(0, 0, 0, 0.0, 0.0)
    seconds = max(verify.share * computing, ALWAYS_SECONDS)
    dtype = reference_dtype(config)
    # The most accurate of which one trajectory fits.
    options = [(tolerance, solving(tolerance, dtype)) for tolerance in assumed_tolerances(config)]
    tolerance, each = next((option for option in options if option[1] <= seconds), options[-1])
    affordable = max(1, int(seconds / each)) if each else wanted
    distinct = min(wanted, rollouts, affordable)
    together = -(-points // rollouts)
    if asked:
        distinct = max(distinct, -(-wanted // together))
    realizations = min(config.realizations.count, max(1, affordable // distinct))
    seconds = distinct * realizations * each
    return CheckBudget(min(wanted, distinct * together), distinct, realizations, tolerance, seconds)
