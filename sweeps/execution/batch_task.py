"""What travels between the driver and its workers: a batch to compute, and the report of one. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from sweeps.config.sweep import SweepConfig
from sweeps.execution.extensions import dumps_by_value, loads_from_driver, register_packed
from sweeps.store.layout import Layout

ERROR_LENGTH = 300


def one_line(error: BaseException) -> str:
    """An error as it is recorded with a point."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:ERROR_LENGTH]


@dataclass(frozen=True)
class Reuse:
    """Rows to copy from another store: ``source[i]`` there becomes ``target[i]`` of the batch."""

    url: str
    source: np.ndarray
    target: np.ndarray


@dataclass(frozen=True)
class BatchTask:
    """All a worker needs for one batch; small and picklable.

    Attributes:
        start, stop: its rows in storage order.
        parameters: name -> float64 (row,).
        rollout: int64 (row,), equal where a trajectory is shared.
        compute: bool (row,), rows to compute; rows neither here nor in ``reuse`` stay as they are in the store.
        group: sub-group of the store to write to.
        reference: tolerance of the reference solver, to compute with it instead of the configured engine.
        samples: bool (row, realization), the samples to compute of the rows, equal where they share a trajectory; None
            for all.
        environment: what a worker must be like (:mod:`sweeps.execution.worker_environment`); empty for no check.
        extensions: see :func:`sweeps.execution.extensions.packed_extensions`; empty where nothing was registered.
    """

    url: str
    config: SweepConfig
    layout: Layout
    number: int
    start: int
    stop: int
    parameters: dict[str, np.ndarray]
    rollout: np.ndarray
    compute: np.ndarray
    reuse: tuple[Reuse, ...] = ()
    group: str = ""
    reference: float | None = None
    samples: np.ndarray | None = None
    environment: tuple[tuple[str, str], ...] = ()
    extensions: bytes = b""

    def __reduce__(self) -> tuple[Any, ...]:
        values = tuple(getattr(self, item.name) for item in fields(self))
        if not self.extensions:
            return BatchTask, values
        # The configuration may be of a class that a worker knows only once the extensions are registered there.
        return _unpacked, (self.extensions, dumps_by_value(values))

    @property
    def rows(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class BatchOutcome:
    """The report of one batch, its shard being on disk: a few numbers, never fields.

    Attributes:
        start, stop: its rows in storage order.
        computed: bool (row,), rows computed or copied now; the others were left as they were.
        status: int8 (row, realization), see ``layout.STATUS_FLAGS``.
        errors: (row, realization) -> one line: what went wrong, or why a model is not to be trusted there.
        wall_s: seconds the worker spent.
        engine_of: (row, realization) -> name of the engine, where it is not ``engine``.
        reused: how many of the rows were copied from another store.
    """

    number: int
    start: int
    stop: int
    computed: np.ndarray
    status: np.ndarray
    errors: dict[tuple[int, int], str] = field(default_factory=dict)
    wall_s: float = 0.0
    engine: str = ""
    engine_of: dict[tuple[int, int], str] = field(default_factory=dict)
    reused: int = 0


def _unpacked(extensions: bytes, values: bytes) -> BatchTask:
    register_packed(extensions)
    return BatchTask(*loads_from_driver(values))
