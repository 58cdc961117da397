"""The dimensionless groups that models are conditioned on, and the age in which they count time.

With mobility M, well height W and cell size dx (W = 1 for grain growth), kappa' = kappa / (W dx^2) is the square of the
interface length in cells. Models count time as the scaled age s, in which interfaces move about as far at every kappa':

    Cahn-Hilliard   s = M W t sqrt(kappa') / dx^2     (coarsening at a speed ~ M sqrt(kappa W) / L^2)
    grain growth    s = M W t kappa'                  (boundaries at a speed M kappa times their curvature)

Mobility enters through s alone, so its scaling is exact.
"""

from __future__ import annotations

import numpy as np
import torch

from solvers import CahnHilliard, GrainGrowth

CAHN_HILLIARD = "cahn_hilliard"
GRAIN_GROWTH = "grain_growth"
#: Names of the groups, in the order of a model's input.
GROUPS = {CAHN_HILLIARD: ("kappa", "composition", "contrast"), GRAIN_GROWTH: ("kappa", "gamma")}

Problem = CahnHilliard | GrainGrowth


def process_of(problem: Problem) -> str:
    """``cahn_hilliard`` or ``grain_growth``."""
    return GRAIN_GROWTH if isinstance(problem, GrainGrowth) else CAHN_HILLIARD


def kappa_in_cells(problem: Problem, batch: int) -> np.ndarray:
    """kappa' = kappa / (W dx^2), float64 (batch,)."""
    return problem.reduced_kappa(batch).double().cpu().numpy() / problem.grid.spacing**2


def age_rate(problem: Problem, batch: int) -> np.ndarray:
    """Scaled age per unit of time, float64 (batch,)."""
    kappa = kappa_in_cells(problem, batch)
    scale = problem.time_scale(batch).double().cpu().numpy()
    if isinstance(problem, GrainGrowth):
        return scale * kappa
    return scale * np.sqrt(kappa) / problem.grid.spacing**2


def groups_of(problem: Problem, fields: torch.Tensor) -> dict[str, np.ndarray]:
    """The groups by name, float64 (batch,) each.

    Args:
        problem: the problem of the batch.
        fields: (batch, y, x) any frames of it, in the process's own scaled field.
    """
    batch = len(fields)
    groups = {"kappa": kappa_in_cells(problem, batch)}
    if isinstance(problem, GrainGrowth):
        gamma = torch.as_tensor(problem.gamma, dtype=torch.float64)
        return groups | {"gamma": gamma.expand(batch).cpu().numpy()}
    contrast = torch.as_tensor(problem.mobility_contrast, dtype=torch.float64)
    mean = fields.double().mean((1, 2)).cpu().numpy()
    return groups | {"composition": mean, "contrast": contrast.expand(batch).cpu().numpy()}


def group_inputs(process: str, groups: dict[str, np.ndarray]) -> torch.Tensor:
    """The groups as a network sees them, float32 (batch, group), each of order one."""
    columns = [np.log2(groups["kappa"])]
    if process == GRAIN_GROWTH:
        columns.append(2.0 * (groups["gamma"] - 1.5))
    else:
        columns += [groups["composition"], groups["contrast"]]
    return torch.from_numpy(np.stack(columns, axis=1).astype(np.float32))


def scaled(problem: Problem, fields: torch.Tensor) -> torch.Tensor:
    """Compositions (...) on the scale of the wells, [-1, 1]; phi as it is."""
    return fields if isinstance(problem, GrainGrowth) else problem.well.to_scaled(fields)


def unscaled(problem: Problem, fields: torch.Tensor) -> torch.Tensor:
    """The reverse of :func:`scaled`."""
    return fields if isinstance(problem, GrainGrowth) else problem.well.from_scaled(fields)
