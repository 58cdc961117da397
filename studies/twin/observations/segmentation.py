"""Grains in an image of phi alone: a watershed from the bright cores, and the order parameters that it starts."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from scipy import ndimage

from solvers.errors import InputError
from solvers.grains.labels import components
from solvers.grains.neighbours import CellMap, colouring, graph_of, near_pairs, nearest_cells
from solvers.grains.simulation import smoothed
from solvers.grids.grid import Grid
from solvers.grids.resampling import resample

PadMode = Literal["wrap", "symmetric"]
#: Cells of the watershed's grid along a cell of the user's: boundaries may be thinner than a cell.
REFINE = 4
#: A core must stand out by this much of phi.
HEIGHT = 0.03
#: Noise below which the watershed alone is right.
CLEAN = 0.01
#: Share of the depth of a good boundary (that which all but a fifth of their length stay below) that a boundary must
#: have along its length. A watershed looks at the highest saddle alone, where noise counts most; a mean over all of a
#: boundary has little of it left (merging of regions after a watershed: Haris et al. 1998, doi:10.1109/83.730380).
FAINT, GOOD = 0.67, 0.8
#: Brightness above which differences do not matter.
PLATEAU = 0.9
#: Two grains of one field are this many mean grain diameters from each other at first. Grains that share a field merge
#: where they meet, and the fit then prefers a material in which they never do: at half of this mobilities came out
#: 19 to 62 % low in 7 of 12 specimens.
APART = 1.4
#: The same in the user's cells: less than this, and the tails of their boundaries would overlap from the start.
APART_CELLS = 5.0


def segment(phi: np.ndarray, grid: Grid, noise: float = 0.0) -> np.ndarray:
    """Labels (4 ny, 4 nx) int64, 0 ... n - 1, of the grains in an image of phi.

    Args:
        phi: (ny, nx) near 1 in grains and lower in boundaries, no gaps.
        grid: its grid; periodic boxes are wrapped, no-flux boxes mirrored.
        noise: standard deviation of its noise, which decides how much it is smoothed.

    Raises:
        InputError: where not one grain is seen.
    """
    from skimage.morphology import h_maxima
    from skimage.segmentation import watershed

    fine_shape = tuple(REFINE * n for n in grid.shape)
    smooth = ndimage.gaussian_filter(phi, _smoothing(noise), mode="wrap" if grid.boundary == "periodic" else "reflect")
    fine = resample(torch.from_numpy(smooth), fine_shape, grid.boundary).numpy()
    # Half a box of surroundings on each side makes seams disappear; markers are those of the box itself.
    pad = [(n // 2, n // 2) for n in fine_shape]
    mode: PadMode = "wrap" if grid.boundary == "periodic" else "symmetric"
    wide = ndimage.gaussian_filter(np.pad(fine, pad, mode=mode), 1.0)
    inside = tuple(slice(before, before + n) for (before, _), n in zip(pad, fine_shape, strict=True))
    levels = np.round(np.clip(wide, 0.0, PLATEAU) * 200).astype(np.int16)
    cores = h_maxima(levels, int(HEIGHT * 200))[inside]
    markers = components(cores > 0, grid.boundary == "periodic", corners=True)[0] + 1
    if not markers.any():
        raise InputError("observations.path: found no grain in the first frame, allowed frames that show phi")
    labels = watershed(-wide, np.pad(markers, pad, mode=mode))
    if noise >= CLEAN:
        labels = without_faint(labels, 1.0 - np.clip(wide, 0.0, 1.05))
    return np.unique(labels[inside], return_inverse=True)[1].reshape(fine_shape)


def _smoothing(noise: float) -> float:
    """Standard deviation (cells) of the filter before the watershed."""
    return 0.0 if noise < CLEAN else min(1.2, 0.3 + 3.5 * noise)


def without_faint(labels: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Labels with regions joined across boundaries that are not there, the faintest first.

    Args:
        labels: (y, x) of a watershed that found too many regions.
        depth: (y, x) of a boundary, larger where it is darker.
    """
    from skimage.graph import merge_hierarchical, rag_boundary

    graph = rag_boundary(labels, depth, connectivity=1)
    edges = np.array([(edge["weight"], edge["count"]) for _, _, edge in graph.edges(data=True)])
    if not len(edges):
        return labels
    edges = edges[edges[:, 0].argsort()]
    length = np.cumsum(edges[:, 1])
    good = edges[np.searchsorted(length, GOOD * length[-1]), 0]
    joined = merge_hierarchical(
        labels,
        graph,
        thresh=FAINT * good,
        rag_copy=False,
        in_place_merge=True,
        merge_func=_no_change,
        weight_func=_mean_depth,
    )
    return np.asarray(joined)


