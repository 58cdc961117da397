"""A task that always raises, and one that takes all the memory of its worker."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

from chaos_bench.programs import ENVIRONMENT, LIMIT, ROOT, WORDS, run_once
from chaos_bench.rows import Row
from chaos_bench.subjects import OUTPUT, Subject

#: Runs a sweep whose first kappa raises and whose last takes memory until its nanny ends it.
FAULTY = """
import json, sys, time
from sweeps import Sweep, execute
from sweeps.execution.task import compute_batch, probe_batch

def misbehave(task):
    kappa = task.parameters["kappa"][task.compute]
    if (abs(kappa - 0.6) < 1e-9).any():
        raise FloatingPointError("always diverges")
    if (abs(kappa - 2.0) < 1e-9).any():
        hog = [bytearray(2**26) for _ in range(64)]
        time.sleep(30)

def compute(task):
    misbehave(task)
    return compute_batch(task)

def probe(task):
    misbehave(task)
    probe_batch(task)

if __name__ == "__main__":
    import faulty
    execute.run_batches.__defaults__ = (faulty.compute, faulty.probe)
    config = json.load(open(sys.argv[1]))
    sys.exit(1 if Sweep.from_config(config).run(progress=False).failed else 0)
"""


def faulty(folder: Path, subject: Subject, expected: Path, rng: random.Random) -> Row:  # noqa: ARG001
    """Two batches that never work: both named, all else done, retries bounded; then a program where both work."""
    from sweeps.monitoring.status import status

    started, store = time.monotonic(), folder / OUTPUT
    (folder / "faulty.py").write_text(FAULTY)
    cluster = {"kind": "local", "workers": 2, "memory_limit": "1GiB", "dashboard_address": None}
    config = {**subject.config, "output": {"path": str(store)}, "cluster": cluster, "verify": {"count": 0}}
    (folder / "sweep.json").write_text(json.dumps(config))
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": f"{ROOT}:{folder}"}
    with (folder / "log.txt").open("a") as log:
        command = [sys.executable, str(folder / "faulty.py"), str(folder / "sweep.json")]
        done = subprocess.run(command, env=environment, stdout=log, stderr=log, timeout=LIMIT, cwd=folder, check=False)
    found = status(str(store))
    named = {round(f["parameters"]["kappa"], 3): f["error"] for f in found["failures"]}
    last = run_once(folder, subject)
    note = "; ".join(f"kappa {kappa:g}: `{reason}`" for kappa, reason in sorted(named.items()))
    note = f"named {note}; {found['states']['done']} of {found['points']} points done"
    equal = subject.same(expected, store) and last == 0 and set(named) == {0.6, 2.0} and done.returncode == 1
    ends = {WORDS[1]: 1, WORDS[0]: 1} if (done.returncode, last) == (1, 0) else {f"{done.returncode}, then {last}": 1}
    fault = "one batch always raises, one takes all memory; then neither"
    return Row(fault, subject.name, 2, ends, equal, time.monotonic() - started, note)
