"""Faults on purpose: ``python benchmarks/chaos.py`` writes docs/benchmarks/faults.md.

Small sweeps run in processes of their own. Workers, nannies, the scheduler or the driver are killed or stopped at
random moments, the disk fills up, the output turns read-only, objects are cut or have bits flipped, tasks diverge or
run out of memory. Then the sweep runs again undisturbed, and its store must equal that of a run that nothing happened
to, byte for byte of every object of results. Every run has a limit of time.

``--kills 200 --runs 20`` are the defaults; ``--quick`` does 20 kills over 2 runs. ``--only NAME`` runs one kind of
fault and writes no page.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
PAGE = ROOT / "docs" / "benchmarks" / "faults.md"
#: Seconds after which a run counts as hanging.
LIMIT = 300.0
ENVIRONMENT = {
    "PYTHONPATH": str(ROOT),
    "OMP_NUM_THREADS": "1",
    # Dask takes a worker for lost after five minutes of silence; here nobody wants to wait for that.
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "30s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "30s",
}
# What one computation took, not its result.
NOT_COMPARED = ("wall_s",)


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        fault: what was done.
        runs: how many sweeps it was done to.
        times: how often in all.
        outcome: what happened.
        equal: how many final stores equal the undisturbed one.
        seconds: the longest sweep, all its restarts together.
    """

    fault: str
    runs: int
    times: int
    outcome: str
    equal: int
    seconds: float


def configuration(store: Path, **blocks: Any) -> dict[str, Any]:
    """A sweep of 36 points in 12 batches, a few seconds of two workers."""
    return {
        "schema_version": 1,
        "name": "chaos",
        "process": "cahn_hilliard",
        "grid": {"shape": [64, 64]},
        "parameters": {"mobility": [0.5, 1.0, 2.0], "kappa": {"linspace": [0.6, 2.0, 12]}},
        "realizations": {"count": 2},
        "initial": {"kind": "noise"},
        "times": {"stop": 400, "count": 9},
        "engine": {"kind": "solver", "tolerance": 1e-3},
        "batch": {"rollouts": 1},
        "output": {"path": str(store)},
        "cluster": {"kind": "local", "workers": 2, "dashboard_address": None},
        "verify": {"count": 2},
        **blocks,
    }


class Driver:
    """A sweep in a process of its own.

    Args:
        folder: for its file and log.
        config: the sweep.
        arguments: of ``phasetwin run`` after the file.
    """

    def __init__(self, folder: Path, config: dict[str, Any], *arguments: str) -> None:
        self.file = folder / "sweep.yaml"
        self.file.write_text(json.dumps(config))
        command = [sys.executable, "-m", "phasetwin", "run", str(self.file), *arguments]
        self.log = (folder / "log.txt").open("a")
        environment = {**os.environ, **ENVIRONMENT}
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, cwd=folder, env=environment)

    def workers(self) -> list[psutil.Process]:
        """The worker processes, those that compute."""
        try:
            children = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return [p for p in children if "spawn_main" in " ".join(_command(p))]

    def wait(self, limit: float = LIMIT) -> int | None:
        """Exit status, None if it hangs (it is then killed)."""
        try:
            return self.process.wait(limit)
        except subprocess.TimeoutExpired:
            self.kill()
            return None
        finally:
            self.log.close()

    def kill(self) -> None:
        """End the driver at once, and wait until its workers are gone too."""
        left = self.workers()
        self.process.kill()
        self.process.wait()
        for process in psutil.wait_procs(left, timeout=20)[1]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def same_store(first: Path, second: Path) -> bool:
    """Whether two stores hold the same, byte for byte of every object of results and checks."""
    files = [_objects(store) for store in (first, second)]
    return files[0] == files[1]


def _objects(store: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(store)): p.read_bytes()
        for p in store.rglob("*")
        if p.is_file() and p.name != "zarr.json" and p.parent.name not in NOT_COMPARED
    }


def run_once(folder: Path, config: dict[str, Any], *arguments: str) -> int | None:
    """Run a sweep undisturbed."""
    return Driver(folder, config, *arguments).wait()


def reference(folder: Path, **blocks: Any) -> Path:
    """The store of a run that nothing happens to."""
    place = folder / "reference"
    place.mkdir(exist_ok=True)
    store = place / "a.zarr"
    status = run_once(place, configuration(store, **blocks))
    assert status == 0, (place / "log.txt").read_text()
    return store


