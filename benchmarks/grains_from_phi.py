"""What does phi alone tell of grains? Counts and free energies against what the solver tracks.

``PYTHONPATH=. python benchmarks/grains_from_phi.py``

Frames are those of the frontier's case grains-64 (8 trajectories, 20 frames each), by the solver. Counts: by a
threshold of phi, and by the basins of its maxima at some persistences (``surrogate.rollout.grain_labels`` uses one
of them).
Energies: a third of the integral of 1 - phi, with and without the share of the junctions.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from solvers import GrainGrowth
from solvers.grains.labels import watershed
from solvers.qois import boundary_threshold, grain_count, label_grains
from surrogate.evaluation.frontier.cases import CASES
from surrogate.evaluation.frontier.references import reference
from surrogate.rollout.energies import boundary_excess, grain_energy

PERSISTENCES = (0.005, 0.01, 0.02, 0.05, 0.1)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--references", type=Path, default=Path("runs/frontier/references"))
    folder = parser.parse_args().references
    torch.set_num_threads(1)
    case = CASES["grains-64"]
    problem, truth = case.problem(), reference(case, folder)
    assert isinstance(problem, GrainGrowth)
    assert truth.grain_id is not None
    phi, grid = truth.field, problem.grid
    tracked = grain_count(truth.grain_id, grid).numpy()
    print("| grains by | count, mean error | mean absolute error | ms a frame |\n|---|---|---|---|")

    def row(name: str, label: Callable[[], torch.Tensor]) -> None:
        label()
        started = time.process_time()
        maps = label()
        spent = 1e3 * (time.process_time() - started) / tracked.size
        error = grain_count(maps, grid).numpy() / tracked - 1.0
        print(f"| {name} | {100 * error.mean():.1f} % | {100 * np.abs(error).mean():.1f} % | {spent:.2f} |")

    row("threshold", lambda: label_grains(phi, grid, boundary_threshold(problem.gamma)))
    frames = phi.double().flatten(0, 1).numpy()
    for persistence in PERSISTENCES:
        row(
            f"basins, persistence {persistence:g}",
            lambda h=persistence: torch.from_numpy(np.stack([watershed(f, h, True) for f in frames])).reshape(
                phi.shape
            ),  # type: ignore[misc]
        )
    energy = truth.free_energy.double()
    plain = grid.cells * grid.cell_volume / 3.0 * boundary_excess(phi)
    print("\n| energy by | mean error | root mean square |\n|---|---|---|")
    for name, found in (("boundaries", plain), ("boundaries less junctions", grain_energy(problem, phi))):
        error = (found / energy - 1.0).numpy()
        print(f"| {name} | {100 * error.mean():.2f} % | {100 * np.sqrt((error**2).mean()):.2f} % |")


if __name__ == "__main__":
    main()
