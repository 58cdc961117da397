"""Who can reach a cluster: certificates, and a warning where more than this machine can.

A process that can connect to a Dask scheduler without TLS can run any code on its workers, and read what they compute.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from distributed.security import Security

from solvers.errors import InputError
from solvers.registries import resolve
from sweeps.config.cluster import ClusterBlock, GpuCluster, LocalCluster, RunningCluster, TlsFiles
from sweeps.config.cluster_kinds import CLUSTERS


def tls_security(tls: TlsFiles | str | None) -> Security | None:
    """Dask's security settings of a ``tls`` key; encryption and certificates are then required of every connection.

    Raises:
        InputError: if a temporary certificate cannot be made, or files are not certificates and their key.
    """
    if tls is None:
        return None
    if not isinstance(tls, TlsFiles):
        try:
            return Security.temporary()
        except ImportError:
            raise InputError(
                "cluster.tls: temporary needs cryptography, which is not installed; pip install 'phasetwin[tls]'"
            ) from None
    roles = ("client", "scheduler", "worker")
    files = {f"tls_{role}_{part}": getattr(tls, part) for role in roles for part in ("cert", "key")}
    security = Security(require_encryption=True, tls_ca_file=tls.ca_file, **files)
    try:
        security.get_connection_args("client")
    except OSError as error:
        # ssl.SSLError is one; it names no file.
        raise InputError(f"cluster.tls: not certificates and the key that belongs to them ({error})") from None
    return security


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host name or address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def exposure(block: ClusterBlock) -> list[str]:
    """A line for each way in which others than this machine can reach a cluster; empty where none can."""
    lines = resolve(CLUSTERS.get(block.kind).exposure or _hidden)(block)
    host = (getattr(block, "dashboard_address", None) or "").rpartition(":")[0]
    if host and not is_loopback(host):
        lines.append(
            f"cluster.dashboard_address: everybody who reaches {host} can read the dashboard; it has no password"
        )
    return lines


def _hidden(block: ClusterBlock) -> list[str]:
    del block
    return []


def exposed_host(block: LocalCluster | GpuCluster) -> list[str]:
    """Of a scheduler on this machine that listens at ``host``."""
    if is_loopback(block.host):
        return []
    return [f"cluster.host: the scheduler listens on {block.host}, beyond this machine; {_who(block)}"]


def exposed_scheduler(block: ClusterBlock) -> list[str]:
    """Of a scheduler that workers on other machines must reach."""
    return [f"cluster.kind: a {block.kind} cluster's scheduler listens beyond this machine; {_who(block)}"]


def _who(block: ClusterBlock) -> str:
    if getattr(block, "tls", None) is not None:
        return "only holders of a certificate can connect"
    return "everybody who reaches it can run code on the workers (cluster.tls prevents that)"


def exposed_address(block: RunningCluster) -> list[str]:
    """Of a scheduler that runs already."""
    parts = urlsplit(block.address)
    if parts.scheme in ("tls", "wss", "inproc") or is_loopback(parts.hostname or ""):
        return []
    what = f"cluster.address: {block.address} is not encrypted"
    return [f"{what}; everybody who reaches it can run code there (tls:// prevents that)"]
