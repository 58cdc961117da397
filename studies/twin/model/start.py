"""The start of the window: a first guess from the first frame, and how far it may be off.

A start is ``base + increment``. Increments are Gaussian fields with the spectrum of an interface that is moved a
little: its profile changes by sech^2(x / (sqrt(2) xi)), whose transform is k xi / sinh(pi k xi / sqrt(2)). What is
rougher than that is noise of the camera, no state. They are large where the guess has an interface and small in the
bulk, which relaxes by itself. They are written in whitened coefficients w (a unit normal prior). The mean of a
composition is one of them: it is estimated too, and whatever it is the dynamics conserves it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from solvers.grids.grid import Grid
from solvers.grids.resampling import resample
from solvers.grids.spectral_basis import Basis
from studies.twin.observations.segmentation import fields_from_labels, segment, share_fields

#: Standard deviation of increments of an order parameter: labels say where a boundary is, not its profile.
#: A boundary that is off by half its width changes them by this much.
GRAIN_AMPLITUDE = 0.5
#: That of a composition is this, and this share of the noise: larger ones would fit the first frame's noise.
AMPLITUDE, NOISE_SHARE = 0.1, 0.6
#: Interface length of increments over that of the material: kappa is not known yet, and too smooth is worse.
SHARPER = 0.8
#: Noise of a composition that a guess may keep, and the widest filter (cells).
QUIET, WIDEST = 0.03, 1.8
#: Share of an increment's amplitude in the bulk.
BULK = {"cahn_hilliard": 0.1, "grain_growth": 0.3}
#: Slope of a guess after filtering, over that before.
STEEPER = 1.5
#: Composition of a pure phase lies this far beyond its well at most (Gibbs and Thomson).
BOUND = {"cahn_hilliard": (-1.15, 1.15), "grain_growth": (-0.1, 1.05)}


@dataclass
class FirstGuess:
    """A first guess on the user's cells, kept independent of internal grids.

    Attributes:
        process: of the twin.
        amplitude: standard deviation of increments at interfaces.
        composition: (y, x) in [-1, 1]; None for grains.
        labels: (4 y, 4 x) grain of each fine cell; None for Cahn-Hilliard.
        field_of: (grain,) field of each grain; None for Cahn-Hilliard.
        doubt: (name,) deviation of the parameters that comes from not knowing the grains; None for Cahn-Hilliard.
    """

    process: str
    amplitude: float
    composition: np.ndarray | None = None
    labels: np.ndarray | None = None
    field_of: np.ndarray | None = None
    doubt: np.ndarray | None = None

    @property
    def components(self) -> int:
        """Fields of the state."""
        return 1 if self.field_of is None else int(self.field_of.max()) + 1

    def base(self, grid: Grid, basis: Basis) -> torch.Tensor:
        """Coefficients (component, F) on an internal grid."""
        if self.composition is not None:
            field = resample(torch.from_numpy(self.composition)[None], basis.shape, grid.boundary)
        else:
            assert self.labels is not None and self.field_of is not None  # noqa: PT018
            field = fields_from_labels(self.labels, self.field_of, grid, basis.shape)
        return basis.forward(field.to(basis.k2.dtype))


def first_guess(process: str, image: np.ndarray, grid: Grid, noise: float) -> FirstGuess:
    """A start from the first frame.

    Args:
        image: (y, x) at the user's cells, no gaps: composition in [-1, 1], or phi.
        noise: standard deviation of its noise.

    Raises:
        InputError: where no grain is seen.
    """
    if process == "cahn_hilliard":
        smooth = torch.from_numpy(_smooth(image, grid, noise))
        return FirstGuess(
            process, AMPLITUDE + NOISE_SHARE * noise, composition=limited(smooth[None], process)[0].numpy()
        )
    labels = segment(np.clip(image, 0.0, 1.1), grid, noise)
    return FirstGuess(process, GRAIN_AMPLITUDE, labels=labels, field_of=share_fields(labels, grid))


def where_uncertain(process: str, base: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Share (component, *shape) of an increment that each cell may take: 1 at interfaces, :data:`BULK` in the bulk.

    Args:
        base: (component, *shape) the guess, on an internal grid.
    """
    values = base.double().numpy()
    if process == "cahn_hilliard":
        interface = 1.0 - np.clip(values, -1.0, 1.0) ** 2
    else:
        eta = np.clip(values, 0.0, 1.0)
        interface = 4.0 * eta * (1.0 - eta)
    mode = "wrap" if grid.boundary == "periodic" else "reflect"
    cells = base.shape[-1] / grid.shape[-1]
    # As wide as an interface may be off.
    wide = ndimage.gaussian_filter(interface, (0.0, cells, cells), mode=mode)
    return torch.from_numpy(np.clip(2.0 * wide, BULK[process], 1.0)).to(base.dtype)


def _smooth(image: np.ndarray, grid: Grid, noise: float) -> np.ndarray:
    """A composition with little of its noise left.

    The first frame is used once more, as data: noise that stayed in the guess would then count as seen twice. So it is
    filtered until :data:`QUIET` is left, and the contrast that interfaces lose is put back by a steeper slope.
    """
    width = min(WIDEST, noise / (2.0 * math.sqrt(math.pi) * QUIET))
    if width < 0.35:
        return image
    mode = "wrap" if grid.boundary == "periodic" else "reflect"
    smooth = ndimage.gaussian_filter(image, width, mode=mode)
    return np.tanh(STEEPER * smooth) / math.tanh(STEEPER)


def increment_spread(amplitude: float, basis: Basis, kappa: float) -> torch.Tensor:
    """Standard deviation (F,) of each coefficient of an increment; their variances add up to that of a cell.

    Args:
        amplitude: standard deviation of a cell at an interface.
        kappa: sets the interface length sqrt(kappa) (length, W = 1).
    """
    x = (math.pi / math.sqrt(2.0) * SHARPER * math.sqrt(kappa)) * basis.k2.double().sqrt()
    shape = torch.where(x > 1e-4, x / torch.sinh(x.clamp(1e-4, 50.0)), 1.0)
    total = (basis.weights.double() * shape.square()).sum()
    return (amplitude * shape / total.sqrt()).to(basis.k2.dtype).clamp_min(1e-12)


def limited(fields: torch.Tensor, process: str) -> torch.Tensor:
    """Starts (..., component, y, x) inside the bounds; compositions keep their mean."""
    low, high = BOUND[process]
    inside = fields.clamp(low, high)
    if process != "cahn_hilliard":
        return inside
    # What limiting took away or added goes back evenly: a tiny shift, for limits touch few cells.
    return inside + (fields - inside).mean((-2, -1), keepdim=True)
