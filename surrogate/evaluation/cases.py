"""A case: a process, a box, some starts and parameters, and the times at which frames are wanted. Loads no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from solvers import initial
from solvers.grids.grid import Grid
from solvers.processes.registry import process_named

if TYPE_CHECKING:
    import torch

    from solvers.processes.base import Problem
    from surrogate.evaluation.image_metrics import Edges

#: Some of the trajectories of a case, by number.
Indices = Sequence[int]
#: Cells that are forecast or rolled out together: 16 boxes of 64 x 64.
CELLS_TOGETHER = 2**16
# Statistics are taken at about this many of the forecast frames; images are compared at all of them.
_SAMPLED = 20


@dataclass(frozen=True, eq=False)
class ReferenceCase:
    """Trajectories of one process.

    Attributes:
        name: for tables and files.
        count: how many trajectories.
        times: (time,) of the frames.
        parameters: name -> (trajectory,), or a number for all; also those of the start.
        starts: indices -> states at time 0 (n, y, x), as the process's solver takes them.
        options: blocks of a sweep's file that belong to the process.
    """

    name: str
    process: str
    grid: Grid
    count: int
    times: np.ndarray
    parameters: Mapping[str, np.ndarray | float]
    starts: Callable[[Indices], torch.Tensor]
    options: Mapping[str, object] = field(default_factory=dict)

    def problem(self, indices: Indices | None = None) -> Problem:
        """The problem of some trajectories, of all if None, as a batch."""
        process = process_named(self.process)
        rows = range(self.count) if indices is None else indices
        own = {
            name: _chosen(self.parameters[name], rows) for name in process.parameter_names if name in self.parameters
        }
        return process.build(self.grid, own, self.options)  # type: ignore[arg-type]

    def initial(self, indices: Indices | None = None) -> torch.Tensor:
        """States at time 0 (n, y, x) of some trajectories, of all if None."""
        return self.starts(range(self.count) if indices is None else indices)

    def inputs(self, indices: Indices | None = None) -> tuple[Problem, torch.Tensor, torch.Tensor]:
        """What a solver or a model is given: problem, states at time 0 (n, y, x) and times (n, time) float64."""
        import torch

        initial = self.initial(indices)
        return self.problem(indices), initial, torch.from_numpy(np.tile(self.times, (len(initial), 1)))

    def first(self, trajectories: int, times: int) -> ReferenceCase:
        """The first trajectories at the first times."""
        cut = {n: v[:trajectories] if isinstance(v, np.ndarray) else v for n, v in self.parameters.items()}
        return replace(self, count=trajectories, times=self.times[:times], parameters=cut)

    def batches(self, cells: int = CELLS_TOGETHER, count: int | None = None) -> Iterator[list[int]]:
        """The first ``count`` trajectories (all if None) in batches of at most so many cells."""
        size, end = max(1, cells // self.grid.cells), self.count if count is None else count
        return (list(range(low, min(low + size, end))) for low in range(0, end, size))


def random_case(
    name: str,
    process: str,
    grid: Grid,
    times: np.ndarray,
    parameters: Mapping[str, np.ndarray | float],
    seed: Callable[[int], int],
) -> ReferenceCase:
    """Trajectories from random starts of the kind that the process has by default, whose times are scaled ages.

    Args:
        name, process, grid, times: of the case.
        parameters: ``kappa`` (trajectory,) and others but mobility, with ``composition`` and ``amplitude`` for noise,
            ``grains`` for a tessellation.
        seed: trajectory -> seed of its start.
    """
    kappa = np.asarray(parameters["kappa"])
    complete = {"mobility": unit_mobility(process, kappa), **parameters}
    make = _RANDOM_STARTS[process_named(process).starts[0]]

    def starts(indices: Indices) -> torch.Tensor:
        return make(grid, complete, indices, [seed(i) for i in indices])

    return ReferenceCase(name, process, grid, len(kappa), times, complete, starts)


def _chosen(value: np.ndarray | float, indices: Indices) -> torch.Tensor | float:
    import torch

    return torch.from_numpy(value[list(indices)]) if isinstance(value, np.ndarray) else value


def _noise(
    grid: Grid, parameters: Mapping[str, np.ndarray | float], indices: Indices, seeds: list[int]
) -> torch.Tensor:
    import torch

    mean, amplitude = _chosen(parameters["composition"], indices), float(parameters["amplitude"])
    return initial.noise(grid, mean, amplitude, seeds, torch.float32)


def _voronoi(
    grid: Grid, parameters: Mapping[str, np.ndarray | float], indices: Indices, seeds: list[int]
) -> torch.Tensor:
    del indices
    return initial.voronoi(grid, int(parameters["grains"]), seeds)


_RANDOM_STARTS = {"noise": _noise, "voronoi": _voronoi}


def unit_mobility(process: str, kappa: np.ndarray) -> np.ndarray:
    """The mobility (trajectory,) at which times are scaled ages."""
    import torch

    from surrogate.processes import learned_process

    # By torch, whose powers differ from numpy's in the last digit: files of earlier versions hold what it gave.
    mobility: torch.Tensor = learned_process(process).unit_mobility(torch.from_numpy(kappa))  # type: ignore[arg-type,assignment]
    return mobility.numpy()


def grains_in(grid: Grid, cells_per_grain: float) -> int:
    """Grains of an initial tessellation."""
    return max(1, round(grid.cells / cells_per_grain))


def start_seed(*parts: object) -> int:
    """A seed (63 bits) that follows from a text, so that no two cases share a start."""
    digest = hashlib.blake2b(":".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


@dataclass(frozen=True, eq=False, kw_only=True)
class ForecastCase(ReferenceCase):
    """Clips to be continued: trajectories of which the first frames are seen. Times are those of all frames.

    Attributes:
        description: a sentence or two: what the clips are.
        n_in: frames that go in.
        horizons: numbers of forecast frames that are reported.
        fields: indices of clips -> (n, frame, y, x) float32, the known continuation included.
        persistence: RMSE that persistence must reach over the first horizon, 0 for none.
    """

    description: str
    n_in: int
    horizons: tuple[int, ...]
    fields: Callable[[Indices], torch.Tensor]
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
