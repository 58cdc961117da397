"""What a worker reports of a batch: a few numbers, never fields."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class BatchOutcome:
    """The report of one batch, its shard being on disk.

    Attributes:
        number: of the batch.
        start, stop: its rows in storage order.
        computed: bool (row,), rows computed or copied now; the others were left as they were.
        status: int8 (row, realization), see ``layout.STATUS_FLAGS``.
        errors: (row, realization) -> one line, where something went wrong.
        wall_s: seconds the worker spent.
        engine: name of the engine.
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
    reused: int = 0
