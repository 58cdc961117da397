"""Faults on purpose: ``python benchmarks/chaos.py`` writes docs/benchmarks/faults.md.

Small sweeps of both processes and every engine, a study and a twin run in processes of their own. Workers, nannies, the
scheduler or the driver are killed or stopped, half of the times at a random moment and half while results are being
written; the disk fills up, the output turns read-only, objects are cut or have bits flipped, tasks raise or run out of
memory. Killed programs are started again, and at the end the output must equal that of the same command without faults:
for stores byte for byte in every object of results and checks. Every program has a limit of time.

The whole is 220 kills over 22 runs and a few other faults. Sweeps of ``cluster: in_process`` and ``auto`` must equal
one of worker processes. A row is written (``faults.jsonl`` beside the page) as soon as its run ends, and the command
resumes there. ``--jobs 2`` does two rows at a time, as much of a row is waiting.
``--again`` starts from nothing, ``--only NAME`` selects rows whose name begins with NAME, ``--list`` shows them.
``--kills N`` makes N kills in each run, for quick looks with another ``--out``. Full disks are mounts, read-only
folders a flag of the file system: these rows need root.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from chaos_bench.faults import cut, faulty, flips, full_disk, read_only
from chaos_bench.kills import kills
from chaos_bench.programs import run_once
from chaos_bench.rows import Row, kept_rows, page, read_rows
from chaos_bench.subjects import OUTPUT, Subject, subjects
from common import PAGES
from common.runs import parser

PAGE = PAGES / "faults.md"
KILLS = 10
FLIPS = 100
WORKER, DRIVER, MIXED = ("worker",), ("driver",), ("worker", "driver")
CLUSTER = ("worker", "driver", "nanny", "scheduler")
#: What the kills are done to: subject, victims, on a scheduler of its own.
RUNS: list[tuple[str, tuple[str, ...], bool]] = [
    ("solver", WORKER, False),
    ("solver", DRIVER, False),
    ("solver", CLUSTER, True),
    ("study", MIXED, False),
    ("twin", DRIVER, False),
    ("grains", WORKER, False),
    ("surrogate", DRIVER, False),
    ("emulator", MIXED, False),
    ("solver", ("worker", "stop"), False),
    ("study", DRIVER, False),
    ("grains", CLUSTER, True),
    ("surrogate", WORKER, False),
    ("solver", MIXED, False),
    ("grains", DRIVER, False),
    ("study", WORKER, False),
    ("solver", CLUSTER, True),
    ("surrogate", CLUSTER, True),
    ("emulator", DRIVER, False),
    ("solver", WORKER, False),
    ("twin", DRIVER, False),
    ("in_process", DRIVER, False),
    ("auto", MIXED, False),
]
#: Subjects whose output must be that of another one, computed elsewhere.
SAME_AS = {"in_process": "slow", "auto": "slow"}


@dataclass(frozen=True)
class Fault:
    """A row of the plan: what is run, and what is done to it (folder, subject, undisturbed output, random numbers)."""

    name: str
    subject: str
    do: Callable[[Path, Subject, Path, random.Random], Row]


def plan_of(count: int, bits: int) -> list[Fault]:
    """All faults, cheap ones first."""
    root = os.geteuid() == 0
    found = [
        Fault("cut", "solver", partial(cut, count=9)),
        Fault("flips", "solver", partial(flips, count=bits)),
        Fault("flips-in_process", "in_process", partial(flips, count=bits)),
        *([Fault("full", "solver", full_disk), Fault("full-study", "study", full_disk)] if root else []),
        *([Fault("full-twin", "twin", full_disk)] if root else []),
        *([Fault("read-only", "solver", read_only), Fault("read-only-study", "study", read_only)] if root else []),
        Fault("tasks", "solver", faulty),
    ]
    for i, (subject, victims, own) in enumerate(RUNS):
        do = partial(kills, count=count, victims=victims, own=own)
        found.append(Fault(f"kill-{i:02d}-{subject}-{'-'.join(victims)}", subject, do))
    return found


class Undisturbed:
    """Outputs of programs without faults, made on first use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.RLock()  # the emulator needs the solver's
        self.subjects = subjects(folder)

    def output(self, name: str) -> Path:
        """Of a subject."""
        with self._lock:
            place = self._folder / f"undisturbed-{name}"
            if not place.exists():
                place.mkdir()
                if name == "emulator":
                    self._learn()
                status = run_once(place, self.subjects[name])
                assert status == 0, (status, (place / "log.txt").read_text())
            return place / OUTPUT

    def _learn(self) -> None:
        """The emulator, learned from the sweep of the solver."""
        from surrogate.emulator.build import learn_from_stores

        learn_from_stores([str(self.output("solver"))]).save(self._folder / "emulator")


def main() -> None:
    given = parser(__doc__)
    given.add_argument("--kills", type=int, default=KILLS, help="in each run")
    given.add_argument("--flips", type=int, default=FLIPS)
    given.add_argument("--out", type=Path, default=PAGE)
    given.add_argument("--seed", type=int, default=0)
    given.add_argument("--jobs", type=int, default=1, help="rows at a time")
    given.add_argument("--only", default="", help="rows whose name begins so")
    given.add_argument("--again", action="store_true", help="forget rows that are there")
    given.add_argument("--list", action="store_true")
    options = given.parse_args()
    plan = [f for f in plan_of(options.kills, options.flips) if f.name.startswith(options.only)]
    if options.list:
        print("\n".join(f.name for f in plan))
        return
    kept = options.out.with_suffix(".jsonl")
    if options.again:
        kept.unlink(missing_ok=True)
    sys.exit(0 if run_all(plan, kept, options) else 1)


def run_all(plan: list[Fault], kept: Path, options: argparse.Namespace) -> bool:
    """Run what has no row yet; whether all rows are right."""
    from sweeps.execution.worker_environment import source_hash

    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    print(f"in {folder}", flush=True)
    undisturbed = Undisturbed(folder)
    there = {row.name for row in read_rows(kept)}
    writing = threading.Lock()

    def run(fault: Fault) -> None:
        place = folder / fault.name
        place.mkdir()
        expected = undisturbed.output(SAME_AS.get(fault.subject, fault.subject))
        rng = random.Random(f"{options.seed}-{fault.name}")
        row = fault.do(place, undisturbed.subjects[fault.subject], expected, rng)
        row = replace(row, name=fault.name, source=source_hash(), seconds=round(row.seconds, 1))
        print(f"{fault.name}: {row}", flush=True)
        with writing:
            kept_rows(kept).add(asdict(row))
            options.out.write_text(page(_in_order(read_rows(kept)), "python benchmarks/chaos.py"))
        if row.equal and not row.hung:
            shutil.rmtree(place, ignore_errors=True)

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(run, [f for f in plan if f.name not in there]))
    good = all(row.equal and not row.hung for row in read_rows(kept))
    if good:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"not all equal; see {folder}", file=sys.stderr)
    return good


def _in_order(rows: list[Row]) -> list[Row]:
    """Kills first, then the rest, as in the plan."""
    return sorted(rows, key=lambda row: (not row.name.startswith("kill-"), row.fault, row.subject))


if __name__ == "__main__":
    main()
