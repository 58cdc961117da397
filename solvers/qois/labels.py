"""Grains as connected regions of a two-dimensional map, compiled: components across periodic faces, and gaps filled."""

from __future__ import annotations

import numba
import numpy as np

_jit = numba.njit(cache=True, nogil=True, error_model="numpy")


@_jit  # type: ignore[untyped-decorator]
def _root(parent: np.ndarray, label: int) -> int:
    while parent[label] != label:
        parent[label] = parent[parent[label]]
        label = parent[label]
    return label


@_jit  # type: ignore[untyped-decorator]
def _join(parent: np.ndarray, a: int, b: int) -> None:
    a, b = _root(parent, a), _root(parent, b)
    parent[max(a, b)] = min(a, b)


@_jit  # type: ignore[untyped-decorator]
def components(inside: np.ndarray, periodic: bool, labels: np.ndarray) -> int:
    """Numbers the regions connected through cell faces.

    Args:
        inside: bool (y, x).
        periodic: whether opposite faces touch.
        labels: int32 (y, x), filled in: 0, 1, ... in the order of their first cells, -1 outside.

    Returns:
        How many there are.
    """
    rows, columns = inside.shape
    parent = np.empty(rows * columns // 2 + 1, dtype=np.int32)
    count = 0
    for y in range(rows):
        for x in range(columns):
            if not inside[y, x]:
                labels[y, x] = -1
                continue
            left = labels[y, x - 1] if x > 0 else -1
            above = labels[y - 1, x] if y > 0 else -1
            if left < 0 and above < 0:
                parent[count] = count
                labels[y, x] = count
                count += 1
            elif left < 0 or above < 0:
                labels[y, x] = max(left, above)
            else:
                labels[y, x] = left
                if left != above:
                    _join(parent, left, above)
    if periodic:
        for y in range(rows):
            if labels[y, 0] >= 0 and labels[y, columns - 1] >= 0:
                _join(parent, labels[y, 0], labels[y, columns - 1])
        for x in range(columns):
            if labels[0, x] >= 0 and labels[rows - 1, x] >= 0:
                _join(parent, labels[0, x], labels[rows - 1, x])
    return _renumber(labels, parent[:count])


@_jit  # type: ignore[untyped-decorator]
def _renumber(labels: np.ndarray, parent: np.ndarray) -> int:
    number = np.full(len(parent), -1, dtype=np.int32)
    found = 0
    for label in range(len(parent)):
        root = _root(parent, label)
        if number[root] < 0:
            number[root] = found
            found += 1
        number[label] = number[root]
    rows, columns = labels.shape
    for y in range(rows):
        for x in range(columns):
            if labels[y, x] >= 0:
                labels[y, x] = number[labels[y, x]]
    return found


@_jit  # type: ignore[untyped-decorator]
def filled(labels: np.ndarray, periodic: bool) -> np.ndarray:
    """The same map, cells that are negative given the number of the nearest cell that is not; unchanged where there is
    none at all. Of several equally near it is the last in the order of rows: any rule that changes from cell to
    cell makes boundaries jagged, and longer. Squares of growing size are searched: gaps are thin."""
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
