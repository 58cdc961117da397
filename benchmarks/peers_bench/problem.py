"""The problems that are solved, and how an answer is judged.

Cahn-Hilliard, ``c_t = M lap(c^3 - c - kappa lap c)`` in periodic boxes of n x n points (spacing 1), given and returned
at these points: a smooth random start with M = kappa = 1, which every contender solves, and white-noise starts of two
other materials. A contender may compute on its own finer grid; going there and back is trigonometric interpolation.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from common import cache_folder
from common.spectral import Array, Etdrk, interpolate, relative_l2, smooth_noise, wavenumbers

TRAJECTORIES = 64
"""Size of the batch; trajectory i starts from ``initial_field(i)``."""

_CHUNK = 4
_NOISE = 0.05


@dataclass(frozen=True)
class Problem:
    """A material, its box and its starts.

    Attributes:
        cells: n, also the side of the box.
        mean: mean composition.
        start: ``smooth``, white noise times exp(-k^2 / (2 * 0.5^2)) of standard deviation 0.1; or ``noise``, white of
            standard deviation 0.05.
        judged: on how many trajectories errors are taken, at most.
        reference: cells along an axis, and (time, equal steps until then) of the converged ETDRK4 solution. Against
            half as many steps and 7/8 of the cells the answers agree to 1e-6, enough to judge errors of 1e-4.
    """

    name: str
    cells: int
    kappa: float
    mobility: float
    mean: float
    start: Literal["smooth", "noise"]
    t_end: float
    judged: int
    reference: tuple[int, tuple[tuple[float, int], ...]]

    @property
    def title(self) -> str:
        """One line for the report."""
        start = "a smooth random field of standard deviation 0.1" if self.start == "smooth" else "white noise of 0.05"
        return (
            f"{self.cells} x {self.cells}, kappa = {self.kappa:g}, M = {self.mobility:g}, from {start} around "
            f"{self.mean:g}, to t = {self.t_end:g}"
        )

    def initial_field(self, seed: int) -> Array:
        """The start of trajectory ``seed``, (cells, cells)."""
        shape = (self.cells, self.cells)
        if self.start == "smooth":
            return smooth_noise(shape, 0.1, self.mean, seed, wavelength=2 * np.pi * np.sqrt(2.0))
        draw = _NOISE * np.random.default_rng(seed).standard_normal(shape)
        return np.asarray(draw - draw.mean() + self.mean)

    def initial_fields(self, count: int = TRAJECTORIES) -> Array:
        """The first ``count`` starts, (count, cells, cells)."""
        return np.stack([self.initial_field(seed) for seed in range(count)])


FIRST = Problem("smooth-64", 64, 1.0, 1.0, 0.0, "smooth", 100.0, TRAJECTORIES, (128, ((100.0, 5000),)))
# Noise decays at once, and a fixed step that suits the rest makes most of its error then.
PROBLEMS = {
    problem.name: problem
    for problem in (
        FIRST,
        Problem("noise-64", 64, 0.7, 1.3, 0.15, "noise", 100.0, 8, (144, ((2.0, 800), (100.0, 4900)))),
        Problem("noise-96", 96, 1.4, 0.8, -0.1, "noise", 300.0, 8, (160, ((4.0, 800), (300.0, 7400)))),
    )
}

# Of the first problem, which is all that most contenders solve.
BOX, CELLS, T_END = float(FIRST.cells), FIRST.cells, FIRST.t_end


def resample(fields: Array, cells: int) -> Array:
    """Periodic fields (..., n, n) at the points of a ``cells`` x ``cells`` grid, by trigonometric interpolation."""
    return interpolate(fields, (cells, cells))


def relative_errors(fields: Array, reference: Array) -> Array:
    """Relative L2 error of each trajectory, (batch, n, n) twice -> (batch,); infinite where not finite."""
    with np.errstate(all="ignore"):
        errors = relative_l2(fields, reference)
    return np.where(np.isfinite(errors), errors, np.inf)


class NumpyEtdrk:
    """Fixed steps of ETDRK2 or ETDRK4 on a ``cells`` x ``cells`` Fourier grid, no dealiasing.

    Args:
        cells: grid points along each axis.
        steps: number of equal steps to ``t_end``, or (time, equal steps until then) for several parts.
        order: 2 or 4.
        t_end: time to reach, by default the problem's.
        problem: what to solve.
    """

    def __init__(
        self,
        cells: int,
        steps: int | tuple[tuple[float, int], ...],
        order: int,
        t_end: float | None = None,
        problem: Problem = FIRST,
    ) -> None:
        self._shape = (cells, cells)
        ky, kx = wavenumbers(self._shape, (problem.cells, problem.cells))
        k2 = ky**2 + kx**2
        self._minus_k2 = -problem.mobility * k2
        parts = steps if isinstance(steps, tuple) else ((problem.t_end if t_end is None else t_end, steps),)
        linear = problem.mobility * (k2 - problem.kappa * k2**2)
        begins = [0.0, *(time for time, _ in parts)]
        self._parts = [
            (Etdrk(linear, self._nonlinear, (time - begin) / count, order), count)
            for begin, (time, count) in zip(begins, parts, strict=False)
        ]

    def __call__(self, fields: Array) -> Array:
        """User fields (batch, n, n) at the start -> at ``t_end``."""
        u = np.fft.rfft2(interpolate(fields, self._shape))
        with np.errstate(all="ignore"):  # a diverging run ends in inf or nan, which the caller judges
            for advance, count in self._parts:
                for _ in range(count):
                    u = advance(u)
            return resample(np.fft.irfft2(u, s=self._shape), fields.shape[-1])

    def _nonlinear(self, u: Array) -> Array:
        """-M k^2 times the transform of c^3."""
        c = np.fft.irfft2(u, s=self._shape)
        return self._minus_k2 * np.fft.rfft2(c * c * c)


def reference_file(problem: Problem, count: int) -> Path:
    """File of the converged fields (``count`` or more, n, n) at the end, computed on first use (8 to 40 s each)."""
    cells, parts = problem.reference
    name = f"cells{cells}-steps{sum(steps for _, steps in parts)}.npy"
    stem = "peers-reference" if problem is FIRST else f"peers-{problem.name}-reference"
    for path in sorted(cache_folder().glob(f"{stem}-*-{name}")):
        if int(path.name.removeprefix(f"{stem}-").split("-")[0]) >= count:
            return path
    solver = NumpyEtdrk(cells, parts, order=4, problem=problem)
    initial = problem.initial_fields(count)
    answers = []
    for start in range(0, count, _CHUNK):
        print(f"reference of {problem.name}: trajectory {start + 1} of {count}", file=sys.stderr, flush=True)
        answers.append(solver(initial[start : start + _CHUNK]))
    path = cache_folder() / f"{stem}-{count}-{name}"
    np.save(path, np.concatenate(answers))
    return path