def _signal_workers(driver: Driver, rng: random.Random, number: int) -> bool:
    workers = driver.workers()
    if not workers:
        return False
    with contextlib.suppress(psutil.NoSuchProcess):
        rng.choice(workers).send_signal(number)
        return True
    return False


def kills(folder: Path, expected: Path, rng: random.Random, count: int, kind: str) -> Row:
    """Kill workers or drivers ``count`` times over one sweep, restarting drivers; then let it end."""
    store = folder / "a.zarr"
    config = configuration(store)
    started, done, ends = time.monotonic(), 0, []
    driver = Driver(folder, config)
    while done < count and time.monotonic() - started < LIMIT:
        time.sleep(rng.uniform(0.2, 6.0 if kind == "driver" else 1.5))
        if driver.process.poll() is not None:
            if driver.process.returncode == 0:
                # It got through: the rest of the kills go to a sweep that starts from nothing again.
                shutil.rmtree(store, ignore_errors=True)
            ends.append(driver.process.returncode)
            driver = Driver(folder, config)
            continue
        if kind == "driver" or (kind == "mixed" and rng.random() < 0.3):
            driver.kill()
            done += 1
            driver = Driver(folder, config)
        elif kind == "stop":
            done += _signal_workers(driver, rng, signal.SIGSTOP)
        else:
            done += _signal_workers(driver, rng, signal.SIGKILL)
    status = driver.wait()
    ends.append(status)
    if status != 0:  # points that were killed too often are named; the next run computes them
        ends.append(run_once(folder, config))
    equal = same_store(expected, store) and ends[-1] == 0
    return Row(kind, 1, done, _ends(ends), int(equal), time.monotonic() - started)


def _ends(ends: list[int | None]) -> str:
    words = {None: "hung", 0: "0", 1: "1 (points named)", 2: "2 (one line)"}
    return ", ".join(f"{ends.count(e)} x exit {words.get(e, str(e))}" for e in dict.fromkeys(ends))


