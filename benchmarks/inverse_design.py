"""Inverse design: known answers, wall time, speed against a plain Optuna loop, warm starts, ten thousand trials.

    python benchmarks/inverse_design.py                 # everything, about an hour on two cores
    python benchmarks/inverse_design.py --quick         # two hidden sets an example, 1,500 trials
    python benchmarks/inverse_design.py answers speed warm flat --only domain-size

Prints Markdown, and writes it with ``--out``. Hidden parameters are drawn by seed; the targets made of them come from
the solver, at a twentieth of the examples' tolerance and with random starts that no study uses.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from inverse_bench import answers, flat, speed, warm
from inverse_bench.examples import EXAMPLES

from sweeps.cluster import open_client
from sweeps.cluster_config import LocalCluster

PARTS = ("answers", "speed", "warm", "flat")


def main(words: Sequence[str] | None = None) -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument("--only", choices=EXAMPLES, action="append", help="examples; all by default")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument(
        "--sets", type=int, default=None, help="hidden parameter sets an example; 10, or 2 with --quick"
    )
    parser.add_argument("--trials", type=int, default=None, help="of the long study; 10,000, or 1,500 with --quick")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args(words)
    torch.set_num_threads(1)
    names = arguments.only or list(EXAMPLES)
    sets = arguments.sets or (2 if arguments.quick else 10)
    trials = arguments.trials or (1_500 if arguments.quick else 10_000)
    wanted = arguments.parts or PARTS
    text = [
        f"Measured {time.strftime('%Y-%m-%d')} on {arguments.workers} workers (`{' '.join(['python', *sys.argv])}`)."
    ]
    cluster = LocalCluster(workers=arguments.workers)
    with tempfile.TemporaryDirectory() as folder, open_client(cluster, 64) as client:
        place = Path(folder)
        if "answers" in wanted:
            text += answers.measure(names, sets, client, place)
        if "speed" in wanted:
            text += speed.measure(names, client, place, plain=64 if arguments.quick else 256)
        if "warm" in wanted:
            text += warm.measure(names, client, place)
        if "flat" in wanted:
            text += flat.measure(trials, client, place)
    print("\n".join(text))
    if arguments.out:
        arguments.out.write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
