"""Synthetic furnace runs for the examples: ``python studies/examples/make_furnace.py FOLDER``.

The solver makes the truth, the camera adds noise. Parameters are in the file ``truth.json`` that the twins do not read.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from solvers import CahnHilliard, GrainGrowth, Grid, simulate, simulate_grains
from solvers.initial import noise, voronoi


def spinodal(
    cells: int = 48, frames: int = 8, sigma: float = 0.05, seed: int = 7
) -> tuple[xr.Dataset, dict[str, float]]:
    """Grey frames of phase separation, dims (time, y, x), and what made them."""
    truth = {"mobility": 1.3, "kappa": 1.1, "composition": 0.1}
    grid = Grid((cells, cells), 1.0, "no_flux")
    times = 60.0 + 12.0 * np.arange(frames)
    start = noise(grid, truth["composition"], 0.05, [seed])
    problem = CahnHilliard(grid, mobility=truth["mobility"], kappa=truth["kappa"])
    field = simulate(problem, start, times.tolist(), tolerance=1e-3)[0].numpy()
    return _photographed(0.5 * (field + 1.0), times - times[0], sigma, seed), truth


def grains(cells: int = 48, frames: int = 6, sigma: float = 0.05, seed: int = 7) -> tuple[xr.Dataset, dict[str, float]]:
    """Grey frames of grain growth, dims (time, y, x), and what made them."""
    truth = {"mobility": 1.2, "kappa": 1.0, "gamma": 1.5}
    grid = Grid((cells, cells), 1.0, "no_flux")
    times = 6.0 + 4.0 * np.arange(frames)
    problem = GrainGrowth(grid, mobility=truth["mobility"], kappa=truth["kappa"], gamma=truth["gamma"])
    field = simulate_grains(problem, voronoi(grid, 25, [seed]), times.tolist(), tolerance=1e-3).field[0].numpy()
    return _photographed(field, times - times[0], sigma, seed), truth


def _photographed(image: np.ndarray, times: np.ndarray, sigma: float, seed: int) -> xr.Dataset:
    grey = image + sigma * np.random.default_rng(seed).standard_normal(image.shape)
    about = {"units": "grey", "long_name": "grey value"}
    return xr.Dataset({"c": (("time", "y", "x"), grey.astype(np.float32), about)}, {"time": times})


def main(folder: Path) -> None:
    """Write ``spinodal.zarr``, ``grains.zarr`` and ``truth.json``."""
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    truths = {}
    for name, (dataset, truth) in {"spinodal": spinodal(), "grains": grains()}.items():
        dataset.to_zarr(folder / f"{name}.zarr", mode="w", zarr_format=3, consolidated=False)
        truths[name] = truth
    (folder / "truth.json").write_text(json.dumps(truths, indent=2), encoding="utf-8")


def frames_beside(file: Path) -> list[Path]:
    """Make the folder ``frames`` that a twin's example file names, unless it is there; returns what was made."""
    folder = file.parent / "frames"
    if folder.exists():
        return []
    main(folder)
    return [folder]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