@contextlib.contextmanager
def running_cluster(folder: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler and two workers with nannies, as ``dask scheduler`` and ``dask worker``."""
    about = folder / "scheduler.json"
    log = (folder / "cluster.txt").open("a")
    environment = {**os.environ, **ENVIRONMENT}
    dask = [sys.executable, "-m", "dask"]
    scheduler = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(about)]
    worker = ["worker", "--scheduler-file", str(about), "--nthreads", "1", "--host", "127.0.0.1", "--no-dashboard"]
    options: dict[str, Any] = {"stdout": log, "stderr": log, "env": environment, "cwd": folder}
    processes = [subprocess.Popen([*dask, *scheduler], **options)]
    try:
        while not about.exists():
            time.sleep(0.1)
        processes += [subprocess.Popen([*dask, *worker], **options) for _ in range(2)]
        yield json.loads(about.read_text())["address"], processes
    finally:
        for process in processes:
            tree = [process.pid, *(c.pid for c in _children(process.pid))]
            for pid in tree:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()
        log.close()
        about.unlink(missing_ok=True)


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def cluster_kill(folder: Path, expected: Path, rng: random.Random, what: str) -> Row:
    """Kill the scheduler, or a nanny, of a cluster that runs apart; then run again on a new one."""
    store, started, ends = folder / "a.zarr", time.monotonic(), []
    config = configuration(store)
    with running_cluster(folder) as (address, processes):
        driver = Driver(folder, config, "--address", address)
        time.sleep(rng.uniform(6.0, 14.0))
        victim = processes[0] if what == "scheduler" else processes[1]
        victim.kill()
        ends.append(driver.wait())
    if ends[-1] != 0:
        ends.append(run_once(folder, config))
    equal = same_store(expected, store) and ends[-1] == 0
    return Row(what, 1, 1, _ends(ends), int(equal), time.monotonic() - started)


def full_disk(folder: Path, expected: Path, rng: random.Random) -> Row:  # noqa: ARG001
    """A file system of 1 MiB in memory that fills up; then it is made larger."""
    place, started = folder / "small", time.monotonic()
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], check=True)
    try:
        config = configuration(place / "a.zarr")
        ends = [run_once(folder, config)]
        subprocess.run(["mount", "-o", "remount,size=200m", str(place)], check=True)
        ends.append(run_once(folder, config))
        equal = same_store(expected, place / "a.zarr") and ends[-1] == 0
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
    return Row("disk full, then room", 1, 1, _ends(ends), int(equal), time.monotonic() - started)


def read_only(folder: Path, expected: Path, rng: random.Random) -> Row:
    """The file system turns read-only while the sweep runs; then writable again."""
    place, started = folder / "ro", time.monotonic()
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", str(place)], check=True)
    try:
        config = configuration(place / "a.zarr")
        driver = Driver(folder, config)
        while not list(place.glob("a.zarr/free_energy/c*")) and driver.process.poll() is None:
            time.sleep(0.05)
        time.sleep(rng.uniform(0.0, 1.0))
        # Whoever has a file open for writing at this instant keeps the mount busy.
        for _ in range(200):
            if (
                subprocess.run(["mount", "-o", "remount,ro", str(place)], check=False, capture_output=True).returncode
                == 0
            ):
                break
            time.sleep(0.01)
        ends = [driver.wait(), run_once(folder, config)]
        subprocess.run(["mount", "-o", "remount,rw", str(place)], check=True)
        ends.append(run_once(folder, config))
        equal = same_store(expected, place / "a.zarr") and ends[-1] == 0
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
    return Row("output turns read-only, then back", 1, 1, _ends(ends), int(equal), time.monotonic() - started)


def flips(folder: Path, expected: Path, rng: random.Random, count: int) -> Row:
    """Flip one bit at a random place of a finished store, check, run, compare; ``count`` times."""
    from distributed import Client

    from solvers.errors import InputError
    from sweeps import Sweep
    from sweeps.damage import find_damage
    from sweeps.layout import layout_of

    started, found, exact, equal = time.monotonic(), 0, 0, 0
    store = folder / "a.zarr"
    config = configuration(store)
    sweep = Sweep.from_config(config)
    results = set(layout_of(sweep.plan()).results())
    shutil.copytree(expected, store)
    files = sorted(p for p in store.rglob("*") if p.is_file())
    sizes = [p.stat().st_size for p in files]
    client = Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None)
    for i in range(count):
        path = rng.choices(files, sizes)[0] if i % 2 else rng.choice(files)
        content = bytearray(path.read_bytes())
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        try:
            found += bool(find_damage(str(store)))
        except InputError:
            found += 1
        variable = path.relative_to(store).parts[0]
        affected = 3 if variable in results and path.name != "zarr.json" else 0
        result = sweep.run(client, progress=False)
        exact += result.computed == affected
        equal += same_store(expected, store)
    outcome = (
        f"{found} of {count} found by a check; exactly the points hit computed by the next run: {exact} of {count}"
    )
    return Row("a bit flipped at a random place", count, count, outcome, equal, time.monotonic() - started)


def cut(folder: Path, expected: Path, rng: random.Random, count: int) -> Row:
    """Cut objects of results short."""
    started = time.monotonic()
    store = folder / "a.zarr"
    shutil.copytree(expected, store)
    objects = sorted(p for p in store.glob("*/c.*") if p.parent.name in ("field", "free_energy", "structure_factor"))
    for path in rng.sample(objects, count):
        content = path.read_bytes()
        path.write_bytes(content[: rng.randrange(len(content))])
    ends = [run_once(folder, configuration(store))]
    equal = same_store(expected, store)
    return Row("objects cut short", 1, count, _ends(ends), int(equal), time.monotonic() - started)


def diverging(folder: Path, expected: Path, rng: random.Random) -> Row:  # noqa: ARG001
    """A batch whose solver always fails and one that takes all memory: both named, the rest done, retries bounded."""
    from sweeps.status import status

    started, store = time.monotonic(), folder / "a.zarr"
    script = folder / "faulty.py"
    script.write_text(FAULTY)
    config = configuration(
        store, cluster={"kind": "local", "workers": 2, "memory_limit": "1GiB", "dashboard_address": None}
    )
    (folder / "sweep.json").write_text(json.dumps(config))
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": f"{ROOT}:{folder}"}
    with (folder / "log.txt").open("a") as log:
        command = [sys.executable, str(script), str(folder / "sweep.json")]
        done = subprocess.run(command, env=environment, stdout=log, stderr=log, timeout=LIMIT, cwd=folder, check=False)
    found = status(str(store))
    kappas = sorted({round(f["parameters"]["kappa"], 3) for f in found["failures"]})
    named = f"driver exit {done.returncode}; failed and named: kappa {kappas}; {found['states']['done']} points done"
    ends = [run_once(folder, configuration(store))]
    equal = same_store(expected, store) and ends[-1] == 0
    fault = "one batch always raises, one takes all memory; then neither"
    return Row(fault, 1, 2, f"{named}; then {_ends(ends)}", int(equal), time.monotonic() - started)


FAULTY = """
import json, sys
from sweeps import Sweep, execute
from sweeps.tasks import compute_batch, probe_batch

def misbehave(task):
    kappa = task.parameters["kappa"][0]
    if abs(kappa - 0.6) < 1e-9:
        raise FloatingPointError("always diverges")
    if abs(kappa - 2.0) < 1e-9:
        hog = [bytearray(2**26) for _ in range(64)]
        import time
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
    config["verify"] = {"count": 0}
    sys.exit(1 if Sweep.from_config(config).run(progress=False).failed else 0)
"""


def plan_of(kills_wanted: int, runs: int, bits: int) -> list[tuple[str, Callable[..., Row], tuple[Any, ...]]]:
    """Name, function and further arguments of every fault."""
    kinds = ["worker", "driver", "mixed"]
    each = -(-kills_wanted // runs)
    table: list[tuple[str, Callable[..., Row], tuple[Any, ...]]] = [
        (f"{kinds[i % 3]}-{i}", kills, (each, kinds[i % 3])) for i in range(runs)
    ]
    table += [
        ("flips", flips, (bits,)),
        ("cut", cut, (5,)),
        ("full", full_disk, ()),
        ("read-only", read_only, ()),
        ("diverging", diverging, ()),
        ("stop", kills, (2, "stop")),
        ("scheduler", cluster_kill, ("scheduler",)),
        ("nanny", cluster_kill, ("nanny",)),
    ]
    return table


NAMES = {
    "worker": "SIGKILL of random workers at random moments",
    "driver": "SIGKILL of the driver (with scheduler and nannies in it) at random moments, started again",
    "mixed": "both, mixed",
    "stop": "SIGSTOP of workers, for good",
    "scheduler": "SIGKILL of a scheduler of its own (`--address`)",
    "nanny": "SIGKILL of a nanny of its own (`--address`)",
}


def merged(rows: list[Row]) -> list[Row]:
    """One row for each kind of fault."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.fault, []).append(row)
    return [
        Row(
            NAMES.get(fault, fault),
            sum(r.runs for r in some),
            sum(r.times for r in some),
            some[0].outcome if len(some) == 1 else _all_outcomes(some),
            sum(r.equal for r in some),
            max(r.seconds for r in some),
        )
        for fault, some in found.items()
    ]


def _all_outcomes(rows: list[Row]) -> str:
    hung = sum("hung" in r.outcome for r in rows)
    return f"{hung} hung" if hung else "none hung"


def page(rows: list[Row], command: str) -> str:
    """The page of the table."""
    head = "| fault | sweeps | times | what happened | final stores equal | longest, s |"
    lines = [
        "# Faults tried",
        "",
        f"Made by `{command}`; its docstring says how. Equal: byte for byte to the store of a sweep that nothing",
        "happened to.",
        "",
        head,
        "|---|---|---|---|---|---|",
    ]
    for r in merged(rows):
        lines.append(f"| {r.fault} | {r.runs} | {r.times} | {r.outcome} | {r.equal} of {r.runs} | {r.seconds:.0f} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="20 kills over 2 runs")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--flips", type=int, default=100)
    parser.add_argument("--out", type=Path, default=PAGE)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="one kind of fault; no page")
    options = parser.parse_args()
    folder, rows = Path(tempfile.mkdtemp(prefix="chaos-")), []
    print(f"in {folder}", flush=True)
    expected = reference(folder)
    if options.quick:
        options.kills, options.runs = 20, 2
    command = " ".join(["python benchmarks/chaos.py", *sys.argv[1:]])
    for name, fault, arguments in plan_of(options.kills, options.runs, options.flips):
        if options.only and not name.startswith(options.only):
            continue
        place = folder / name
        place.mkdir()
        row = fault(place, expected, random.Random(f"{options.seed}-{name}"), *arguments)
        rows.append(row)
        print(f"{name}: {row}", flush=True)
        if row.equal == row.runs:
            shutil.rmtree(place, ignore_errors=True)
        if not options.only:
            options.out.write_text(page(rows, command))
    if rows and all(r.equal == r.runs for r in rows):
        shutil.rmtree(folder, ignore_errors=True)
        return
    sys.exit(f"not all equal; see {folder}")


if __name__ == "__main__":
    main()
