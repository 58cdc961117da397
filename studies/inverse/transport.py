"""Structure-property: the effective diffusivity (or conductivity) of the thresholded two-phase structure, by taufactor.

Kench, Squires and Cooper, J. Open Source Softw. 8, 5358 (2023), doi:10.21105/joss.05358. The flux goes through two open
faces; across it the box is periodic where the sweep's is.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import torch

from solvers.errors import InputError
from solvers.grid import Grid
from studies.inverse.config import Conductor
from studies.inverse.features import FieldStatistic

#: Largest difference of the flux through two layers, as a share: what is left to the diffusivity is far less.
CONVERGED = 1e-3
ITERATIONS = 50_000


def diffusivity(conductor: Conductor, middle: float) -> FieldStatistic:
    """The statistic (batch, y, x) -> (batch, 1): D_eff in the units of the phases' diffusivities.

    Args:
        conductor: diffusivities of the phases and the axis of the flux.
        middle: composition above which a cell belongs to the phase at the higher composition.

    Raises:
        InputError: without taufactor.
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
    def __init__(self, taufactor: Any, conductor: Conductor, middle: float) -> None:
        self._taufactor, self._conductor, self._middle = taufactor, conductor, middle

    def __call__(self, fields: torch.Tensor, grid: Grid) -> torch.Tensor:
        high = (fields > self._middle).numpy()
        # The flux goes along the first axis.
        images = high if self._conductor.along == "y" else high.swapaxes(-1, -2)
        conductor = self._conductor
        # taufactor says on stdout that nothing percolates; the answer, 0, says the same.
        with contextlib.redirect_stdout(io.StringIO()):
            if conductor.low and conductor.high:
                found = [self._both(image) for image in images]
            else:
                conducting = images if conductor.high else ~images
                found = self._one(conducting, max(conductor.low, conductor.high), grid)
        return torch.as_tensor(np.asarray(found, dtype=np.float64))[:, None]

    def _one(self, images: np.ndarray, diffusivity: float, grid: Grid) -> np.ndarray:
        periodic = grid.boundary == "periodic"
        solver = self._taufactor.PeriodicSolver if periodic else self._taufactor.Solver
        solved = solver(images.astype(np.float32)[..., None], D_0=diffusivity, device="cpu")
        solved.solve(verbose=False, conv_crit=CONVERGED, iter_limit=ITERATIONS)
        return np.asarray(solved.D_eff, dtype=np.float64)

    def _both(self, image: np.ndarray) -> float:
        """taufactor solves two conductors one image at a time, with insulated sides."""
        labels = np.where(image, 2, 1).astype(np.float32)[..., None]
        phases = {1: self._conductor.low, 2: self._conductor.high}
        solved = self._taufactor.MultiPhaseSolver(labels, cond=phases, device="cpu")
        solved.solve(verbose=False, conv_crit=CONVERGED, iter_limit=ITERATIONS)
        return float(np.asarray(solved.D_eff).reshape(-1)[0])