def _no_change(graph: Any, a: int, b: int) -> None:
    """Regions carry nothing that would change when they are joined."""


def _mean_depth(graph: Any, a: int, b: int, neighbour: int) -> dict[str, float]:
    """Depth and length of the boundary that two regions, once joined, have with a neighbour of theirs."""
    parts = [graph[n][neighbour] for n in (a, b) if graph.has_edge(n, neighbour)]
    count = sum(part["count"] for part in parts)
    return {"count": count, "weight": sum(part["count"] * part["weight"] for part in parts) / count}


def share_fields(labels: np.ndarray, grid: Grid) -> np.ndarray:
    """The field of each grain (grain,) int64, so that grains of one field are :data:`APART` from each other.

    Args:
        labels: (y, x) on any refinement of the grid.
    """
    diameter = math.sqrt(math.prod(grid.lengths) / (int(labels.max()) + 1))
    shape = (labels.shape[0], labels.shape[1])
    spacing = tuple(length / n for length, n in zip(grid.lengths, shape, strict=True))
    reach = max(APART * diameter, APART_CELLS * grid.spacing)
    graph = graph_of(near_pairs(CellMap(shape, spacing, grid.boundary), labels, reach, reach / 6.0))
    colours = colouring(graph, list(range(int(labels.max()) + 1)))
    return np.array([colours[grain] for grain in range(len(colours))])


def fields_from_labels(labels: np.ndarray, field_of: np.ndarray, grid: Grid, shape: tuple[int, ...]) -> torch.Tensor:
    """Order parameters (field, *shape) float64 on an internal grid of the box: smoothed indicators of the grains."""
    fine = Grid((labels.shape[0], labels.shape[1]), grid.spacing * grid.shape[0] / labels.shape[0], grid.boundary)
    fields = int(field_of.max()) + 1
    indicators = torch.from_numpy((field_of[labels][None] == np.arange(fields)[:, None, None]).astype(np.float64))
    return resample(smoothed(indicators, fine), shape, grid.boundary)


def owners(fields: torch.Tensor, labels: np.ndarray, field_of: np.ndarray, grid: Grid) -> np.ndarray:
    """The grain (*shape) int64 that dominates each cell, from where the grains were.

    Args:
        fields: (field, *shape) order parameters now.
        labels: (y, x) owners at some earlier time, on any grid of the box.
        field_of: (grain,).
    """
    nearest = nearest_of_field(labels, field_of, (int(fields.shape[-2]), int(fields.shape[-1])), grid)
    winner = fields.abs().argmax(0).numpy()
    return np.take_along_axis(nearest, winner[None], 0)[0]


def nearest_of_field(labels: np.ndarray, field_of: np.ndarray, shape: tuple[int, int], grid: Grid) -> np.ndarray:
    """For each field, the grain of it that is nearest to each cell: (field, *shape) int64."""
    here = labels.reshape(-1)[nearest_cells((labels.shape[0], labels.shape[1]), shape, grid.boundary)]
    pad = [(n // 2, n // 2) for n in shape]
    wide = np.pad(here, pad, mode="wrap" if grid.boundary == "periodic" else "symmetric")
    inside = tuple(slice(before, before + n) for (before, _), n in zip(pad, shape, strict=True))
    out = np.zeros((int(field_of.max()) + 1, *shape), dtype=np.int64)
    for field in range(len(out)):
        away = field_of[wide] != field
        if not away.all():
            nearest = ndimage.distance_transform_edt(away, return_distances=False, return_indices=True)
            out[field] = wide[tuple(nearest)][inside]
    return out


def split_fields(fields: torch.Tensor, labels: np.ndarray, field_of: np.ndarray, grid: Grid) -> torch.Tensor:
    """Shared fields (field, *shape) as one order parameter a grain (grain, *shape)."""
    shape = (int(fields.shape[-2]), int(fields.shape[-1]))
    nearest = nearest_of_field(labels, field_of, shape, grid)
    out = fields.new_zeros((len(field_of), *shape))
    for grain, field in enumerate(field_of.tolist()):
        own = torch.from_numpy(nearest[field] == grain)
        out[grain] = torch.where(own, fields[field], 0.0)
    return out
