"""This project's own schemes. To add one, write a ``_build`` function and append a Contender in ``contenders``."""

from __future__ import annotations

from peers_bench.contender import Contender, Setting, Solver
from peers_bench.problem import CELLS, T_END, Array


def _build_simulate(setting: Setting) -> Solver:
    """The public entry point, asked for a tolerance only: it chooses its own grid and steps."""
    import torch

    from solvers import CahnHilliard, Grid, simulate

    torch.set_num_threads(1)
    problem = CahnHilliard(Grid((CELLS, CELLS), 1.0, "periodic"), mobility=1.0, kappa=1.0)
    tolerance, dtype = float(setting["tolerance"]), getattr(torch, str(setting["dtype"]))

    def solve(fields: Array) -> Array:
        initial = torch.from_numpy(fields).to(dtype)
        answer = simulate(problem, initial, [T_END], tolerance=tolerance, dtype=dtype)
        return answer[:, -1].double().numpy()

    return solve


def contenders() -> list[Contender]:
    """Every scheme of this project that is placed beside the peers; the first is what ratios refer to."""
    tolerances = (1e-1, 5e-2, 2e-2, 1e-2, 5e-3, 2e-3, 1e-3, 5e-4, 2e-4, 1e-4)
    return [
        Contender(
            "phasetwin simulate",
            tuple(
                {"tolerance": tolerance, "dtype": dtype} for dtype in ("float32", "float64") for tolerance in tolerances
            ),
            _build_simulate,
            environment="project",
            chunks=(1, 4, 16, 64),
            note="solvers.simulate with nothing but a tolerance; steps and grid are its own choice",
        )
    ]
