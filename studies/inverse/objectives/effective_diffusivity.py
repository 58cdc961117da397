"""Structure-property: the effective diffusivity (or conductivity) of the thresholded two-phase structure, by taufactor.

Kench, Squires and Cooper, J. Open Source Softw. 8, 5358 (2023), doi:10.21105/joss.05358. The flux goes through two open
faces; across it the box is periodic where the sweep's is.
"""

from __future__ import annotations

import contextlib
import io
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from solvers.errors import InputError
from solvers.grids.grid import Grid
from studies.inverse.config import Conductor
from studies.inverse.objectives.features import FieldStatistic

if TYPE_CHECKING:
    import torch

#: Largest difference of the flux through two layers, as a share: what is left to the diffusivity is far less.
CONVERGED = 1e-3
ITERATIONS = 20_000


def diffusivity(conductor: Conductor, middle: float) -> FieldStatistic:
    """The statistic (batch, y, x) -> (batch, 1): D_eff in the units of the phases' diffusivities.

    A composition above ``middle`` belongs to the phase at the higher one. Raises InputError without taufactor.
    """
    try:
        import taufactor
    except ImportError:
        raise InputError(
            "objectives: effective_diffusivity needs taufactor, which is not installed; pip "
            "install 'phasetwin[transport]'"
        ) from None
    return _Diffusivity(taufactor, conductor, middle)


class _Diffusivity:
    def __init__(self, taufactor: ModuleType, conductor: Conductor, middle: float) -> None:
        self._taufactor, self._conductor, self._middle = taufactor, conductor, middle

    def __call__(self, fields: torch.Tensor, grid: Grid) -> torch.Tensor:
        high = (fields > self._middle).numpy()
        # The flux goes along the first axis.
        images = high if self._conductor.along == "y" else high.swapaxes(-1, -2)
        conductor = self._conductor
        # taufactor says on stdout that nothing percolates; the answer, 0, says the same.
        with contextlib.redirect_stdout(io.StringIO()):
            if conductor.low and conductor.high:
                found = np.array([self._both(image) for image in images])
            else:
                conducting = images if conductor.high else ~images
                found = self._one(conducting, max(conductor.low, conductor.high), grid)
        return fields.new_tensor(found)[:, None]

    def _one(self, images: np.ndarray, diffusivity: float, grid: Grid) -> np.ndarray:
        periodic = grid.boundary == "periodic"
        found = np.zeros(len(images))
        # Without a way through the flux decays for ever and taufactor would wait for it.
        through = np.array([percolates(image, periodic) for image in images])
        if not through.any():
            return found
        solver = self._taufactor.PeriodicSolver if periodic else self._taufactor.Solver
        solved = solver(images[through].astype(np.float32)[..., None], D_0=diffusivity, device="cpu")
        solved.solve(verbose=False, conv_crit=CONVERGED, iter_limit=ITERATIONS)
        found[through] = np.asarray(solved.D_eff, dtype=np.float64)
        return found

    def _both(self, image: np.ndarray) -> float:
        """taufactor solves two conductors one image at a time, with insulated sides."""
        labels = np.where(image, 2, 1).astype(np.float32)[..., None]
        phases = {1: self._conductor.low, 2: self._conductor.high}
        solved = self._taufactor.MultiPhaseSolver(labels, cond=phases, device="cpu")
        solved.solve(verbose=False, conv_crit=CONVERGED, iter_limit=ITERATIONS)
        return float(np.asarray(solved.D_eff).reshape(-1)[0])


def percolates(image: np.ndarray, periodic: bool) -> bool:
    """Whether the true cells of a picture connect its first row with its last; sides may be periodic."""
    from solvers.grains.labels import components  # loads numba

    labels, _ = components(image, (False, periodic))
    first, last = labels[0], labels[-1]
    return bool(np.intersect1d(first[first >= 0], last[last >= 0]).size)
