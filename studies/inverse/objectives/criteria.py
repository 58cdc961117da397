"""The objectives and constraints of a study, and what they make of features: losses, feasibility and merit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from studies.inverse.objectives.features import Feature
from studies.inverse.objectives.losses import Loss
from studies.inverse.objectives.pareto import fronts

#: Added to the merit of a point that violates a constraint, so that it ranks behind every point that violates none.
INFEASIBLE = 1e6


@dataclass(frozen=True)
class Criterion:
    """An objective or a constraint."""

    label: str  #: short name, such as ``domain_size@400``
    key: str  #: of the study's file, for messages
    feature: Feature  #: what is read of a point
    loss: Loss  #: of the feature
    units: str = "1"  #: of the quantity, for axes
    long_name: str = ""
    undefined: str = ""  #: when the quantity is not defined, in words; empty for never

    @property
    def target(self) -> float | None:
        """The number that is wanted, if it is one number."""
        target = getattr(self.loss, "target", None)
        return target if isinstance(target, float) else None


@dataclass(frozen=True)
class Assessment:
    """Points assessed by all criteria."""

    losses: np.ndarray  #: (point, objective)
    violations: np.ndarray  #: (point, constraint), 0 or less where met
    #: (point,), smaller is better: of a single objective its loss; of targets the root mean square of their losses
    #: relative to what is allowed; of other sets of objectives the depth in the order of dominance
    merit: np.ndarray

    @property
    def feasible(self) -> np.ndarray:
        return np.asarray((self.violations <= 0).all(axis=1))


@dataclass(frozen=True)
class Criteria(Sequence[Criterion]):
    """The criteria of a study: as a sequence, objectives come first, then constraints."""

    objectives: Sequence[Criterion]
    constraints: Sequence[Criterion]

    def __getitem__(self, index: int) -> Criterion:  # type: ignore[override]
        return [*self.objectives, *self.constraints][index]

    def __len__(self) -> int:
        return len(self.objectives) + len(self.constraints)

    @property
    def labels(self) -> list[str]:
        """Label of each criterion, without its time where that leaves them different."""
        full = [criterion.label for criterion in self]
        short = [
            label.split("@")[0] + (label[label.index("[", label.index("@")) :] if "[" in label.split("@")[-1] else "")
            for label in full
        ]
        return [s if short.count(s) == 1 else label for s, label in zip(short, full, strict=True)]

    @property
    def field_times(self) -> list[float]:
        """Times at which some criterion needs fields, increasing."""
        return sorted({t for criterion in self for t in criterion.feature.field_times})

    @property
    def signs(self) -> np.ndarray:
        """float64 (objective,): -1 where a quantity is to be large."""
        return np.array([criterion.loss.sign for criterion in self.objectives])

    @property
    def all_targets(self) -> bool:
        """Whether every objective is a distance, which cannot be below 0."""
        return all(criterion.loss.is_target for criterion in self.objectives)

    @property
    def is_pareto(self) -> bool:
        """Whether the answer is a front."""
        return len(self.objectives) > 1 and not self.all_targets

    def assess(self, features: Sequence[np.ndarray]) -> Assessment:
        """Assess points by their features, one array (point, realization, number) a criterion."""
        count = len(self.objectives)
        losses = np.stack([c.loss(f) for c, f in zip(self.objectives, features[:count], strict=True)], axis=1)
        rows = [c.loss(f) for c, f in zip(self.constraints, features[count:], strict=True)]
        violations = np.stack(rows, axis=1) if rows else np.zeros((len(losses), 0))
        merit = self._merit(losses) + np.where((violations <= 0).all(1), 0.0, INFEASIBLE)
        return Assessment(losses, violations, merit + np.maximum(violations, 0.0).sum(1) * INFEASIBLE)

    def _allowed(self) -> np.ndarray:
        return np.array([criterion.loss.allowed(0.0) for criterion in self.objectives])

    def _merit(self, losses: np.ndarray) -> np.ndarray:
        if self.all_targets:
            return np.sqrt(((losses / self._allowed()) ** 2).mean(axis=1))
        return losses[:, 0] if losses.shape[1] == 1 else fronts(losses).astype(np.float64)

    def met(self, losses: np.ndarray) -> np.ndarray:
        """bool (point,): every target met within its tolerance; False where some objective is no target."""
        if not self.all_targets:
            return np.zeros(len(losses), dtype=bool)
        return np.asarray((losses <= self._allowed()).all(axis=1))

    def summaries(self, features: Sequence[np.ndarray]) -> np.ndarray:
        """(point, criterion): the quantities as reported."""
        return np.stack([c.loss.summary(f) for c, f in zip(self, features, strict=True)], axis=1)
