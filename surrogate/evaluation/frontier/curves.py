"""From measured points (error, cost) to the cost of an accuracy. Nothing is extrapolated."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from surrogate.evaluation.frontier.rows import Measure, Row

Point = tuple[float, float]
#: Errors at which costs are compared.
TARGETS: dict[Measure, tuple[float, ...]] = {"field": (0.3, 0.2, 0.1, 0.05, 0.02), "qoi": (0.05, 0.02)}


def envelope(points: Iterable[Point]) -> list[Point]:
    """The points (error, cost) that no other beats in both, from the cheapest to the most accurate."""
    kept: list[Point] = []
    for error, cost in sorted(
        (p for p in points if all(math.isfinite(v) and v > 0 for v in p)), key=lambda p: (p[1], p[0])
    ):
        if not kept or error < kept[-1][0]:
            kept.append((error, cost))
    return kept


def cost_at(points: Iterable[Point], error: float) -> float | None:
    """Cost of an error along the envelope, straight in both logarithms; None where no point reaches it.

    For an error looser than all that was measured it is the cost of the cheapest point, which meets it.
    """
    kept = envelope(points)
    for position, (found, cost) in enumerate(kept):
        if found <= error:
            if position == 0:
                return cost
            before, cheaper = kept[position - 1]
            share = math.log(before / error) / math.log(before / found)
            return float(cheaper * (cost / cheaper) ** share)
    return None


@dataclass(frozen=True)
class SpeedUp:
    """A model against the solver at one error in one case, its best where ``own``; None where not reached."""

    case: str
    model: str
    measure: Measure
    error: float
    solver_ms: float | None
    model_ms: float | None
    own: bool = False

    @property
    def ratio(self) -> float | None:
        """How many times cheaper the model is; None where one of them does not reach the error."""
        if self.solver_ms is None or self.model_ms is None:
            return None
        return self.solver_ms / self.model_ms

    def text(self) -> str:
        """The ratio, or who does not reach the error."""
        if self.ratio is not None:
            return f"{self.ratio:.3g}"
        both = self.solver_ms is None and self.model_ms is None
        who = "either" if both else "the solver" if self.solver_ms is None else "the model"
        return f"not reached by {who}"


def speed_ups(rows: Sequence[Row]) -> list[SpeedUp]:
    """Every model against the solver's envelope in every case: at :data:`TARGETS`, then at the model's best error."""
    found = []
    for case in dict.fromkeys(row.case for row in rows):
        here = [row for row in rows if row.case == case]
        for model in dict.fromkeys(row.model for row in here if row.kind == "model"):
            for measure, targets in TARGETS.items():
                solver, own = _points(here, "solver", "", measure), _points(here, "model", model, measure)
                at = [(error, False) for error in targets] + [(front[0], True) for front in envelope(own)[-1:]]
                found += [
                    SpeedUp(case, model, measure, error, cost_at(solver, error), cost_at(own, error), best)
                    for error, best in at
                ]
    return found


def _points(rows: Sequence[Row], kind: str, model: str, measure: Measure) -> list[Point]:
    return [(row.error(measure), row.ms) for row in rows if row.kind == kind and row.model == model]
