"""Sixty cases for each of two sets of seeds, from one seeded function: settings are chosen on one set, the other is
published."""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass

import numpy as np
import torch
from scipy import fft

from solvers import CahnHilliard, Grid
from solvers.initial import noise, voronoi
from solvers.processes.grain_growth import GrainGrowth

Array = np.ndarray

#: By the name of a set, the seed of its cases.
SETS = {"calibrate": 1701, "report": 1702}
CAHN_HILLIARD, GRAINS = 44, 16

NOISE, SMOOTH = 0.05, 0.1  # standard deviations of the starts
_BOXES = (*[48] * 5, *[64] * 8, *[80] * 5, *[96] * 5, *[128] * 4, *[256] * 3)  # of 30 with constant mobility
_CONTRAST_BOXES = (*[48] * 5, *[64] * 6, *[80] * 3)  # of 14, of which a step costs several times more
_GRAIN_BOXES = (*[64] * 6, *[96] * 4, *[128] * 2)


@dataclass(frozen=True)
class Case:
    """One trajectory: what is solved, its start and its output times.

    Attributes:
        name: of the set and the number in it, such as ``report-07``.
        process: ``cahn_hilliard`` or ``grain_growth``.
        cells: along both axes, spacing 1.
        start: ``noise`` (white), ``smooth`` (low-pass), ``circle`` (a grain in another) or ``voronoi``.
        seed: of the start.
        composition, contrast: mean composition and mobility contrast; 0 for grains.
        length: shortest wavelength of a smooth start (its spectrum falls as exp(-(k length / 2 pi)^2 / 2)), radius of
            a circle, number of grains; 0 for noise.
    """

    name: str
    process: str
    cells: int
    boundary: str
    kappa: float
    mobility: float
    composition: float
    contrast: float
    start: str
    seed: int
    length: float
    times: tuple[float, ...]

    @property
    def grid(self) -> Grid:
        """The user's grid."""
        return Grid((self.cells, self.cells), 1.0, self.boundary)  # type: ignore[arg-type]

    @property
    def digest(self) -> str:
        """Of everything that decides the answer."""
        return hashlib.sha256(repr(sorted(asdict(self).items())).encode()).hexdigest()[:16]

    def problem(self) -> CahnHilliard | GrainGrowth:
        """What is solved."""
        if self.process == "grain_growth":
            return GrainGrowth(self.grid, self.mobility, self.kappa)
        return CahnHilliard(self.grid, self.mobility, self.kappa, mobility_contrast=self.contrast)

    def initial(self) -> torch.Tensor:
        """The start, (1, cells, cells): compositions in float64, or labels of grains."""
        if self.start == "noise":
            return noise(self.grid, self.composition, NOISE, seeds=[self.seed])
        if self.start == "voronoi":
            return voronoi(self.grid, int(self.length), seeds=[self.seed])
        made = _smooth if self.start == "smooth" else _circle
        return torch.from_numpy(made(self))[None]


def cases_of(name: str) -> list[Case]:
    """The cases of a set, ``calibrate`` or ``report``."""
    rng = np.random.default_rng(SETS[name])
    boxes = iter(rng.permutation(_BOXES).tolist())
    contrast_boxes = iter(rng.permutation(_CONTRAST_BOXES).tolist())
    cases = []
    for number in range(CAHN_HILLIARD):
        varied = number % 3 == 2
        cases.append(
            _cahn_hilliard(f"{name}-{number:02d}", number, int(next(contrast_boxes if varied else boxes)), rng)
        )
    grain_boxes = rng.permutation(_GRAIN_BOXES).tolist()
    for number in range(GRAINS):
        label = f"{name}-{CAHN_HILLIARD + number:02d}"
        circle = number < GRAINS - len(grain_boxes)
        cases.append(_shrinking(label, number, rng) if circle else _voronoi(label, number, grain_boxes.pop(), rng))
    return cases


