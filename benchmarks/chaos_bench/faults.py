"""Faults other than kills: full and read-only disks, bits flipped, objects cut short, tasks that fail every time."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from common import ROOT

from chaos_bench.programs import ENVIRONMENT, LIMIT, WORDS, Program, run_once, tracebacks
from chaos_bench.rows import Row
from chaos_bench.subjects import OUTPUT, Subject

if TYPE_CHECKING:
    from distributed import Client

    from sweeps import Sweep

#: Points of the sweep in one object of results.
POINTS_AN_OBJECT = 3


@contextlib.contextmanager
def file_system(place: Path, size: str) -> Iterator[Path]:
    """A file system in memory while the block runs; needs root."""
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def lock_folders(output: Path, sign: str) -> None:
    """Make folders immutable (``+``) or not (``-``): nothing can be written into them, also not by root."""
    folders = [str(p) for p in (output, *output.rglob("*")) if p.is_dir()]
    subprocess.run(["chattr", f"{sign}i", *folders], check=True)


def _row(fault: str, subject: Subject, place: Path, ends: list[int | None], equal: bool, started: float) -> Row:
    counts = Counter(WORDS.get(end, f"{end}, unexpected") for end in ends)
    last = _last_line(place)
    note = "; ".join(filter(None, (f"the program said: `{last}`" if last else "", tracebacks(place))))
    return Row(fault, subject.name, 1, dict(counts), equal and ends[-1] == 0, time.monotonic() - started, note)


def _last_line(place: Path) -> str:
    """Message of a program that could not write, without the folder's own name."""
    lines = [line for line in (place / "log.txt").read_text().splitlines() if "cannot be written" in line]
    return lines[-1].replace(f"{place}/", "").replace(str(place), ".") if lines else ""


def full_disk(folder: Path, subject: Subject, expected: Path, rng: random.Random) -> Row:
    """A file system that fills up half way; then it is made larger."""
    started, need = time.monotonic(), _size(expected)
    with file_system(folder / "small", f"{int(need * rng.uniform(0.3, 0.8)) // 1024}k") as place:
        ends = [run_once(folder, moved(subject, place))]
        subprocess.run(["mount", "-o", "remount,size=200m", str(place)], check=True)
        ends.append(run_once(folder, moved(subject, place)))
        equal = subject.same(expected, place / OUTPUT)
    return _row("disk full, then room", subject, folder, ends, equal, started)


def moved(subject: Subject, place: Path) -> Subject:
    """The subject with its output in another folder."""
    output = {**subject.config.get("output", {}), "path": str(place / OUTPUT)}
    return replace(subject, config={**subject.config, "output": output})


def _size(store: Path) -> int:
    """What a folder takes in pages of memory."""
    return sum(4096 * -(-p.stat().st_size // 4096) for p in store.rglob("*") if p.is_file())


def read_only(folder: Path, subject: Subject, expected: Path, rng: random.Random) -> Row:
    """The output's folders turn read-only while the program writes; then writable again.

    By a flag of the file system, which root has to respect as well: a mount cannot be turned while the lock is open.
    """
    started, output = time.monotonic(), folder / OUTPUT
    program = Program(folder, subject)
    while not _results(output) and not program.ended:
        time.sleep(0.02)
    time.sleep(rng.uniform(0.0, 0.3))
    lock_folders(output, "+")
    try:
        ends = [program.wait(), run_once(folder, subject)]
    finally:
        lock_folders(output, "-")
    ends.append(run_once(folder, subject))
    return _row("output turns read-only, then back", subject, folder, ends, subject.same(expected, output), started)


def _results(place: Path) -> list[Path]:
    return [p for p in place.rglob("c.*") if p.parent.name in ("free_energy", "field")]


def cut(folder: Path, subject: Subject, expected: Path, rng: random.Random, count: int) -> Row:
    """Cut objects of results short, some to nothing, and delete some."""
    started, store = time.monotonic(), folder / OUTPUT
    shutil.copytree(expected, store)
    names = ("field", "free_energy", "structure_factor")
    objects = sorted(p for p in store.glob("*/c.*") if p.parent.name in names)
    for i, path in enumerate(rng.sample(objects, count)):
        content = path.read_bytes()
        if i % 3 == 2:
            path.unlink()
        else:
            path.write_bytes(content[: rng.randrange(len(content)) if i % 3 else 0])
    ends = [run_once(folder, subject)]
    row = _row("objects cut short, emptied, deleted", subject, folder, ends, subject.same(expected, store), started)
    return replace(row, times=count)


def flips(folder: Path, subject: Subject, expected: Path, rng: random.Random, count: int) -> Row:
    """Flip one bit at a random place of a finished store: does a check find it, and what does the next run compute?

    Half of the places are uniform over all bytes, which is mostly fields; half over files, so that small ones are hit
    too. After each the store must be as it was, and the points hit, no others, computed.
    """
    started, store = time.monotonic(), folder / OUTPUT
    sweep, results = _sweep(subject, store)
    shutil.copytree(expected, store)
    files = sorted(p for p in store.rglob("*") if p.is_file())
    sizes = [p.stat().st_size for p in files]
    found = exact = equal = computed = 0
    in_process = sweep.config.cluster.kind == "in_process"
    with contextlib.nullcontext() if in_process else _threads() as client:
        for i in range(count):
            path = rng.choices(files, sizes)[0] if i % 2 else rng.choice(files)
            _flip(path, rng)
            found += _is_found(store)
            hit = path.relative_to(store).parts[0] in results and path.name != "zarr.json"
            result = sweep.run(client, progress=False)
            computed += result.computed
            exact += result.computed == (POINTS_AN_OBJECT if hit else 0)
            equal += subject.same(expected, store)
    note = (
        f"{found} of {count} found by `status --check`; exactly the points hit computed by the next run: {exact} of "
        f"{count} ({computed} points in all); store as before: {equal} of {count}"
    )
    good = found == exact == equal == count
    return Row("a bit flipped at a random place", subject.name, count, {}, good, time.monotonic() - started, note)


def _sweep(subject: Subject, store: Path) -> tuple[Sweep, set[str]]:
    """The sweep, and the names of what its workers write."""
    from sweeps import Sweep
    from sweeps.store.layout import layout_of

    sweep = Sweep.from_config({**subject.config, "output": {"path": str(store)}})
    return sweep, set(layout_of(sweep.plan()).results())


def _threads() -> Client:
    from distributed import Client

    return Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None)


def _flip(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def _is_found(store: Path) -> bool:
    """Whether a check reports damage, or cannot open the store."""
    from solvers.errors import InputError
    from sweeps.monitoring.status import check_store

    try:
        return bool(check_store(str(store)))
    except InputError:
        return True


#: Runs a sweep whose first kappa raises and whose last takes memory until its nanny ends it.
FAULTY = """
import json, sys, time
from sweeps import Sweep
from sweeps.execution import execute
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
