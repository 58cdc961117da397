"""What a worker reports of a batch: a few numbers, never fields."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


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
