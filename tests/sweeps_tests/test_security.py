"""Nobody else connects, reads or runs code: loopback, certificates, and files that cannot do anything."""

from __future__ import annotations

import json
import os
import pickle
import re
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

import numcodecs
import numpy as np
import psutil
import pytest
import zarr
from distributed import Client

import phasetwin
from solvers import Grid
from solvers.errors import InputError
from solvers.initial import from_file
from sweeps.cluster.client import dashboard_link, open_client
from sweeps.cluster.security import exposure, tls_security
from sweeps.config.cluster import LOOPBACK, InProcessCluster, LocalCluster, RunningCluster, TlsFiles
from sweeps.store.store import Store


def _certificate(folder: Path, name: str) -> TlsFiles:
    """A key and its self-signed certificate, which is its own authority."""
    from distributed.security import Security

    made = Security.temporary()
    (folder / f"{name}.cert.pem").write_text(made.tls_ca_file)
    (folder / f"{name}.key.pem").write_text(made.tls_client_key)
    cert, key = (str(folder / f"{name}.{part}.pem") for part in ("cert", "key"))
    return TlsFiles(ca_file=cert, cert=cert, key=key)


def _listening() -> set[tuple[str, int]]:
    """Addresses at which this process and its children listen."""
    found = set()
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        try:
            connections = process.net_connections("inet")
        except psutil.NoSuchProcess:
            continue
        found |= {(c.laddr.ip, c.laddr.port) for c in connections if c.status == psutil.CONN_LISTEN}
    return found


def test_tls_on_loopback(tiny, tmp_path, monkeypatch) -> None:
    good, other = _certificate(tmp_path, "good"), _certificate(tmp_path, "other")
    monkeypatch.setattr("sweeps.cluster.remote.CONNECT_SECONDS", 1)
    before = _listening()
    with open_client(LocalCluster(workers=1, tls=good), 1) as client:
        address = client.scheduler.address
        assert address.startswith("tls://127.0.0.1:")
        new = _listening() - before
        assert len(new) >= 3  # scheduler, dashboard, worker
        assert {host for host, _ in new} <= {"127.0.0.1", "::1"}
        health = client.dashboard_link.replace("status", "health")
        assert urlopen(health, timeout=10).read() == b"ok"
        # A page of another site in the same browser gets no live data. The dashboard is loaded with its first page.
        assert b"Dask" in urlopen(client.dashboard_link, timeout=60).read()
        origins = client.cluster.scheduler.http_application.applications[0].websocket_origins
        assert {o.rpartition(":")[0] for o in origins} == {"localhost", "127.0.0.1"}
        with open_client(RunningCluster(address=address, tls=good), 1) as second:
            assert second.submit(os.getpid).result() != os.getpid()
        with (
            pytest.raises(InputError, match="takes this certificate"),
            open_client(RunningCluster(address=address, tls=other), 1),
        ):
            pass
        with pytest.raises((OSError, TimeoutError)):
            Client(address.replace("tls://", "tcp://"), timeout=1)
        result = tiny(cluster={"address": address, "tls": good.model_dump()}).run(progress=False)
        assert (result.computed, result.failed) == (12, ())


def test_in_this_process_only_this_machine_is_listened_to() -> None:
    before = _listening()
    with open_client(InProcessCluster(), 1):
        new = _listening() - before
    assert new
    assert {host for host, _ in new} <= {"127.0.0.1", "::1"}
    assert not _listening() & new


@pytest.mark.parametrize("address", [":0", "127.0.0.1:0", "localhost:0"])
def test_a_dashboard_in_this_process_is_where_the_run_says(address, tiny, capsys) -> None:
    sweep = tiny(cluster={"kind": "in_process", "dashboard_address": address})
    with open_client(sweep.config.cluster, 1) as client:
        sweep.run(client)
        status, page = re.findall(r"http://[^\s,]+", capsys.readouterr().err)
        assert json.loads(urlopen(f"{page}.json", timeout=10).read())["sweeps"][0]["states"]["done"] == 12
        assert b"<title>phasetwin</title>" in urlopen(page, timeout=60).read()
        assert b"Dask" in urlopen(status, timeout=10).read()


@pytest.mark.parametrize("kind", ["in_process", "local"])
def test_a_dashboard_that_is_off_tells_nothing(kind, tiny, capsys) -> None:
    """Also not beside Dask's own pages, which its web server has even without a dashboard."""
    sweep = tiny(cluster={"kind": kind, "dashboard_address": None})
    with open_client(sweep.config.cluster, 1) as client:
        assert dashboard_link(client, sweep.config.cluster) == ""
        sweep.run(client)
        assert "http" not in capsys.readouterr().err
        server = f"http://{LOOPBACK}:{urlsplit(client.dashboard_link).port}"
        for page in ("phasetwin", "phasetwin.json", "metrics", "info/main/workers.html", "json/counts.json"):
            with pytest.raises(HTTPError, match="404"):
                urlopen(f"{server}/{page}", timeout=10)


