"""Points through the sweep engine: one batch of a study is one sweep with a table of points.

Store, keys, sharing of trajectories, resume, engines and failures are the sweep's own; a point that any store of the
study or of ``warm_start`` knows under the same key is copied from there.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from studies.inverse.objectives.aims import Term
from studies.inverse.objectives.features import PointView
from sweeps import Sweep
from sweeps.config.sweep import SweepConfig
from sweeps.files import write_text
from sweeps.store.layout import DIVERGED, FAILED
from sweeps.store.store import open_store, stored_keys

if TYPE_CHECKING:
    from distributed import Client

#: Share of the starts whose value must lie inside the band for a point to count as inside.
INSIDE = 0.5


@dataclass(frozen=True)
class Evaluation:
    """What an engine says of points.

    Attributes:
        url: of the store.
        features: for each term (point, realization, number).
        low, high: bands of the same shape; None where the engine has none.
        usable: bool (point,), no sample failed or diverged.
        trusted: bool (point,), inside the engine's domain.
        reasons: (point,) why not.
        keys: 'S32' (point,).
        computed, reused, rollouts: points computed now, copied from other stores, and trajectories that took (points
        that differ in mobility alone share one; an emulator takes none).
    """

    url: str
    features: list[np.ndarray]
    low: list[np.ndarray] | None
    high: list[np.ndarray] | None
    usable: np.ndarray
    trusted: np.ndarray
    reasons: list[str]
    keys: np.ndarray
    computed: int = 0
    reused: int = 0
    rollouts: int = 0


@dataclass
class KnownPoints:
    """Which store holds which point, by key; 64 bytes a point and a little more."""

    places: dict[bytes, str] = field(default_factory=dict)

    def add(self, url: str) -> None:
        """Take in a store; what is known already stays where it was found first."""
        for key in stored_keys(open_store(url)).tolist():
            self.places.setdefault(key, url)

    def stores_with(self, keys: np.ndarray, but: str) -> list[str]:
        """Stores that hold any of the keys, in the order in which they are met."""
        found = (self.places.get(key) for key in keys.tolist())
        return [url for url in dict.fromkeys(found) if url is not None and url != but]


def write_table(path: Path, columns: dict[str, np.ndarray]) -> None:
    """A table design, numbers written so that they are read back to the last bit."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([repr(float(v)) for v in row] for row in zip(*columns.values(), strict=True))
    write_text(path, buffer.getvalue())


def sweep_of(base: SweepConfig, place: Path, columns: dict[str, np.ndarray], reuse: Sequence[str] = ()) -> Sweep:
    """The sweep of a table of points, at ``PLACE.zarr`` with its table at ``PLACE.csv``."""
    table = place.with_suffix(".csv")
    write_table(table, columns)
    data: dict[str, Any] = base.model_dump(mode="json")
    data["name"] = f"{base.name}-{place.name}"[:100]
    data["parameters"] = {n: v for n, v in data["parameters"].items() if n not in columns}
    data["design"] = {"table": str(table.absolute())}
    data["output"]["path"] = str(place.with_suffix(".zarr"))
    data["verify"]["count"] = 0
    data["reuse"] = list(reuse)
    return Sweep.from_config(data)


def run_points(
    base: SweepConfig, place: Path, columns: dict[str, np.ndarray], client: Client | None, known: KnownPoints
) -> tuple[str, tuple[int, int, int]]:
    """Compute what no store knows; returns the store's URL, and points computed, points copied, trajectories.

    Raises:
        InputError: as :meth:`sweeps.Sweep.run` does.
    """
    sweep = sweep_of(base, place, columns)
    sources = known.stores_with(sweep.plan().keys, sweep.store)
    if sources:
        sweep = sweep_of(base, place, columns, sources)
    result = sweep.run(client, progress=False)
    known.add(sweep.store)
    estimate = sweep.plan().estimate
    own = 0 if base.engine.kind == "emulator" else estimate.rollouts
    return sweep.store, (result.computed, result.reused, round(own * result.computed / result.points))


def read_points(
    url: str,
    terms: Sequence[Term],
    rows: np.ndarray | None = None,
    counts: tuple[int, int, int] = (0, 0, 0),
    group: str = "",
) -> Evaluation:
    """What a finished store says of its points, in the order of its table."""
    view = PointView(url, rows, group)
    status = view.get("status")
    usable = np.asarray(~np.isin(status, (FAILED, DIVERGED)).any(axis=1))
    errors = view.get("error").tolist()
    learned = "trust" in view and not group
    trusted = np.asarray((view.get("trust") >= 1).all(axis=1)) if learned else np.ones(len(usable), dtype=np.bool_)
    # What has failed is NaN; features of it are never looked at.
    with np.errstate(invalid="ignore"):
        features = [term.feature.read(view) for term in terms]
        ends = [[term.feature.read(view, end) for term in terms] for end in ("_low", "_high")] if learned else None
    for values in features:
        usable &= np.isfinite(values).all(axis=(1, 2))
    return Evaluation(
        url=url,
        features=features,
        low=ends[0] if ends else None,
        high=ends[1] if ends else None,
        usable=usable,
        trusted=trusted,
        reasons=[next((text for text in row if text), "") for row in errors],
        keys=view.get("key").astype("S32"),
        computed=counts[0],
        reused=counts[1],
        rollouts=counts[2],
    )
