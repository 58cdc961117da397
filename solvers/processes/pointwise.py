"""Pointwise terms of the equations, compiled for the CPU in one pass; on other devices the callers use torch."""

from __future__ import annotations

import numpy as np
import torch

from solvers.compiled import compiled, compiled_sums


def compilable(field: torch.Tensor) -> bool:
    """Whether the compiled forces apply: on the CPU, where no gradient is needed."""
    return field.device.type == "cpu" and not field.requires_grad


@compiled_sums
def double_well_force(u: np.ndarray, largest: np.ndarray) -> None:
    """u (batch, cell) becomes u^3 - u; ``largest`` (batch,) the largest u^2, NaN where any is."""
    kind = largest.dtype.type
    for b in range(u.shape[0]):
        row = u[b]
        top = kind(0.0)
        broken = kind(0.0)
        for i in range(len(row)):
            square = row[i] * row[i]
            top = max(top, square)
            broken += kind(0.0) * square  # NaN for infinity and NaN, which a maximum may pass over
            row[i] *= square - kind(1.0)
        largest[b] = top + broken


@compiled_sums
def grain_force(eta: np.ndarray, gamma: np.ndarray, phi: np.ndarray, largest: np.ndarray) -> None:
    """``eta`` (batch, grain, cell) becomes eta (1 - 2 gamma phi + (2 gamma - 1) eta^2), with ``phi`` (cell,) for work.

    ``largest`` (batch,) is filled with the largest phi = sum eta^2, NaN where any is; ``gamma`` is (batch,).
    """
    kind = phi.dtype.type
    one, two = kind(1.0), kind(2.0)
    for b in range(eta.shape[0]):
        double = two * gamma[b]
        phi[:] = kind(0.0)
        for g in range(eta.shape[1]):
            row = eta[b, g]
            for i in range(len(row)):
                phi[i] += row[i] * row[i]
        top, broken = kind(0.0), kind(0.0)
        for i in range(len(phi)):
            top = max(top, phi[i])
            broken += kind(0.0) * phi[i]
            phi[i] = one - double * phi[i]
        largest[b] = top + broken
        for g in range(eta.shape[1]):
            row = eta[b, g]
            for i in range(len(row)):
                row[i] *= phi[i] + (double - one) * row[i] * row[i]


@compiled_sums
def double_well_mean(composition: np.ndarray, rho: float, ca: float, cb: float, mean: np.ndarray) -> None:
    """``mean`` (row,) of rho (c - ca)^2 (cb - c)^2 over the cells of ``composition`` (row, cell)."""
    kind = composition.dtype.type
    low, high = kind(ca), kind(cb)
    for b in range(composition.shape[0]):
        row = composition[b]
        total = kind(0.0)
        for i in range(len(row)):
            product = (row[i] - low) * (high - row[i])
            total += product * product
        mean[b] = kind(rho) * total / kind(len(row))


@compiled_sums
def weighted_squares(coefficients: np.ndarray, weights: np.ndarray, sums: np.ndarray) -> None:
    """``sums`` (row,) of weight * coefficient^2, coefficients (row, component, F) and weights (F,)."""
    kind = weights.dtype.type
    for b in range(coefficients.shape[0]):
        total = kind(0.0)
        for g in range(coefficients.shape[1]):
            row = coefficients[b, g]
            for i in range(len(weights)):
                total += weights[i] * row[i] * row[i]
        sums[b] = total


def mean_square(coefficients: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Sum over components and modes of weight * coefficient^2, (row, component, F) to (row,)."""
    if not compilable(coefficients):
        return (coefficients.square() @ weights).sum(-1)
    sums = coefficients.new_empty(len(coefficients))
    weighted_squares(coefficients.contiguous().numpy(), weights.contiguous().numpy(), sums.numpy())
    return sums


@compiled_sums
def shift_means(targets: np.ndarray, owners: np.ndarray, fields: np.ndarray, share: float) -> None:
    """Shifts each row of ``fields`` (row, cell) to the mean of ``targets[owners]`` (row, cell), in place, where the
    difference is at most ``share`` of its root mean square."""
    for b in range(len(fields)):
        row, other = fields[b], targets[owners[b]]
        drift, square = 0.0, 0.0
        for i in range(len(row)):
            drift += np.float64(row[i]) - np.float64(other[i])
            square += np.float64(row[i]) * np.float64(row[i])
        drift /= len(row)
        if abs(drift) <= share * np.sqrt(square / len(row)):
            shift = row.dtype.type(drift)
            for i in range(len(row)):
                row[i] -= shift


@compiled
def _largest_component(values: np.ndarray, winners: np.ndarray) -> None:
    for b in range(values.shape[0]):
        best = values[b, 0].copy()
        for g in range(1, values.shape[1]):
            row = values[b, g]
            for i in range(len(row)):
                if row[i] > best[i]:
                    best[i] = row[i]
                    winners[b, i] = g


def largest_component(values: torch.Tensor) -> np.ndarray:
    """The component (row, cell) that is largest at each cell of ``values`` (row, component, *shape)."""
    if not compilable(values):
        return values.argmax(1).flatten(1).cpu().numpy()
    flat = values.flatten(2).contiguous().numpy()
    winners = np.zeros((flat.shape[0], flat.shape[2]), dtype=np.int64)
    _largest_component(flat, winners)
    return winners
