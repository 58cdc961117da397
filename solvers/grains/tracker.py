"""Shares a few order-parameter fields among many grains and follows every grain.

Grains that are far apart use one field: its value is the sum of theirs, and their tails, which decay as
exp(-distance sqrt((2 gamma - 1) / kappa)), overlap too little to matter. The tracker keeps one map of owners. At
checks it finds where each field's grains have gone, moves a grain to another field before two grains of one field
come close (all levels of the integrator's history alike, so that the dynamics goes on undisturbed), adds a field when
none has room, and drops fields as grains vanish. Krill and Chen (2002), doi:10.1016/S1359-6454(02)00084-8, and
Permann et al. (2016), doi:10.1016/j.commatsci.2015.12.042, share fields on this principle.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import lru_cache

import numpy as np
import torch
from scipy import ndimage

from solvers.grains.neighbours import CellMap, Graph, colouring, graph_of, near_pairs, nearest_cells
from solvers.grids.grid import Grid
from solvers.grids.spectral_basis import Basis
from solvers.integrators.trajectory import BetweenSteps
from solvers.processes.pointwise import largest_component

Overlaps = Callable[[int], np.ndarray]
Index = tuple[slice | torch.Tensor, ...]

# Closest that grains of one field may come, in decay lengths: log(_OVERLAP / tolerance).
_OVERLAP = 8000.0
# A grain enters a field only where it has this many decay lengths more than that.
_MARGIN = 2.5
# Approach between checks, in decay lengths, and the speed of approach assumed, in kappa / interface length.
_APPROACH = 2.0
_SPEED = 0.7
# Emptying a field is tried when the number of grains has fallen to this share since the last attempt.
_FEWER = 0.6
# The initial profile is one cell wide whatever kappa is: at this many cells its tail is below 1e-4.
_INITIAL_CELLS = 5.0


class GrainTracker:
    """Fields, their grains, and the map of owners, for one sample.

    Args:
        labels: (*grid.shape) numbers 0 ... n - 1, in the order in which they first occur.
        grid: the user's grid.
        basis: of the internal grid.
        kappa, gamma: of the problem (kappa in length^2, W = 1).
        tolerance: relative error allowed to phi.

    Attributes:
        field_of: (grain,) the field of each grain.
        fields: number of fields.
        moves, checks: how many there were.
    """

    def __init__(
        self, labels: np.ndarray, grid: Grid, basis: Basis, kappa: float, gamma: float, tolerance: float
    ) -> None:
        spacing = tuple(length / n for length, n in zip(basis.lengths, basis.shape, strict=True))
        self.cells = CellMap(basis.shape, spacing, grid.boundary)
        self.basis = basis
        self.moves = self.checks = 0
        self._decay = math.sqrt(kappa / (2.0 * gamma - 1.0))
        self._near = self._decay * math.log(_OVERLAP / tolerance)
        self._clear = self._near + _MARGIN * self._decay
        self._limit = 1e-3 * tolerance
        self._negligible = 0.3 * tolerance
        self._interval = _APPROACH * self._decay / (_SPEED * math.sqrt(kappa))
        self._grid = grid
        self.owner = labels.reshape(-1)[nearest_cells(grid.shape, basis.shape, grid.boundary)]
        reach = max(self._clear, _INITIAL_CELLS * grid.spacing)
        graph = graph_of(near_pairs(self.cells, self.owner, reach, self._decay))
        colours = colouring(graph, list(range(int(labels.max()) + 1)))
        self.field_of = np.array([colours[grain] for grain in range(len(colours))])
        self.fields = int(self.field_of.max()) + 1
        self._present = len(colours)

    def owners(self, winner: np.ndarray, base: np.ndarray) -> np.ndarray:
        """The grain at each point (m,): the nearest one, on the map, of the field that is largest there.

        Where there is none within reach (a vanished grain's remnant) it is the previous owner.

        Args:
            winner: (m,) field that is largest at each point.
            base: (m,) flat index of the point's cell in the map of owners.
        """
        flat = self.owner.reshape(-1)
        found = flat[base]
        open_points = np.flatnonzero(self.field_of[found] != winner)
        for offset in self.cells.offsets(0.6 * self._near):
            if not len(open_points):
                break
            candidate = flat[self.cells.shifted(base[open_points], offset)]
            fits = self.field_of[candidate] == winner[open_points]
            found[open_points[fits]] = candidate[fits]
            open_points = open_points[~fits]
        return found

    def grain_map(self, fields: torch.Tensor) -> np.ndarray:
        """Values (state, field, *user shape) to the grain that dominates each cell, (state, *user shape)."""
        base = nearest_cells(self.cells.shape, self._grid.shape, self._grid.boundary).reshape(-1)
        winners = largest_component(fields)
        return np.stack([self.owners(winner, base).reshape(self._grid.shape) for winner in winners])

    def check(self, stepper: BetweenSteps) -> float:
        """Checks the assignment, and changes the stepper's fields where needed; returns when to check again."""
        if bool(stepper.diverged[0]):
            return math.inf
        self.checks += 1
        values = self.basis.inverse(stepper.newest()[0])
        winner = largest_component(values[None])[0]
        self.owner = self._followed(values, winner)
        present = np.unique(self.owner)
        members = {field: present[self.field_of[present] == field] for field in range(self.fields)}
        moves = self._plan(values, present)
        if moves:
            self.moves += len(moves)
            stepper.transform_history(lambda rows: self._moved(rows, moves, members))
            values = self.basis.inverse(stepper.newest()[0])
        self._drop_empty(stepper, values)
        return float(stepper.time[0]) + self._interval

    def _followed(self, values: torch.Tensor, winner: np.ndarray) -> np.ndarray:
        """The map of owners now; a grain that wins no cell keeps its last ones until it decays: nothing moves there."""
        before = self.owner.reshape(-1)
        now = self.owners(winner, np.arange(winner.size))
        for grain in np.setdiff1d(before, now):
            cells = np.flatnonzero(before == grain)
            height = values[int(self.field_of[grain])].flatten()[torch.from_numpy(cells)].abs().max()
            if float(height) > self._negligible:
                now[cells] = grain
        return now.reshape(self.cells.shape)

    def _plan(self, values: torch.Tensor, present: np.ndarray) -> dict[int, tuple[int, int]]:
        """Grain -> (field, new field): moves that keep grains of one field apart, and those that empty a field."""
        close = near_pairs(self.cells, self.owner, self._near, self._decay, self.field_of)
        fewer = len(present) <= _FEWER * self._present
        if not len(close) and not fewer:
            return {}
        graph = graph_of(near_pairs(self.cells, self.owner, self._clear, self._decay))

        def overlaps(grain: int) -> np.ndarray:
            return self._overlaps(grain, values, present)

        plan = _Plan(self.field_of, self.fields, graph, overlaps, self._limit)
        for a, b in close.tolist():
            plan.separate(a, b)
        if fewer:
            self._present = len(present)
            plan.empty_a_field(present)
        self.field_of, self.fields = plan.field_of, plan.fields
        return plan.moves

    def _overlaps(self, grain: int, values: torch.Tensor, present: np.ndarray) -> np.ndarray:
        """The change of phi, at most, if the grain were to enter each field (field,)."""
        source = int(self.field_of[grain])
        index, weight = self._share(grain, present[self.field_of[present] == source])
        around = values[index]
        part = torch.from_numpy(weight).to(values) * around[source]
        return (2.0 * part * around).abs().flatten(1).amax(1).cpu().numpy()

    def _moved(
        self, rows: torch.Tensor, moves: dict[int, tuple[int, int]], members: dict[int, np.ndarray]
    ) -> torch.Tensor:
        """The history (row, field, F) after the moves; ``members`` are the fields' grains before them."""
        extra = self.fields - rows.shape[1]
        if extra > 0:
            rows = torch.cat([rows, rows.new_zeros(len(rows), extra, rows.shape[2])], dim=1)
        by_source: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for grain, (source, target) in moves.items():
            by_source[source].append((grain, target))
        changes: dict[int, torch.Tensor] = {}
        for source, leaving in by_source.items():
            left = self.basis.inverse(rows[:, source])
            parts: dict[int, torch.Tensor] = {}
            for grain, target in leaving:
                index, weight = self._share(grain, members[source])
                share = torch.from_numpy(weight).to(left) * left[index]
                left[index] -= share
                parts.setdefault(target, torch.zeros_like(left))[index] += share
            for target, part in parts.items():
                change = self.basis.forward(part)
                changes[target] = changes.get(target, 0) + change
                changes[source] = changes.get(source, 0) - change
        for number, change in changes.items():
            rows[:, number] += change
        return rows

    def _share(self, grain: int, members: np.ndarray) -> tuple[Index, np.ndarray]:
        """Index of (row, *shape) values around a grain, and the shares of a field's values there that belong to it.

        Between two exponential tails the share is logistic in the difference of the distances.
        """
        pad = [math.ceil(1.5 * self._clear / dx) for dx in self.cells.spacing]
        where = np.nonzero(self.owner == grain)
        axes, inner = [], []
        for positions, n, p in zip(where, self.cells.shape, pad, strict=True):
            # Distances need a margin around the window, or a grain of the field just outside would seem to be far away.
            if self.cells.boundary == "no_flux":
                low, high = max(0, positions.min() - p), min(n, positions.max() + p + 1)
                first = max(0, low - p)
                axes.append(np.arange(first, min(n, high + p)))
                inner.append(slice(low - first, high - first))
                continue
            relative = (positions - positions[0] + n // 2) % n - n // 2 + positions[0]
            low, high = relative.min() - p, relative.max() + p + 1
            high = min(high, low + n)
            # The margin wraps around; the window itself must not hold a cell twice.
            axes.append(np.arange(low - p, high + p) % n)
            inner.append(slice(p, p + high - low))
        around = self.owner[np.ix_(*axes)]
        others = np.isin(around, members[members != grain])
        own = ndimage.distance_transform_edt(around != grain, sampling=self.cells.spacing)[tuple(inner)]
        if others.any():
            other = ndimage.distance_transform_edt(~others, sampling=self.cells.spacing)[tuple(inner)]
            weight = 1.0 / (1.0 + np.exp(np.clip((own - other) / self._decay, -50.0, 50.0)))
        else:
            weight = np.ones_like(own)
        index = np.ix_(*(axis[part] for axis, part in zip(axes, inner, strict=True)))
        return (slice(None), *(torch.from_numpy(i) for i in index)), weight

    def _drop_empty(self, stepper: BetweenSteps, values: torch.Tensor) -> None:
        """Drops fields without grains whose remnants have decayed."""
        used = np.unique(self.field_of[np.unique(self.owner)])
        heights = values.abs().flatten(1).amax(1).cpu().numpy()
        keep = [k for k in range(self.fields) if k in used or heights[k] > self._negligible]
        if len(keep) == self.fields:
            return
        renumber = np.zeros(self.fields, dtype=np.int64)
        renumber[keep] = np.arange(len(keep))
        self.field_of = renumber[self.field_of]
        self.fields = len(keep)
        stepper.transform_history(lambda rows: rows[:, keep])


class _Plan:
    """Moves being put together: every move is seen by the next; ``graph`` joins grains too near to share a field."""

    def __init__(self, field_of: np.ndarray, fields: int, graph: Graph, overlaps: Overlaps, limit: float) -> None:
        self.field_of = field_of.copy()
        self.fields = fields
        self.moves: dict[int, tuple[int, int]] = {}
        self._graph = graph
        self._overlaps = lru_cache(maxsize=None)(overlaps)
        self._limit = limit

    def _free(self, grain: int, among: Iterable[int]) -> list[int]:
        """Fields without a grain near this one."""
        taken = {int(self.field_of[other]) for other in self._graph.get(grain, ())} | {int(self.field_of[grain])}
        return [k for k in among if k not in taken]

    def _room(self, grain: int, free: list[int]) -> tuple[float, int] | None:
        """(overlap, field) of the field with the least overlap; None if there is none with little enough."""
        entering = self._overlaps(grain)
        best = min(((float(entering[k]) if k < len(entering) else 0.0, k) for k in free), default=None)
        return best if best is not None and best[0] < self._limit else None

    def separate(self, a: int, b: int) -> None:
        """Moves one of two grains of one field to another field, a new one if need be."""
        if self.field_of[a] != self.field_of[b]:
            return
        # A grain moves once a check: its values still lie in the field that it came from.
        movable = [grain for grain in (a, b) if grain not in self.moves]
        rooms = [(found, g) for g in movable if (found := self._room(g, self._free(g, range(self.fields)))) is not None]
        if rooms:
            (_, target), grain = min(rooms)
        else:
            grain, target = movable[-1], self.fields
            self.fields += 1
        self._move(grain, target)

    def _move(self, grain: int, target: int) -> None:
        self.moves[grain] = (int(self.field_of[grain]), target)
        self.field_of[grain] = target

    def empty_a_field(self, present: np.ndarray) -> None:
        """Moves all grains of a field elsewhere, if there is room for each; fields with the fewest grains first."""
        members: dict[int, list[int]] = defaultdict(list)
        for grain in present.tolist():
            members[int(self.field_of[grain])].append(grain)
        for field in sorted(members, key=lambda k: (len(members[k]), k)):
            if any(not self._free(grain, members) or grain in self.moves for grain in members[field]):
                continue
            before = (self.field_of.copy(), dict(self.moves))
            for grain in members[field]:
                found = self._room(grain, self._free(grain, members))
                if found is None:
                    self.field_of, self.moves = before
                    break
                self._move(grain, found[1])
            else:
                return
