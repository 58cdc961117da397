"""Who can reach a cluster: certificates, and a warning where more than this machine can.

Whoever can connect to a Dask scheduler without TLS can run any code on its workers, and read what they compute.
"""

from __future__ import annotations

import ipaddress
from typing import Any
from urllib.parse import urlsplit

from distributed.security import Security

from solvers.errors import InputError
from sweeps.config import cluster as cluster_config


def tls_security(tls: Any) -> Security | None:
    """Dask's security settings of a ``tls`` key; encryption and certificates are then required from everybody.

    Raises:
        InputError: if a temporary certificate cannot be made, or files are not certificates and their key.
    """
    if tls is None:
        return None
    if tls == "temporary":
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


def exposure(cluster: cluster_config.Cluster) -> list[str]:
    """A line for each way in which others than this machine can reach a cluster; empty where none can."""
    if isinstance(cluster, cluster_config.RunningCluster):
        return _exposed_address(cluster.address)
    warnings = []
    encrypted = getattr(cluster, "tls", None) is not None
    if isinstance(cluster, cluster_config.LocalCluster | cluster_config.GpuCluster):
        if not is_loopback(cluster.host):
            warnings.append(
                f"cluster.host: the scheduler listens on {cluster.host}, beyond this machine; {_who(encrypted)}"
            )
    elif isinstance(cluster, cluster_config.SlurmCluster | cluster_config.SshCluster):
        warnings.append(
            f"cluster.kind: a {cluster.kind} cluster's scheduler listens beyond this machine; {_who(encrypted)}"
        )
    host = (getattr(cluster, "dashboard_address", None) or "").rpartition(":")[0]
    if host and not is_loopback(host):
        warnings.append(
            f"cluster.dashboard_address: everybody who reaches {host} can read the dashboard; it has no password"
        )
    return warnings


def _who(encrypted: bool) -> str:
    if encrypted:
        return "only holders of a certificate can connect"
    return "everybody who reaches it can run code on the workers (cluster.tls prevents that)"


def _exposed_address(address: str) -> list[str]:
    parts = urlsplit(address)
    if parts.scheme in ("tls", "wss", "inproc") or is_loopback(parts.hostname or ""):
        return []
    what = f"cluster.address: {address} is not encrypted"
    return [f"{what}; everybody who reaches it can run code there (tls:// prevents that)"]
