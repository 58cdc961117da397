"""How often bands hold the truth of fresh trajectories, and what is flagged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import binomtest

from solvers.errors import InputError
from solvers.grids.even_extension import extended
from surrogate.evaluation.calibration.samples import StoreRollouts
from surrogate.models.protocol import RolloutSurrogate
from surrogate.uncertainty.bands import WAVENUMBERS
from surrogate.uncertainty.conformal import CoverageRow, coverage_rows, hits
from surrogate.uncertainty.domain import SIDE


@dataclass(frozen=True)
class MeasuredCoverage:
    """Coverage and flags on some stores.

    ``flagged`` of the trajectories that the model took over are outside its domain, with ``low`` and ``high`` the exact
    99 % interval of that share; ``rows`` is the coverage per quantity and bin of lead, ``pooled`` that at all leads,
    ``by_store`` the same for each store; ``widths`` are median half-widths by quantity and bin (of the logarithm where
    bands are relative).
    """

    stores: tuple[str, ...]
    trajectories: int
    flagged: int
    low: float
    high: float
    rows: tuple[CoverageRow, ...]
    pooled: tuple[CoverageRow, ...]
    by_store: dict[str, tuple[CoverageRow, ...]]
    widths: dict[str, tuple[float | None, ...]]

    @property
    def share_flagged(self) -> float:
        """Of the samples that the model took over; NaN where there is none."""
        return self.flagged / self.trajectories if self.trajectories else float("nan")

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"share_flagged": self.flagged / max(1, self.trajectories)}


def measure_coverage(model: RolloutSurrogate, outcomes: Sequence[StoreRollouts]) -> MeasuredCoverage:
    """Coverage of a calibrated model's bands, and its flags, on trajectories that neither training nor calibration saw.

    A sample counts in the coverage whether it is flagged or not.

    Raises:
        InputError: for a model without bands.
    """
    calibration = model.calibration
    if calibration is None:
        raise InputError(f"model {model.name}: has no calibrated bands")
    found = [
        hits(
            calibration,
            o.predicted,
            o.truth,
            o.prediction.lead,
            age=o.prediction.ages,
            groups=o.prediction.groups,
            extra={WAVENUMBERS: o.prediction.wavenumbers},
        )
        for o in outcomes
    ]
    ends = (calibration.edges[0], calibration.edges[-1])
    edges, bins = calibration.edges, range(len(calibration.edges) - 1)
    flags = np.concatenate([~inside(model, o)[o.taken] for o in outcomes])
    interval = binomtest(int(flags.sum()), len(flags)).proportion_ci(0.99, "exact") if len(flags) else None
    return MeasuredCoverage(
        stores=tuple(o.name for o in outcomes),
        trajectories=len(flags),
        flagged=int(flags.sum()),
        low=float(interval.low) if interval else 0.0,
        high=float(interval.high) if interval else 1.0,
        rows=coverage_rows(found, calibration.edges, calibration.level),
        pooled=coverage_rows(found, ends, calibration.level),
        by_store={o.name: coverage_rows([h], ends, calibration.level) for o, h in zip(outcomes, found, strict=True)},
        widths={name: tuple(_median([h[name].widths(edges, i) for h in found]) for i in bins) for name in found[0]},
    )


def _median(parts: Sequence[np.ndarray]) -> float | None:
    """Of all values; None where there is none, or where it is infinite."""
    values = np.concatenate(parts)
    middle = float(np.median(values)) if values.size else np.inf
    return middle if np.isfinite(middle) else None


def inside(model: RolloutSurrogate, outcome: StoreRollouts) -> np.ndarray:
    """bool (sample,): whether samples are in the model's domain as it now is."""
    case, found = outcome.samples.case, outcome.prediction
    groups = {**found.groups, SIDE: np.full(case.count, model.domain.side_of(extended(case.grid).shape))}
    return model.domain.inside({n: groups[n] for n in model.domain.box}, found.features)
