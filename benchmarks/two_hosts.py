"""A sweep over two hosts, one of which is cut off half way: ``sudo python benchmarks/two_hosts.py``.

The hosts are two network namespaces of this machine, joined by virtual cables to a bridge that the driver and the
scheduler sit on. Both run ``dask worker`` over TLS. When a third of the points is done, one cable is pulled. The sweep
must end by itself, equal to one that ran on one host. A client without the key must be refused. A third sweep, in a
process of its own (``cluster: in_process``), is killed when a third of its points is done, and must be equal when it
has been run again. Needs root and ``ip``; writes docs/benchmarks/two_hosts.md. ``--in-process`` makes the last part
alone, needs neither, and writes nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chaos_bench.programs import Program, run_once
from chaos_bench.subjects import IN_PROCESS, Subject, same_store
from common import PAGES, ROOT
from common.runs import parser, sweep_blocks

PAGE = PAGES / "two_hosts.md"
BRIDGE, NET = "ptbr0", "10.213.7"
LIMIT = 400.0
TLS_ROLES = ("CLIENT", "SCHEDULER", "WORKER")


def ip(*words: str) -> None:
    """Run ``ip``."""
    subprocess.run(["ip", *words], check=True)


@contextlib.contextmanager
def network() -> Iterator[list[str]]:
    """A bridge with two namespaces; yields their names."""
    names = ["pthost1", "pthost2"]
    _remove(names)
    ip("link", "add", BRIDGE, "type", "bridge")
    ip("addr", "add", f"{NET}.1/24", "dev", BRIDGE)
    ip("link", "set", BRIDGE, "up")
    try:
        for i, name in enumerate(names):
            ip("netns", "add", name)
            ip("link", "add", f"ptv{i}", "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", f"ptv{i}", "master", BRIDGE, "up")
            ip("-n", name, "addr", "add", f"{NET}.{i + 2}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        _remove(names)


def _remove(names: list[str]) -> None:
    for words in (*(("netns", "del", name) for name in names), ("link", "del", BRIDGE)):
        subprocess.run(["ip", *words], check=False, capture_output=True)


def certificates(folder: Path) -> dict[str, str]:
    """Files of a certificate that is its own authority."""
    from distributed.security import Security

    made = Security.temporary()
    (folder / "cert.pem").write_text(str(made.tls_ca_file))
    (folder / "key.pem").write_text(str(made.tls_client_key))
    cert, key = str(folder / "cert.pem"), str(folder / "key.pem")
    return {"ca_file": cert, "cert": cert, "key": key}


def dask_environment(tls: dict[str, str]) -> dict[str, str]:
    """Environment of ``dask scheduler`` and ``dask worker``."""
    place = "DASK_DISTRIBUTED__COMM__"
    found = {f"{place}TLS__CA_FILE": tls["ca_file"], f"{place}REQUIRE_ENCRYPTION": "True"}
    for role in TLS_ROLES:
        found |= {f"{place}TLS__{role}__CERT": tls["cert"], f"{place}TLS__{role}__KEY": tls["key"]}
    # A host that is cut off falls silent; Dask would wait five minutes for it.
    found["DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL"] = "30s"
    return {**os.environ, **found, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def configuration(store: Path, cluster: dict[str, Any]) -> dict[str, Any]:
    """A sweep of 48 points in 24 batches."""
    return sweep_blocks(
        "hosts",
        store,
        grid={"shape": [64, 64]},
        parameters={"mobility": [1.0, 2.0], "kappa": {"linspace": [0.6, 2.0, 24]}},
        realizations={"count": 2},
        times={"stop": 400, "count": 9},
        engine={"kind": "solver", "tolerance": 1e-3},
        batch={"rollouts": 1},
        cluster=cluster,
        verify={"count": 2},
    )


def refused(address: str) -> str:
    """What a client without a key gets."""
    from distributed import Client
    from distributed.security import Security

    answers = []
    for security in (Security.temporary(), None):
        url = address if security else address.replace("tls://", "tcp://")
        try:
            Client(url, timeout=4, security=security).close()
            answers.append("ACCEPTED")
        except (OSError, TimeoutError) as error:
            answers.append(f"refused ({type(error).__name__})")
    return f"another key: {answers[0]}; no encryption: {answers[1]}"


def over_two_hosts(folder: Path, hosts: list[str]) -> dict[str, Any]:
    """The sweep, one host lost on the way."""
    from sweeps.monitoring.status import status

    tls = certificates(folder)
    environment, log = dask_environment(tls), (folder / "dask.txt").open("w")
    options: dict[str, Any] = {"env": environment, "stdout": log, "stderr": log, "cwd": folder}
    dask = [sys.executable, "-m", "dask"]
    address = f"tls://{NET}.1:8791"
    processes = [subprocess.Popen([*dask, "scheduler", "--host", address, "--no-dashboard"], **options)]
    for i, host in enumerate(hosts):
        worker = [*dask, "worker", address, "--host", f"{NET}.{i + 2}", "--nthreads", "1", "--no-dashboard"]
        processes.append(subprocess.Popen(["ip", "netns", "exec", host, *worker], **options))
    try:
        time.sleep(10)
        answer = refused(address)
        print(answer, flush=True)
        store = folder / "two.zarr"
        file = folder / "sweep.yaml"
        file.write_text(json.dumps(configuration(store, {"address": address, "tls": tls})))
        run = subprocess.Popen([sys.executable, "-m", "phasetwin", "run", str(file)], **options)
        started = time.monotonic()
        while run.poll() is None and _done(store) < 16 and time.monotonic() - started < LIMIT:
            time.sleep(0.5)
        before = _done(store)
        ip("link", "set", "ptv1", "down")
        print(f"cable pulled at {before} of 48 points", flush=True)
        code = run.wait(LIMIT)
        found = status(str(store))
        states = {name: count for name, count in found["states"].items() if count}
        return {"refused": answer, "cut_at": before, "exit": code, "states": states, "store": store}
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
        log.close()


def _done(store: Path) -> int:
    return 2 * len(list(store.glob("free_energy/c.*")))


def on_one_host(folder: Path) -> Path:
    """The store of the sweep with two worker processes of this machine."""
    cluster = {"kind": "local", "workers": 2, "dashboard_address": None}
    assert run_once(folder, _alone(folder, cluster)) == 0, (folder / "log.txt").read_text()
    return folder / "one.zarr"


def _alone(folder: Path, cluster: dict[str, Any]) -> Subject:
    folder.mkdir()
    return Subject("one host", "run", configuration(folder / "one.zarr", cluster), same_store)


def in_one_process(folder: Path) -> tuple[int, int | None, Path]:
    """The sweep in a process of its own, killed and run again: points done then, the last exit status, the store."""
    subject, store = _alone(folder, IN_PROCESS), folder / "one.zarr"
    program = Program(folder, subject)
    while not program.ended and _done(store) < 16:
        time.sleep(0.2)
    program.kill()
    before = _done(store)
    print(f"killed at {before} of 48 points", flush=True)
    return before, run_once(folder, subject), store


def main() -> None:
    given = parser(__doc__)
    given.add_argument("--in-process", action="store_true", help="the part with one process alone; no page")
    options = given.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="hosts-"))
    one = on_one_host(folder / "alone")
    killed_at, code, own = in_one_process(folder / "own")
    own_equal = same_store(one, own) and code == 0
    lines = [
        f"- In a process of its own, killed at {killed_at} of 48 points and run again: exit status {code}; store "
        f"equal, byte for byte, to that of two workers: {'yes' if own_equal else 'NO'}.",
    ]
    if options.in_process:
        print("\n".join(lines))
        sys.exit(0 if own_equal else f"see {folder}")
    with network() as hosts:
        found = over_two_hosts(folder, hosts)
    equal = same_store(one, found["store"])
    lines = [
        "# Two hosts",
        "",
        "Made by `python benchmarks/two_hosts.py` (its docstring says how), as root.",
        "",
        f"- Connecting without the key: {found['refused']}.",
        f"- One of two hosts cut off at {found['cut_at']} of 48 points: exit status {found['exit']}, "
        f"{found['states']}.",
        f"- Store equal, byte for byte, to that of a sweep on one host: {'yes' if equal else 'NO'}.",
        *lines,
        "",
    ]
    print("\n".join(lines))
    if not equal or not own_equal or found["exit"]:
        sys.exit(f"see {folder}")
    PAGE.write_text("\n".join(lines))
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