def _cahn_hilliard(name: str, number: int, box: int, rng: np.random.Generator) -> Case:
    """Every third has a mobility contrast, every seventh walls, every second a smooth start."""
    contrast = float(rng.uniform(0.1, 1.0)) if number % 3 == 2 else 0.0
    # What this machine can measure in minutes: large boxes and contrasts do not go on to 2,000.
    most = {True: 2000.0 * (48 / box) ** 2, False: 2000.0 if box < 128 else 2000.0 * (64 / box) ** 2}[contrast > 0.0]
    stop = float(np.exp(rng.uniform(math.log(50.0), math.log(most))))
    smooth = number % 2 == 1
    return Case(
        name,
        "cahn_hilliard",
        box,
        "no_flux" if number % 7 == 6 else "periodic",
        kappa=_short(rng.uniform(1.0 if box == 256 else 0.5, 2.0)),
        mobility=_short(rng.uniform(0.5, 1.5)),
        composition=_short(rng.uniform(-0.4, 0.4)),
        contrast=_short(contrast),
        start="smooth" if smooth else "noise",
        seed=int(rng.integers(2**31)),
        length=_short(rng.uniform(6.0, 16.0)) if smooth else 0.0,
        times=_times(stop, rng),
    )


def _shrinking(name: str, number: int, rng: np.random.Generator) -> Case:
    """A circle of one grain in another: two long ones that are known to be hard, one in walls, one short."""
    seed = int(rng.integers(2**31))
    box, boundary, radius, kappa, mobility, stop = (
        (128, "periodic", 40.0, 1.0, 1.0, 600.0),
        (128, "periodic", 40.0, 0.5, 0.5, 2600.0),
        (96, "no_flux", _short(rng.uniform(20, 30)), _short(rng.uniform(0.5, 1.5)), _short(rng.uniform(0.5, 1.5)), 0.0),
        (
            64,
            "periodic",
            _short(rng.uniform(14, 24)),
            _short(rng.uniform(0.5, 1.5)),
            _short(rng.uniform(0.5, 1.5)),
            0.0,
        ),
    )[number]
    # R^2 falls as 2 M kappa t: until it is 0.3 of what it was.
    stop = stop or 0.7 * radius**2 / (2.0 * mobility * kappa)
    times = _times(stop, rng)
    return Case(name, "grain_growth", box, boundary, kappa, mobility, 0.0, 0.0, "circle", seed, radius, times)


def _voronoi(name: str, number: int, box: int, rng: np.random.Generator) -> Case:
    """20 to 100 grains that have room for their boundaries."""
    grains = int(rng.integers(20, min(100, box * box // 64) + 1))
    boundary = "no_flux" if number % 5 == 4 else "periodic"
    kappa, mobility = _short(rng.uniform(0.5, 1.5)), _short(rng.uniform(0.5, 1.5))
    seed, stop = int(rng.integers(2**31)), float(np.exp(rng.uniform(math.log(50.0), math.log(400.0))))
    times = _times(stop, rng)
    return Case(name, "grain_growth", box, boundary, kappa, mobility, 0.0, 0.0, "voronoi", seed, float(grains), times)


def _times(stop: float, rng: np.random.Generator) -> tuple[float, ...]:
    """Six to ten, closer together early."""
    return tuple(_short(t) for t in np.geomspace(rng.uniform(0.03, 0.1) * stop, stop, int(rng.integers(6, 11))))


def _short(value: float) -> float:
    """Four digits: what a table shows is what was computed."""
    return float(f"{value:.4g}")


def _smooth(case: Case) -> Array:
    """White noise with the boundary's own smooth low-pass, of standard deviation 0.1 around the composition."""
    draw = np.random.default_rng(case.seed).standard_normal((case.cells, case.cells))
    periodic = case.boundary == "periodic"
    waves = fft.fftfreq(case.cells) if periodic else np.arange(case.cells) / (2.0 * case.cells)
    spectrum = fft.fft2(draw) if periodic else fft.dctn(draw)
    spectrum = spectrum * np.exp(-0.5 * case.length**2 * (waves[:, None] ** 2 + waves[None, :] ** 2))
    spectrum[0, 0] = 0.0
    field = fft.ifft2(spectrum).real if periodic else fft.idctn(spectrum)
    return np.asarray(case.composition + SMOOTH * field / field.std())


def _circle(case: Case) -> Array:
    """Labels: 1 within the radius of a centre near the middle of the box, else 0."""
    centre = case.cells / 2 + np.random.default_rng(case.seed).uniform(-1.0, 1.0, 2)
    y, x = np.meshgrid(*[np.arange(case.cells) + 0.5] * 2, indexing="ij")
    return np.asarray((y - centre[0]) ** 2 + (x - centre[1]) ** 2 < case.length**2, dtype=np.int64)
