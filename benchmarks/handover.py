"""When should a model of grains take over from the solver, and how exact need the solver be until then?

``PYTHONPATH=. python benchmarks/handover.py [--model gg-jump]``

The frontier's case grains-64; processor time of one thread for each trajectory, and errors against the truth.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from surrogate import load_surrogate
from surrogate.evaluation.frontier.cases import CASES
from surrogate.evaluation.frontier.errors import errors, quantities
from surrogate.evaluation.frontier.references import reference
from surrogate.rollout.solver_stage import GrainHandOver

SETTINGS = ((2.5, 0.3), (2.5, 0.1), (5.0, 0.1), (7.5, 0.1), (12.5, 0.1), (12.5, 0.03))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gg-jump")
    parser.add_argument("--references", type=Path, default=Path("runs/frontier/references"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    case = CASES["grains-64"]
    problem, initial, times = case.problem(), case.initial(), case.times()
    truth = reference(case, options.references)
    expected = quantities(problem, truth)
    model = load_surrogate(options.model)
    print(
        "| age | tolerance | ms a trajectory | QoI error | of | ensemble | field error |\n|---|---|---|---|---|---|---|"
    )
    for age, tolerance in SETTINGS:
        model.handover = GrainHandOver(age, tolerance)
        with torch.inference_mode():
            model.rollout(problem, initial, times[:, :2])
            started = time.process_time()
            found = model.rollout(problem, initial, times).frames
            spent = 1e3 * (time.process_time() - started) / case.trajectories
        error = errors(problem, found, truth, expected)
        print(
            f"| {age:g} | {tolerance:g} | {spent:.0f} | {error.qoi_error:.4f} | {error.qoi_worst.replace('_', ' ')} | "
            f"{error.qoi_ensemble:.4f} | {error.field_error:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
