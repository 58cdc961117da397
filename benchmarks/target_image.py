"""The picture that ``studies/examples/target-image.yaml`` looks for: a run that no study sees, as grey values.

python benchmarks/target_image.py --mobility 1.3 --composition 0.15 --seed 90 --out studies/examples/wanted.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from solvers import CahnHilliard, Grid, simulate
from solvers.initial.starts import noise


def picture(mobility: float, composition: float, seed: int, kappa: float = 1.0, time: float = 400.0) -> np.ndarray:
    """uint8 (64, 64): composition -1 to 1 as grey values 0 to 255."""
    grid = Grid(shape=(64, 64), spacing=1.0, boundary="periodic")
    problem = CahnHilliard(grid, mobility=mobility, kappa=kappa)
    field = simulate(problem, noise(grid, composition, 0.05, [seed]), [time], tolerance=1e-4)[0, 0]
    return torch.clamp(127.5 * (field + 1.0), 0, 255).round().to(torch.uint8).numpy()


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mobility", type=float, default=1.3)
    parser.add_argument("--composition", type=float, default=0.15)
    parser.add_argument("--seed", type=int, default=90)
    parser.add_argument("--out", type=Path, default=Path("studies/examples/wanted.png"))
    arguments = parser.parse_args()
    Image.fromarray(picture(arguments.mobility, arguments.composition, arguments.seed)).save(arguments.out)


if __name__ == "__main__":
    main()
