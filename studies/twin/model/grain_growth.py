"""Grain growth as a twin follows it: order parameters that distant grains share, from images of phi alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from scipy import ndimage

from solvers.frames import Frames
from solvers.grains.neighbours import CellMap, colouring, graph_of, near_pairs, nearest_cells
from solvers.grains.simulation import smoothed, solve_grains
from solvers.grids.grid import Grid
from solvers.grids.resampling import resample
from solvers.grids.spectral_basis import Basis
from solvers.processes.base import Problem
from solvers.processes.grain_growth import GrainGrowth
from studies.twin.model.process_model import (
    FirstGuess,
    Linear,
    Members,
    ParameterValues,
    ProcessModel,
    SolverSettings,
    sampled,
)
from studies.twin.observations.segmentation import segment, with_surroundings

#: Standard deviation of a start's increments: labels give the place of a boundary, not its profile, and a boundary that
#: is off by half its width changes order parameters by this much.
AMPLITUDE = 0.5
#: Two grains of one field are this many mean grain diameters from each other at first. Grains that share a field merge
#: where they meet, and the fit then prefers a material in which they never do: at half of this mobilities came out
#: 19 to 62 % low in 7 of 12 specimens.
APART = 1.4
#: The same in the user's cells: less than this, and the tails of their boundaries would overlap from the start.
APART_CELLS = 5.0


class GrainGrowthModel(ProcessModel):
    """See the module; a first guess has the arrays ``labels`` (4 y, 4 x), the grain of each fine cell, and
    ``field_of`` (grain,), the order parameter of each grain.
    """

    def force(self, basis: Basis, state: torch.Tensor, values: ParameterValues) -> torch.Tensor:
        u = basis.inverse(state)
        gamma = values["gamma"][:, None, None, None].to(u.dtype)
        square = u * u
        phi = square.sum(1, keepdim=True)
        rate = 1.0 + self.process.stabiliser - 2.0 * gamma * phi + (2.0 * gamma - 1.0) * square
        return basis.forward(rate * u)

    def force_derivative(self, basis: Basis, u: torch.Tensor, values: ParameterValues) -> Linear:
        gamma = float(values["gamma"][0])
        square = u * u
        phi = square.sum(1, keepdim=True)
        rate = 1.0 + self.process.stabiliser - 2.0 * gamma * phi + (2.0 * gamma - 1.0) * square
        own = rate + 2.0 * (2.0 * gamma - 1.0) * square

        def derivative(change: torch.Tensor) -> torch.Tensor:
            v = basis.inverse(change)
            return basis.forward(own * v - 4.0 * gamma * u * (u * v).sum(1, keepdim=True))

        return derivative

    def observe(self, basis: Basis, state: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        # Square first: phi is sampled, not the order parameters.
        return _at_cells(basis, basis.inverse(state).square().sum(-3), shape)

    def observation_derivative(self, basis: Basis, state: torch.Tensor, shape: tuple[int, ...]) -> Linear:
        u = basis.inverse(state)
        return lambda change: _at_cells(basis, 2.0 * (u * basis.inverse(change)).sum(-3), shape)

    def grey_levels(self, values: np.ndarray, low: float, high: float, shrink: float) -> tuple[float, float]:  # noqa: ARG002
        """The bright level from the histogram; phi = 0 is nowhere to be seen, a boundary's middle is about 1/2."""
        bright = float(np.percentile(values, 75.0))
        dark = float(np.percentile(values, 5.0)) + shrink
        # Single cells rarely hit the middle of a boundary.
        return dark - 0.75 * (bright - dark), bright

    def first_guess(self, image: np.ndarray, grid: Grid, noise: float) -> FirstGuess:
        labels = segment(np.clip(image, 0.0, 1.1), grid, noise)
        field_of = share_fields(labels, grid)
        return FirstGuess(AMPLITUDE, int(field_of.max()) + 1, {"labels": labels, "field_of": field_of})

    def values_of(self, guess: FirstGuess, grid: Grid, shape: tuple[int, ...]) -> torch.Tensor:
        """Smoothed indicators of the grains."""
        labels, field_of = guess.arrays["labels"], guess.arrays["field_of"]
        fine = Grid((labels.shape[0], labels.shape[1]), grid.spacing * grid.shape[0] / labels.shape[0], grid.boundary)
        fields = np.arange(guess.components)[:, None, None]
        indicators = torch.from_numpy((field_of[labels][None] == fields).astype(np.float64))
        return resample(smoothed(indicators, fine), shape, grid.boundary)

    def interfaces(self, values: np.ndarray) -> np.ndarray:
        eta = np.clip(values, 0.0, 1.0)
        return 4.0 * eta * (1.0 - eta)

    def shown(self, states: torch.Tensor, grid: Grid) -> torch.Tensor:
        return resample(states.square().sum(1), grid.shape, grid.boundary)

    def unbiased(self, varied: torch.Tensor, centre: torch.Tensor, deviations: torch.Tensor) -> torch.Tensor:
        """Order parameters scaled to the mean phi of their centre.

        phi sums squares: deviations of variance v would brighten it by v, most where an order parameter is next to
        none and has no deviation to speak of. Scaled by sqrt(c^2 / (c^2 + v)) the mean square is that of the centre c.
        """
        square = centre.square()
        return varied * (square / (square + deviations.square().mean(0) + 1e-12)).sqrt()

    def solve(self, members: Members, lead: Sequence[float], settings: SolverSettings) -> Frames:
        """Each member alone, with one order parameter a grain: grains that share one would merge later."""
        grid, start = members.grid, members.start
        labels, field_of = start.arrays["labels"], start.arrays["field_of"]
        problem = cast("GrainGrowth", members.problem(members.fine_grid))
        to_user = torch.from_numpy(nearest_cells(tuple(members.shape), grid.shape, grid.boundary))
        fields, energies, grains, estimates = [], [], [], []
        for i, state in enumerate(members.states):
            owner, order_parameters = by_grain(state, labels, field_of, grid)
            present, own = np.unique(owner, return_inverse=True)
            dense = order_parameters[torch.from_numpy(present)]
            maps = torch.from_numpy(own.reshape(tuple(members.shape)))[None]
            found = solve_grains(problem.take(torch.tensor([i])), maps, lead, start=dense[None], **settings).frames
            assert found.grain_id is not None
            assert found.error_estimate is not None
            estimates.append(found.error_estimate[0])
            fields.append(resample(found.field[0], grid.shape, grid.boundary))
            energies.append(found.free_energy[0])
            grains.append(found.grain_id[0].flatten(1)[:, to_user.flatten()].reshape(len(lead), *grid.shape))
        return Frames(torch.stack(fields), torch.stack(energies), torch.stack(grains), torch.stack(estimates))

    def free_energy(self, problem: Problem, field: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        """NaN: phi does not determine the order parameters."""
        return torch.full(field.shape[:2], torch.nan, dtype=torch.float64)


def _at_cells(basis: Basis, phi: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    return phi if tuple(basis.shape) == tuple(shape) else sampled(basis, basis.forward(phi), shape)


def share_fields(labels: np.ndarray, grid: Grid) -> np.ndarray:
    """The field of each grain (grain,) int64, so that grains of one field are :data:`APART` from each other.

    ``labels`` (y, x) are on any refinement of the grid.
    """
    diameter = math.sqrt(math.prod(grid.lengths) / (int(labels.max()) + 1))
    shape = (labels.shape[0], labels.shape[1])
    spacing = tuple(length / n for length, n in zip(grid.lengths, shape, strict=True))
    reach = max(APART * diameter, APART_CELLS * grid.spacing)
    graph = graph_of(near_pairs(CellMap(shape, spacing, grid.boundary), labels, reach, reach / 6.0))
    colours = colouring(graph, list(range(int(labels.max()) + 1)))
    return np.array([colours[grain] for grain in range(len(colours))])


def by_grain(
    fields: torch.Tensor, labels: np.ndarray, field_of: np.ndarray, grid: Grid
) -> tuple[np.ndarray, torch.Tensor]:
    """The grain (*shape) int64 that dominates each cell, and one order parameter a grain (grain, *shape).

    ``fields`` (field, *shape) are the shared ones; ``labels`` (y, x) are owners at some earlier time, on any grid of
    the box; ``field_of`` is (grain,).
    """
    nearest = nearest_of_field(labels, field_of, (int(fields.shape[-2]), int(fields.shape[-1])), grid)
    owner = np.take_along_axis(nearest, fields.abs().argmax(0).numpy()[None], 0)[0]
    own = [
        torch.where(torch.from_numpy(nearest[field] == grain), fields[field], 0.0)
        for grain, field in enumerate(field_of.tolist())
    ]
    return owner, torch.stack(own)


def nearest_of_field(labels: np.ndarray, field_of: np.ndarray, shape: tuple[int, int], grid: Grid) -> np.ndarray:
    """For each field, the grain of it that is nearest to each cell: (field, *shape) int64."""
    here = labels.reshape(-1)[nearest_cells((labels.shape[0], labels.shape[1]), shape, grid.boundary)]
    wide, inside = with_surroundings(here, grid)
    out = np.zeros((int(field_of.max()) + 1, *shape), dtype=np.int64)
    for field in range(len(out)):
        away = field_of[wide] != field
        if not away.all():
            nearest = ndimage.distance_transform_edt(away, return_distances=False, return_indices=True)
            out[field] = wide[tuple(nearest)][inside]
    return out
