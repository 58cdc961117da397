"""From measured (error, cost) points to the cost of an accuracy. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def summarise(errors: Sequence[float]) -> dict[str, float]:
    """Median, root mean square and worst of per-trajectory relative errors; infinite where a run diverged."""
    values = np.asarray(errors, dtype=float)
    return {
        "median": float(np.median(values)),
        "rms": float(np.sqrt(np.mean(values**2))),
        "worst": float(values.max()),
    }


def front(errors: Sequence[float], costs: Sequence[float]) -> list[int]:
    """Indices of the points that no other beats in both error and cost, from the cheapest to the most accurate."""
    order = sorted(
        (i for i, error in enumerate(errors) if math.isfinite(error) and error > 0), key=lambda i: (costs[i], errors[i])
    )
    kept: list[int] = []
    for i in order:
        if not kept or errors[i] < errors[kept[-1]]:
            kept.append(i)
    return kept


def near_front(errors: Sequence[float], costs: Sequence[float], slack: float) -> list[int]:
    """Indices whose cost is within a factor ``slack`` of the cheapest point that is at least as accurate.

    Costs of a first pass are noisy, so more than the front itself is worth measuring again.
    """
    chosen = []
    for i, error in enumerate(errors):
        if math.isfinite(error):
            cheapest = min(cost for other, cost in zip(errors, costs, strict=True) if other <= error)
            if costs[i] <= slack * cheapest:
                chosen.append(i)
    return chosen


def first_reaching(errors: Sequence[float], costs: Sequence[float], target: float) -> int | None:
    """Index of the cheapest measured point with an error of at most ``target``; None if there is none."""
    reaching = [i for i, error in enumerate(errors) if error <= target]
    return min(reaching, key=lambda i: costs[i]) if reaching else None


def interpolated_cost(errors: Sequence[float], costs: Sequence[float], target: float) -> float | None:
    """Cost at ``target`` along the front, straight in log error and log cost; None where the front does not reach.

    The cheapest point of the front stands for every looser target. Across a stability limit this flatters a scheme,
    so the first measured point that reaches the target is the number to quote.
    """
    kept = front(errors, costs)
    for position, i in enumerate(kept):
        if errors[i] <= target:
            if position == 0:
                return costs[i]
            before = kept[position - 1]
            share = math.log(errors[before] / target) / math.log(errors[before] / errors[i])
            return math.exp(math.log(costs[before]) + share * math.log(costs[i] / costs[before]))
    return None
