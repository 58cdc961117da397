"""Grains in an image of phi alone: a watershed from the bright cores."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from skimage.graph import RAG, merge_hierarchical, rag_boundary
from skimage.morphology import h_maxima
from skimage.segmentation import watershed

from solvers.errors import InputError
from solvers.grains.labels import components
from solvers.grids.grid import Grid
from solvers.grids.resampling import resample

#: Cells of the watershed's grid along a cell of the user's: boundaries may be thinner than a cell.
REFINE = 4
#: A core must stand out by this much of phi.
HEIGHT = 0.03
#: Noise below which the watershed alone is right.
CLEAN = 0.01
#: The mean depth of a boundary must be this share of the 80 % quantile of depths. A watershed looks at the highest
#: saddle alone, where noise counts most; in a mean along the boundary there is little noise left (merging of regions
#: after a watershed: Haris et al. 1998, doi:10.1109/83.730380).
FAINT, GOOD = 0.67, 0.8
#: Brightness above which differences do not matter.
PLATEAU = 0.9


def segment(phi: np.ndarray, grid: Grid, noise: float = 0.0) -> np.ndarray:
    """Labels (4 ny, 4 nx) int64, 0 ... n - 1, of the grains in an image of phi (ny, nx) without gaps.

    Args:
        grid: its grid; periodic boxes are wrapped, no-flux boxes mirrored.
        noise: standard deviation of its noise, which decides how much it is smoothed.

    Raises:
        InputError: where not one grain is seen.
    """
    fine_shape = tuple(REFINE * n for n in grid.shape)
    cells = 0.0 if noise < CLEAN else min(1.2, 0.3 + 3.5 * noise)
    smooth = ndimage.gaussian_filter(phi, cells, mode="wrap" if grid.boundary == "periodic" else "reflect")
    fine = resample(torch.from_numpy(smooth), fine_shape, grid.boundary).numpy()
    # Surroundings make seams disappear; markers are those of the box itself.
    wide, inside = with_surroundings(fine, grid)
    wide = ndimage.gaussian_filter(wide, 1.0)
    levels = np.round(np.clip(wide, 0.0, PLATEAU) * 200).astype(np.int16)
    cores = h_maxima(levels, int(HEIGHT * 200))[inside]
    markers = components(cores > 0, grid.boundary == "periodic", corners=True)[0] + 1
    if not markers.any():
        raise InputError("observations.path: found no grain in the first frame, allowed frames that show phi")
    labels = watershed(-wide, with_surroundings(markers, grid)[0])
    if noise >= CLEAN:
        labels = without_faint(labels, 1.0 - np.clip(wide, 0.0, 1.05))
    return np.unique(labels[inside], return_inverse=True)[1].reshape(fine_shape)


def with_surroundings(values: np.ndarray, grid: Grid) -> tuple[np.ndarray, tuple[slice, ...]]:
    """Values (*shape) of a box with half a box on each side, as its boundary continues them; and where the box is."""
    pad = [(n // 2, n // 2) for n in values.shape]
    wide = np.pad(values, pad, mode="wrap" if grid.boundary == "periodic" else "symmetric")
    return wide, tuple(slice(n // 2, n // 2 + n) for n in values.shape)


def without_faint(labels: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Labels (y, x) with regions joined across boundaries that are too faint to be real, the faintest first.

    ``depth`` (y, x) is larger where a boundary is darker.
    """
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
        merge_func=lambda *_: None,  # regions have no data to update
        weight_func=_mean_depth,
    )
    return np.asarray(joined)


def _mean_depth(graph: RAG, a: int, b: int, neighbour: int) -> dict[str, float]:
    """Depth and length of the boundary that two regions, once joined, have with a neighbour of theirs."""
    parts = [graph[n][neighbour] for n in (a, b) if graph.has_edge(n, neighbour)]
    count = sum(part["count"] for part in parts)
    return {"count": count, "weight": sum(part["count"] * part["weight"] for part in parts) / count}
