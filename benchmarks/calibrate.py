"""Measures the constants of :mod:`solvers.accuracy` for Cahn-Hilliard: ``python benchmarks/calibrate.py``.

Space: error of an internal grid at negligible step error, against a much finer grid. Time: error of a step tolerance
on a grid that is fine enough, against much smaller steps. Each over seeds, mean compositions and amplitudes; the
worst over all times is what counts. Boxes of 48 interface lengths, smooth starts.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from solvers import CahnHilliard, Grid
from solvers.grids.resampling import resample
from solvers.grids.spectral_basis import basis_for
from solvers.integrators.trajectory import rollout

BOX = 48
TIMES = np.array([5.0, 10.0, 20.0, 40.0, 80.0, 150.0, 250.0, 400.0])


def starts(seeds: int) -> torch.Tensor:
    """Low-pass noise around several compositions and amplitudes, (sample, BOX, BOX)."""
    k = torch.fft.fftfreq(BOX, 1 / BOX, dtype=torch.float64) * (2 * torch.pi / BOX)
    low_pass = torch.exp(-(k[:, None] ** 2 + k[None, :] ** 2) / 0.5)
    fields = []
    for seed in range(seeds):
        white = torch.from_numpy(np.random.default_rng(seed).standard_normal((BOX, BOX)))
        smooth = torch.fft.ifft2(torch.fft.fft2(white) * low_pass).real
        smooth = (smooth - smooth.mean()) / smooth.std()
        for composition, amplitude in ((0.0, 0.1), (0.0, 0.02), (0.3, 0.1), (-0.5, 0.3)):
            fields.append(composition + amplitude * smooth)
    return torch.stack(fields)


def answers(start: torch.Tensor, cells: int, step_tolerance: float) -> tuple[torch.Tensor, int]:
    """(sample, time, BOX, BOX) on the user's grid, and the most evaluations of a sample."""
    grid = Grid((BOX, BOX))
    basis = basis_for(grid, torch.float64, "cpu", (cells, cells))
    equation = CahnHilliard(grid).equation(basis, len(start))
    initial = basis.forward(resample(start, (cells, cells), "periodic"))[:, None]
    out = torch.zeros(len(start), len(TIMES), BOX, BOX, dtype=torch.float64)
    evaluations = np.zeros(len(start), dtype=np.int64)
    for s in rollout(equation, initial, np.tile(TIMES, (len(start), 1)), step_tolerance, evaluations=evaluations):
        out[s.samples, s.times] = resample(basis.inverse(s.coefficients)[:, 0], (BOX, BOX), "periodic")
    return out, int(evaluations.max())


def errors(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Relative L2 error, worst over times, (sample,)."""
    return ((a - b).flatten(2).norm(dim=2) / b.flatten(2).norm(dim=2)).amax(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = parser.parse_args().seeds
    torch.set_num_threads(1)
    start = starts(seeds)
    truth, _ = answers(start, 90, 1e-8)
    print("space: interface length / spacing, cells, worst and median error")
    for cells in (40, 44, 48, 54, 60, 64, 72, 80):
        error = errors(answers(start, cells, 1e-8)[0], truth)
        print(f"  {cells / BOX:.3f} {cells} {error.max():.2e} {error.median():.2e}", flush=True)
    print("time: step tolerance, evaluations, worst and median error")
    for step_tolerance in 10.0 ** np.arange(-2.0, -7.1, -0.5):
        answer, steps = answers(start, 90, step_tolerance)
        error = errors(answer, truth)
        print(f"  {step_tolerance:.1e} {steps} {error.max():.2e} {error.median():.2e}", flush=True)


if __name__ == "__main__":
    main()
