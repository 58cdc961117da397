"""Inverse design: known answers, speed against a plain Optuna loop, warm starts, a front, ten thousand trials.

    python benchmarks/inverse_design.py                 # everything that docs/benchmarks/inverse-design.json lacks
    python benchmarks/inverse_design.py --quick --records /tmp/quick.json   # two hidden sets an example, 2,000 trials
    python benchmarks/inverse_design.py answers warm speed flat --only domain-size --again

Each measurement is written at once, and the same command resumes after an interruption. The tables in
``docs/benchmarks/inverse-design.md`` are made from the records. Hidden parameters are drawn by seed; their targets come
from the solver, at a twentieth of the examples' tolerance and with random starts that no study uses.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from common import PAGES
from common.runs import Records, parser
from inverse_bench import answers, flat, speed
from inverse_bench.examples import EXAMPLES

from sweeps.cluster.client import open_client
from sweeps.config.cluster import LocalCluster

HEAD = """# Inverse design: measurements

`PYTHONPATH=.:benchmarks python benchmarks/inverse_design.py` measures what `inverse-design.json` lacks and writes this
page. A load above 1 a core means a busy machine: compare processor times there, and counts; wall times say little."""
PARTS = ("answers", "speed", "warm", "flat")
RESULTS = PAGES / "inverse-design.json"


def main(words: Sequence[str] | None = None) -> None:
    """Measure the parts that are asked for, then write the tables of all that is measured."""
    arguments = _arguments(words)
    torch.set_num_threads(1)
    records = Records(arguments.records, arguments.again)
    if not arguments.tables:
        _measure(arguments, records)
    text = [HEAD]
    tables = {"answers": answers.table, "warm": answers.warm_table, "speed": speed.table, "flat": flat.table}
    for part, table in tables.items():
        text += table(records) if records.under(f"{part}/") else []
    print("\n".join(text))
    arguments.records.with_suffix(".md").write_text("\n".join(text) + "\n")


def _measure(arguments: argparse.Namespace, records: Records) -> None:
    names, wanted = arguments.only or list(EXAMPLES), arguments.parts or PARTS
    cluster = LocalCluster(workers=arguments.workers)
    with tempfile.TemporaryDirectory() as folder, open_client(cluster, 64) as client:
        place = Path(folder)
        if "answers" in wanted:
            answers.measure(names, arguments.sets or (2 if arguments.quick else 10), client, place, records)
        if "warm" in wanted:
            answers.measure_warm(names, client, place, records)
        if "speed" in wanted:
            speed.measure(client, place, records, arguments.quick)
        if "flat" in wanted:
            flat.measure(arguments.trials or (2_000 if arguments.quick else 10_000), client, place, records)


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    given = parser(__doc__)
    given.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    given.add_argument("--only", choices=EXAMPLES, action="append", help="examples; all by default")
    given.add_argument("--quick", action="store_true")
    given.add_argument("--sets", type=int, default=None, help="hidden sets an example; 10, or 2 with --quick")
    given.add_argument("--trials", type=int, default=None, help="of the long study; 10,000, or 2,000 with --quick")
    given.add_argument("--workers", type=int, default=2)
    given.add_argument("--again", action="store_true", help="measure again what is on record")
    given.add_argument("--tables", action="store_true", help="measure nothing; write the tables of what is on record")
    given.add_argument("--records", type=Path, default=RESULTS, help="JSON; tables go beside it")
    return given.parse_args(words)


if __name__ == "__main__":
    main()
