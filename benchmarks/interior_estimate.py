"""How well the boundary-free estimate finds mobility and kappa from windows of larger specimens.

    python benchmarks/interior_estimate.py [--seeds calibrate|report] [--windows 16] [--out FOLDER]

Windows of 48 to 96 cells are cut from periodic boxes of 128 and 192 cells that the solver ran at a tolerance of 1e-3,
ten frames each, with noise of 0.1 and 0.4 in c (wells at -1 and 1; given). Constants of the estimate were chosen on the
seeds ``calibrate``. Coverage: truths within 1.64 of the estimate's own standard errors (90 % of a normal distribution).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from common.runs import say

from solvers import CahnHilliard, Grid, simulate
from solvers.initial import noise as noisy_start
from studies.twin.model.weak_form import interior_estimate
from sweeps.files import write_text

NOISES = (0.1, 0.4)
PAGE = """# Mobility and kappa from the interior of frames

Windows of 48 to 96 cells, cut from specimens of 128 and 192 cells; ten frames, noise in c (wells at -1 and 1), one
estimate each: no boundary, no start and no simulation is involved (`phasetwin inspect FRAMES --process cahn_hilliard`).
Errors are absolute and relative; coverage is the share of truths within 1.64 standard errors, nominally 90 %, of
mobility and of kappa; s is the time of an estimate on one core of a busy machine.

Made by `{command}`.
"""
FIRST_SEED = {"calibrate": 1000, "report": 2000}


@dataclass(frozen=True)
class Window:
    """Frames (time, y, x) without noise, and what made them."""

    frames: np.ndarray
    times: np.ndarray
    mobility: float
    kappa: float


def window(seed: int) -> Window:
    """A window of a specimen drawn from the seed."""
    rng = np.random.default_rng(seed)
    box, cells = int(rng.choice([128, 192])), int(rng.choice([48, 64, 96]))
    mobility, kappa = float(rng.uniform(0.5, 1.5)), float(rng.uniform(0.5, 2.0))
    grid = Grid((box, box))
    start = noisy_start(grid, composition=float(rng.uniform(-0.3, 0.3)), amplitude=0.05, seeds=[seed])
    first = rng.uniform(20.0, 60.0)
    times = first + rng.uniform(60.0, 150.0) * np.linspace(0.0, 1.0, 10)
    field = simulate(CahnHilliard(grid, mobility, kappa), start, times.tolist(), 1e-3)[0].numpy()
    y, x = rng.integers(0, box - cells + 1, 2)
    return Window(field[:, y : y + cells, x : x + cells], times, mobility, kappa)


def table(windows: list[Window], level: float, seed: int) -> str:
    """One row: median and 90th percentile of the errors, coverage, and the time of an estimate."""
    errors, covered, seconds, silent = [], [], [], 0
    for number, one in enumerate(windows):
        draw = np.random.default_rng([seed, number]).standard_normal(one.frames.shape)
        begun = time.perf_counter()
        found = interior_estimate(
            one.frames + level * draw, np.ones(one.frames.shape, dtype=bool), one.times, level, 1.0
        )
        seconds.append(time.perf_counter() - begun)
        if found is None:
            silent += 1
            continue
        off = (found.mobility / one.mobility - 1.0, found.kappa / one.kappa - 1.0)
        errors.append(np.abs(off))
        covered.append([abs(off[0]) <= 1.64 * found.mobility_error, abs(off[1]) <= 1.64 * found.kappa_error])
    middle, high = np.median(errors, axis=0), np.percentile(errors, 90, axis=0)
    share = np.mean(covered, axis=0)
    return (
        f"| {level:g} | {len(windows)} | {silent} | {middle[0]:.1%}, {high[0]:.1%} | {middle[1]:.1%}, {high[1]:.1%} "
        f"| {share[0]:.0%}, {share[1]:.0%} | {np.median(seconds):.3f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", choices=sorted(FIRST_SEED), default="report")
    parser.add_argument("--windows", type=int, default=16)
    parser.add_argument("--out", type=Path)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    first = FIRST_SEED[settings.seeds]
    windows = [window(first + number) for number in range(settings.windows)]
    lines = [
        "| noise | windows | no estimate | mobility error: median, 90th percentile | kappa error | coverage | s |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(table(windows, level, first) for level in (0.0, *NOISES)),
    ]
    say("\n".join(lines))
    if settings.out is not None:
        command = f"python benchmarks/interior_estimate.py --seeds {settings.seeds} --windows {settings.windows}"
        write_text(settings.out / "interior_estimate.md", "\n".join([PAGE.format(command=command), *lines, ""]))


if __name__ == "__main__":
    main()
