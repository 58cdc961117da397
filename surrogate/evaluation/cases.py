"""A case: films of one process with a known continuation. Protocols are cases, and so are clips of others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from solvers.errors import InputError
from surrogate.evaluation.metrics import Edges
from surrogate.evaluation.physics import Problem
from surrogate.evaluation.protocol import Protocol
from surrogate.evaluation.references import CACHE, References

# Statistics are taken at about this many of the forecast frames; images are compared at all of them.
_SAMPLED = 20


@dataclass(frozen=True)
class Case:
    """Films to be continued.

    Attributes:
        name: for tables and files.
        process: ``"cahn_hilliard"`` or ``"grain_growth"``.
        description: a sentence or two: what the films are.
        times: (frame,) ages of all frames, in the problem's time.
        n_in: frames that go in.
        horizons: numbers of forecast frames that are reported.
        count: how many films.
        problem: indices of films -> their problem, a batch.
        fields: indices of films -> (n, frame, y, x) float32.
        edges: how the SSIM treats the edges.
        persistence: RMSE that persistence must reach over the first horizon, 0 for none.
        time_name: of the axis.
    """

    name: str
    process: str
    description: str
    times: np.ndarray
    n_in: int
    horizons: tuple[int, ...]
    count: int
    problem: Callable[[list[int]], Problem]
    fields: Callable[[list[int]], torch.Tensor]
    edges: Edges = "periodic"
    persistence: float = 0.0
    time_name: str = "scaled age"

    @property
    def later(self) -> np.ndarray:
        """(m,) ages of the forecast frames."""
        return self.times[self.n_in :]

    def sampled(self) -> np.ndarray:
        """Indices, among the forecast frames, at which statistics are taken: even, and the end of each horizon."""
        every = max(1, len(self.later) // _SAMPLED)
        even = np.arange(every - 1, len(self.later), every)
        return np.union1d(even, np.array(self.horizons) - 1)

    def batches(self) -> list[list[int]]:
        """Films that are forecast together: as many as 16 of 64 x 64 cells."""
        grid = self.problem([0]).grid
        size = max(1, 2**16 // grid.cells)
        return [list(range(i, min(i + size, self.count))) for i in range(0, self.count, size)]


def protocol_case(protocol: Protocol, trajectories: int | None = None, folder: Path | str = CACHE) -> Case:
    """The case of a protocol; its references are computed where they are missing.

    Raises:
        InputError: for a number of trajectories that is not positive.
    """
    count = protocol.trajectories if trajectories is None else trajectories
    if count < 1:
        raise InputError(f"--trajectories: at least 1, but got {count}")
    references = References(protocol, folder)
    references.compute(count)
    return Case(
        name=protocol.name,
        process=protocol.process,
        description=_describe(protocol, count),
        times=protocol.times,
        n_in=protocol.n_in,
        horizons=protocol.horizons,
        count=count,
        problem=protocol.problem,
        fields=lambda indices: references.load(indices).frames.field,
        persistence=protocol.persistence,
    )


def _describe(protocol: Protocol, count: int) -> str:
    size = " x ".join(str(n) for n in protocol.shape)
    parts = [f"kappa {_span(protocol.kappa)}"]
    if protocol.process == "cahn_hilliard":
        parts += [f"mean composition {_span(protocol.composition)}", f"mobility contrast {_span(protocol.contrast)}"]
        parts.append(f"noise {protocol.amplitude:g}")
    else:
        parts += [f"gamma {_span(protocol.gamma)}", f"{protocol.cells_per_grain:g} cells a grain at the start"]
    first, last = protocol.times[protocol.n_in], protocol.times[-1]
    return (
        f"{count} unseen trajectories of {size} cells, {', '.join(parts)}; {protocol.n_in} frames from scaled age "
        f"{protocol.start:g} on, {protocol.spacing:g} apart; forecast from {first:g} to {last:g}. Truth: the solver at "
        f"tolerance {protocol.tolerance:g} against the converged PDE, float32."
    )


def _span(limits: tuple[float, float]) -> str:
    low, high = limits
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
