"""Where numbers come from: versions, commit, device, host."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import lru_cache
from importlib import metadata
from pathlib import Path

PACKAGES = ("phasetwin", "torch", "numpy", "scipy", "xarray", "zarr", "dask", "distributed")


def provenance(device: str, weights_sha256: str) -> dict[str, object]:
    """Root attributes of a store that say what made it; ``weights_sha256`` is empty but for learned engines."""
    return {
        "versions": {"python": platform.python_version(), **versions()},
        "git_commit": git_commit(),
        "device": device_name(device),
        "host_cores": os.cpu_count() or 1,
        "weights_sha256": weights_sha256,
    }


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions of what computes and writes the numbers, as found when first asked for."""
    return {name: installed_version(name) for name in PACKAGES}


def installed_version(package: str) -> str:
    """Its version, or "not installed"."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


@lru_cache(maxsize=1)
def git_commit() -> str:
    """Commit of the running program when first asked for, with ``+`` after changes; empty outside a checkout."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return ""
    try:
        commit = _git(here, "rev-parse", "HEAD")
        changed = _git(here, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return ""
    return commit + ("+" if changed else "")


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


def device_name(device: str) -> str:
    """``cpu`` with its model, or the GPU's name."""
    if device.startswith("cuda"):
        import torch

        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({platform.processor() or platform.machine()})"
