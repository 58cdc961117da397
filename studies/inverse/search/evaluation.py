"""Points through the sweep engine: a batch of trials is a sweep with a table of points.

Stores, keys, shared trajectories, resuming, engines and failures are the sweep's own; a point that any store of the
study or of ``warm_start`` holds under the same key is copied from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from studies.inverse.objectives.criteria import Criterion
from studies.inverse.objectives.point_view import PointView
from sweeps import Sweep
from sweeps.config.sweep import SweepConfig
from sweeps.engines.registry import engine_kind
from sweeps.files import write_text
from sweeps.store.layout import DIVERGED, FAILED
from sweeps.store.store import Store

if TYPE_CHECKING:
    from distributed import Client

#: Share of the starts whose value must lie inside the band for a point to count as inside.
INSIDE = 0.5


class ComputedPoints(NamedTuple):
    """A store, and what its run did: points computed, points copied from other stores, and trajectories computed.

    Points that differ in the time scale alone share a trajectory; an emulator computes none.
    """

    url: str
    computed: int
    reused: int
    rollouts: int


@dataclass(frozen=True)
class Evaluation:
    """Results of an engine for points."""

    url: str  #: of the store
    features: list[np.ndarray]  #: for each criterion (point, realization, number); anything where not usable
    low: list[np.ndarray] | None  #: bands of the same shape; None where the engine has none
    high: list[np.ndarray] | None
    usable: np.ndarray  #: bool (point,), no sample failed or diverged, and every feature is defined
    trusted: np.ndarray  #: bool (point,), inside the engine's domain
    reasons: list[str]  #: (point,) why not usable or not trusted; empty where both
    keys: np.ndarray  #: 'S32' (point,)
    computed: int = 0  #: how many of the points were computed for it


@dataclass
class KnownPoints:
    """Which store holds which point, by key; 64 bytes a point and a little more."""

    stores: dict[bytes, str] = field(default_factory=dict)

    def add(self, url: str) -> None:
        """Add a store; points that another store holds already stay with that."""
        for key in Store.open(url).keys.tolist():
            self.stores.setdefault(key, url)

    def stores_with(self, keys: np.ndarray, but: str) -> list[str]:
        """Stores other than ``but`` that hold any of the keys, in the order of the keys."""
        found = (self.stores.get(key) for key in keys.tolist())
        return [url for url in dict.fromkeys(found) if url is not None and url != but]


def sweep_of(base: SweepConfig, stem: Path, columns: dict[str, np.ndarray], reuse: Sequence[str] = ()) -> Sweep:
    """The sweep of a table of points, its store at ``STEM.zarr`` and its table at ``STEM.csv``."""
    table = stem.with_suffix(".csv")
    # `repr` writes a number so that it is read back to the last bit.
    rows = [[repr(float(v)) for v in row] for row in zip(*columns.values(), strict=True)]
    write_text(table, "".join(",".join(row) + "\n" for row in [list(columns), *rows]))
    data = base.model_dump(mode="json")
    data["name"] = f"{base.name}-{stem.name}"[:100]
    data["parameters"] = {n: v for n, v in data["parameters"].items() if n not in columns}
    data["design"] = {"table": str(table.absolute())}
    data["output"]["path"] = str(stem.with_suffix(".zarr"))
    data["verify"]["count"] = 0
    data["reuse"] = list(reuse)
    return Sweep.from_config(data)


def run_points(
    base: SweepConfig, stem: Path, columns: dict[str, np.ndarray], client: Client | None, known: KnownPoints
) -> ComputedPoints:
    """Compute the points that no known store holds; raises InputError as :meth:`sweeps.Sweep.run` does."""
    sweep = sweep_of(base, stem, columns)
    sources = known.stores_with(sweep.plan().keys, sweep.store)
    if sources:
        sweep = sweep_of(base, stem, columns, sources)
    result = sweep.run(client, progress=False)
    known.add(sweep.store)
    own = sweep.plan().estimate.rollouts if engine_kind(base).makes_fields else 0
    rollouts = round(own * result.computed / result.points)
    return ComputedPoints(sweep.store, result.computed, result.reused, rollouts)


def read_points(url: str, criteria: Iterable[Criterion], rows: np.ndarray | None = None, group: str = "") -> Evaluation:
    """Results of a finished store, in the order of its table; ``rows`` and ``group`` as of :class:`PointView`."""
    criteria, view = list(criteria), PointView(url, rows, group)
    usable = np.asarray(~np.isin(view.get("status"), (FAILED, DIVERGED)).any(axis=1))
    reasons = [next((text for text in row if text), "") for row in view.get("error").tolist()]
    learned = "trust" in view and not group
    trusted = np.asarray((view.get("trust") >= 1).all(axis=1)) if learned else np.ones(len(usable), dtype=np.bool_)
    with np.errstate(invalid="ignore"):  # samples that failed are NaN
        features = [criterion.feature.read(view) for criterion in criteria]
        bands = [[c.feature.read(view, end) for c in criteria] for end in ("_low", "_high")] if learned else None
    for criterion, values in zip(criteria, features, strict=True):
        finite = np.isfinite(values).all(axis=(1, 2))
        for row in np.flatnonzero(usable & ~finite):
            why = f", which happens where {criterion.undefined}" if criterion.undefined else ""
            reasons[row] = reasons[row] or f"{criterion.label} is not defined{why}"
        usable &= finite
    low, high = bands or (None, None)
    return Evaluation(url, features, low, high, usable, trusted, reasons, view.get("key").astype("S32"))