def test_temporary_certificate() -> None:
    security = tls_security("temporary")
    assert security is not None
    assert security.require_encryption
    assert security.get_connection_args("client")["ssl_context"] is not None


def test_a_key_that_is_none(tmp_path) -> None:
    (tmp_path / "a").write_text("no key")
    name = str(tmp_path / "a")
    with pytest.raises(InputError, match=r"cluster\.tls: not certificates"):
        tls_security(TlsFiles(ca_file=name, cert=name, key=name))


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (LocalCluster(), []),
        (LocalCluster(host="0.0.0.0"), ["beyond this machine; everybody who reaches it can run code"]),
        (LocalCluster(host="0.0.0.0", tls="temporary"), ["only holders of a certificate"]),
        (LocalCluster(dashboard_address="0.0.0.0:0"), ["can read the dashboard"]),
        (LocalCluster(dashboard_address=":8787"), []),
        (RunningCluster(address="tcp://127.0.0.1:1"), []),
        (RunningCluster(address="tcp://10.0.0.7:8786"), ["is not encrypted"]),
    ],
)
def test_a_line_for_each_way_in(block, words) -> None:
    lines = exposure(block)
    assert len(lines) == len(words)
    for line, word in zip(lines, words, strict=True):
        assert word in line
        assert "\n" not in line


def test_the_warning_is_logged(caplog, monkeypatch) -> None:
    monkeypatch.setattr("sweeps.cluster.remote.CONNECT_SECONDS", 0.2)
    with (
        pytest.raises(InputError, match="no Dask scheduler answers"),
        open_client(RunningCluster(address="tcp://localhost.invalid:1"), 1),
    ):
        pass
    assert caplog.messages[0].startswith("warning: cluster.address: tcp://localhost.invalid:1 is not encrypted")


class _Bomb:
    """What unpickling would do: make a file."""

    def __reduce__(self):
        return Path.touch, (Path("unpickled"),)


def _pickled_store(folder: Path) -> None:
    group = zarr.open_group(folder, mode="w", zarr_format=2)
    group.create_array("c", shape=(4, 4), chunks=(4, 4), dtype="f8", compressors=None)
    about = folder / "c" / ".zarray"
    about.write_text(about.read_text().replace('"filters": null', '"filters": [{"id": "pickle", "protocol": 5}]'))
    (folder / "c" / "0.0").write_bytes(pickle.dumps(_Bomb()))


def test_pickled_stores_are_not_opened(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "start.zarr"
    _pickled_store(folder)
    assert "pickle" in numcodecs.registry.codec_registry
    with pytest.raises(InputError, match="pickled objects"):
        from_file(folder, "c", Grid((4, 4)))
    with pytest.raises(InputError, match="other things are there"):
        Store.find(str(folder))
    assert not Path("unpickled").exists()
    np.save(tmp_path / "start.npy", np.array([[_Bomb()]]), allow_pickle=True)
    with pytest.raises(InputError, match="cannot be read"):
        from_file(tmp_path / "start.npy", None, Grid((4, 4)))
    assert not Path("unpickled").exists()


@pytest.mark.parametrize("url", ["reference://x.json", "dask://host", "simplecache::s3://a/b", "github://a:b@c/d"])
def test_addresses_that_do_things(url, tiny) -> None:
    with pytest.raises(InputError, match="allowed"):
        tiny(url)
    with pytest.raises(InputError, match="allowed"):
        Store.find(url)


SLURM = """\
schema_version: 1
name: small
process: cahn_hilliard
grid: {shape: [16, 16]}
initial: {kind: noise}
times: [0, 1]
cluster: {kind: slurm, %s}
"""


@pytest.mark.parametrize(
    "line",
    [
        "queue: 'a\\n touch /tmp/b'".replace("\\n", "; "),
        "account: $(touch b)",
        "job_extra_directives: ['--output=a; touch b']",
        'job_extra_directives: ["--output=a\\ntouch b"]',
        "job_script_prologue: ['touch b']",
    ],
)
def test_no_text_of_a_file_reaches_a_shell(line, tmp_path, capsys) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(SLURM % line)
    assert phasetwin.main(["lint", str(path)]) == 2
    assert "cluster." in capsys.readouterr().err


def test_no_code_that_runs_data() -> None:
    """Nothing in the package unpickles, evaluates text or starts a shell.

    Two modules unpickle what runs code by its nature: what a driver sends its workers over Dask's connection, which
    carries pickles anyway, and machine code that a process of the same user has compiled.
    """
    root = Path(__file__).parents[2]
    allowed = {
        root / "sweeps" / "execution" / "extensions.py": {"import pickle", "cloudpickle"},
        root / "solvers" / "kernel_cache.py": {"import pickle"},
    }
    words = ("import pickle", "cloudpickle", "torch.load(", "shell=True", "os.system", "allow_pickle=True", "joblib")
    for room in ("solvers", "surrogate", "sweeps", "studies"):
        for path in (root / room).rglob("*.py"):
            text = path.read_text()
            assert {word for word in words if word in text} == allowed.get(path, set()), path
            assert " eval(" not in text.replace(" .eval(", ""), path
            assert " exec(" not in text, path
