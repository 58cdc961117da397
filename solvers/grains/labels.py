"""Numbered regions of maps: connected components, gaps filled, numbers in the order of their first cells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from solvers.compiled import compiled


def components(inside: np.ndarray, periodic: bool | Sequence[bool], corners: bool = False) -> tuple[np.ndarray, int]:
    """Numbers the connected regions of a map (y, x) or (z, y, x).

    ``periodic`` says whether opposite faces of the box touch, of all axes or of each; with ``corners`` cells that share
    no more than an edge or a corner are connected too.

    Returns:
        int32 labels, 0, 1, ... in the order of their first cells and -1 outside; and how many there are.
    """
    neighbours = ndimage.generate_binary_structure(inside.ndim, inside.ndim if corners else 1)
    axes = np.broadcast_to(periodic, inside.ndim)
    if not axes.any():
        labels, count = ndimage.label(inside, neighbours)
        return labels.astype(np.int32) - 1, int(count)
    # One more layer of cells on each side repeats those of the opposite face: what a copy is connected to, its
    # original is too.
    layer = [(int(n), int(n)) for n in axes]
    wide, count = ndimage.label(np.pad(inside, layer, mode="wrap"), neighbours)
    box = wide[tuple(slice(1, -1) if n else slice(None) for n in axes)]
    originals = np.pad(box, layer, mode="wrap")
    copies = wide != originals
    same = coo_array((np.ones(copies.sum()), (wide[copies], originals[copies])), shape=(count + 1, count + 1))
    region = connected_components(same, directed=False)[1][box[inside]]
    labels = np.full(inside.shape, -1, dtype=np.int32)
    names, labels[inside] = in_order_of_occurrence(region)
    return labels, len(names)


def in_order_of_occurrence(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels numbered as they first occur, so that nothing depends on what regions are called.

    Returns:
        names (region,) int32; numbers (*shape), such that names[numbers] is ``labels``.
    """
    names, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return names[order].astype(np.int32), rank[inverse].reshape(labels.shape)


def fill_gaps(labels: np.ndarray, periodic: bool) -> np.ndarray:
    """The map with each negative cell given the number of the nearest other cell; unchanged where all are negative."""
    if labels.ndim == 2:
        return _filled(labels, periodic)
    if labels.max() < 0:
        return labels
    # A boundary cell's nearest grain lies within a grain's width: half a box of padding always holds it.
    padding = [(n // 2, n // 2) for n in labels.shape]
    padded = np.pad(labels, padding, mode="wrap") if periodic else np.pad(labels, padding, mode="edge")
    nearest = ndimage.distance_transform_edt(padded < 0, return_distances=False, return_indices=True)
    centre = tuple(slice(before, before + n) for (before, _), n in zip(padding, labels.shape, strict=True))
    return padded[tuple(nearest)][centre]


@compiled
def _filled(labels: np.ndarray, periodic: bool) -> np.ndarray:
    """:func:`fill_gaps` in two dimensions.

    Of several equally near cells it is the last in the order of rows: any rule that changes from cell to cell makes
    boundaries jagged, and longer. Squares of growing size are searched: gaps are thin.
    """
    rows, columns = labels.shape
    out = labels.copy()
    limit = max(rows, columns)
    for y in range(rows):
        for x in range(columns):
            if labels[y, x] >= 0:
                continue
            best, nearest = 4 * limit * limit, -1
            reach = 1
            while reach <= limit and best >= reach * reach:
                for i in range(-reach, reach + 1):
                    row = y + i
                    if periodic:
                        row %= rows
                    elif row < 0 or row >= rows:
                        continue
                    # Only the rim of the square is new.
                    step = 1 if abs(i) == reach else 2 * reach
                    for j in range(-reach, reach + 1, step):
                        column = x + j
                        if periodic:
                            column %= columns
                        elif column < 0 or column >= columns:
                            continue
                        distance = i * i + j * j
                        if labels[row, column] >= 0 and distance <= best:
                            best, nearest = distance, labels[row, column]
                reach += 1
            out[y, x] = nearest
    return out
