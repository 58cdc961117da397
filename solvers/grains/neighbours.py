"""Which grains are near which: distances between grains on a map of owners, and the colouring of their graph."""

from __future__ import annotations

import heapq
import itertools
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from solvers.compiled import compiled
from solvers.grids.grid import Boundary

# Pairs of cells are looked up at offsets this far apart, in units of the decay length of an order parameter.
_OFFSET_STRIDE = 2.5

Graph = dict[int, set[int]]


@dataclass(frozen=True)
class CellMap:
    """The geometry of a grid on which the owner of each cell is kept; ``spacing`` is that along each axis (length)."""

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    boundary: Boundary
    _offsets: dict[tuple[float, float], np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    def offsets(self, reach: float, stride: float = 0.0) -> np.ndarray:
        """(offset, axis) whole-cell offsets no longer than ``reach``, without zero, shortest first.

        Along each axis they are at least ``stride`` apart (lengths).
        """
        key = (reach, stride)
        if key not in self._offsets:
            axes = []
            for dx, n in zip(self.spacing, self.shape, strict=True):
                every = max(1, int(stride / dx))
                most = min(int(reach / dx) // every * every, n // 2 // every * every)
                axes.append(np.arange(-most, most + 1, every))
            every_offset = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))
            length = np.sqrt(((every_offset * np.array(self.spacing)) ** 2).sum(1))
            order = np.lexsort((*every_offset.T, length))
            order = order[(length[order] <= reach) & (length[order] > 0)]
            self._offsets[key] = every_offset[order]
        return self._offsets[key]

    def shifted(self, cells: np.ndarray, offset: np.ndarray) -> np.ndarray:
        """Flat indices of ``cells`` (m,) moved by ``offset``; a no-flux box stops at its faces."""
        moved = [c + o for c, o in zip(np.unravel_index(cells, self.shape), offset, strict=True)]
        mode: Literal["wrap", "clip"] = "wrap" if self.boundary == "periodic" else "clip"
        return np.ravel_multi_index(tuple(moved), self.shape, mode=mode)

    def edge_cells(self, owner: np.ndarray) -> np.ndarray:
        """Flat indices of the cells with a face neighbour of another owner."""
        edge = np.zeros(self.shape, dtype=bool)
        for axis in range(len(self.shape)):
            differs = owner != np.roll(owner, -1, axis)
            if self.boundary == "no_flux":
                differs[(slice(None),) * axis + (-1,)] = False
            edge |= differs | np.roll(differs, 1, axis)
        return np.flatnonzero(edge)


def near_pairs(
    cells: CellMap, owner: np.ndarray, reach: float, decay_length: float, colour: np.ndarray | None = None
) -> np.ndarray:
    """Pairs of different grains with cells closer than ``reach``: (pair, 2) sorted, smaller number first.

    Args:
        cells: geometry.
        owner: (*shape) grain of each cell.
        reach: distance between cell centres (length); exact to about two decay lengths, for not every cell is compared
            with every other.
        decay_length: of the order parameters' tails (length).
        colour: (grain,) keep only pairs of one colour.
    """
    offsets = cells.offsets(reach, _OFFSET_STRIDE * decay_length)
    if not len(offsets):
        return np.zeros((0, 2), dtype=np.int64)
    # On a copy with margins an offset is one addition to a flat index.
    margins = np.abs(offsets).max(0)
    mode: Literal["wrap", "edge"] = "wrap" if cells.boundary == "periodic" else "edge"
    padded = np.pad(owner, [(m, m) for m in margins], mode=mode)
    strides = np.array(padded.strides) // padded.itemsize
    positions = np.unravel_index(cells.edge_cells(owner), cells.shape)
    edge = sum((p + m) * s for p, m, s in zip(positions, margins, strides, strict=True))
    flat = padded.reshape(-1).astype(np.int64)
    steps = offsets @ strides
    ahead = steps[steps > 0]  # the opposite offset finds the same pairs
    # Numbers without gaps, for a table of all pairs.
    present = np.bincount(flat) > 0
    grains, compact = np.flatnonzero(present), (np.cumsum(present) - 1)[flat]
    colours = np.full(len(grains), -1) if colour is None else np.asarray(colour)[grains]
    near = np.zeros((len(grains), len(grains)), dtype=np.bool_)
    _mark_near(compact, edge, ahead, colours, near)
    return grains[np.argwhere(near)]


@compiled
def _mark_near(owner: np.ndarray, edge: np.ndarray, ahead: np.ndarray, colour: np.ndarray, near: np.ndarray) -> None:
    """Marks pairs (smaller, larger) of one colour that some cell of ``edge`` and one ``ahead`` of it belong to."""
    for cell in edge:
        here = owner[cell]
        for step in ahead:
            there = owner[cell + step]
            if here != there and colour[here] == colour[there]:
                near[min(here, there), max(here, there)] = True


def graph_of(pairs: np.ndarray) -> Graph:
    """Adjacency of the grains that occur in ``pairs`` (pair, 2)."""
    graph: Graph = defaultdict(set)
    for a, b in pairs.tolist():
        graph[a].add(b)
        graph[b].add(a)
    return graph


def colouring(graph: Graph, nodes: list[int]) -> dict[int, int]:
    """A colour for each node, neighbours differing: most saturated first (Brelaz 1979, doi:10.1145/359094.359101).

    Ties go to the node with more neighbours, then to the smaller number, so the colouring is reproducible.
    """
    colours: dict[int, int] = {}
    taken: dict[int, set[int]] = {n: set() for n in nodes}
    queue = [(0, -len(graph.get(n, ())), n) for n in nodes]
    heapq.heapify(queue)
    while queue:
        saturation, _, node = heapq.heappop(queue)
        if node in colours or -saturation != len(taken[node]):
            continue  # an entry that a newer one replaced
        colours[node] = next(c for c in itertools.count() if c not in taken[node])
        for other in graph.get(node, ()):
            if other not in colours and colours[node] not in taken[other]:
                taken[other].add(colours[node])
                heapq.heappush(queue, (-len(taken[other]), -len(graph[other]), other))
    return colours


def nearest_index(m: int, n: int, boundary: Boundary) -> np.ndarray:
    """(m,) for each of m points along an axis, the nearest of n points on the same length."""
    if boundary == "periodic":
        return np.floor(np.arange(m) * n / m + 0.5).astype(np.int64) % n
    return np.minimum(np.floor((np.arange(m) + 0.5) * n / m).astype(np.int64), n - 1)


def nearest_cells(source: tuple[int, ...], points: tuple[int, ...], boundary: Boundary) -> np.ndarray:
    """(*points) flat index into a ``source`` grid of the cell nearest to each of ``points`` on the same box."""
    axes = [nearest_index(m, n, boundary) for m, n in zip(points, source, strict=True)]
    index = np.zeros((), dtype=np.int64)
    for axis, n in zip(axes, source, strict=True):
        index = index[..., None] * n + axis
    return index
