"""The peers' own virtual environment: their pins must not touch this project's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from peers_bench.client import BENCHMARKS, PEERS_ENVIRONMENT

REQUIREMENTS = BENCHMARKS / "peers-requirements.txt"
_SHOWN = ("exponax", "jax", "torchfsm", "torch", "spectralETD", "evoxels", "py-pde", "numba", "rocket-fft", "numpy")


def python_of_peers() -> Path:
    """Interpreter of the environment, whether or not it exists."""
    return PEERS_ENVIRONMENT / "bin" / "python"


def make_environment() -> None:
    """Create the environment and install the pinned peers (about 2.6 GB on disk)."""
    subprocess.run([sys.executable, "-m", "venv", str(PEERS_ENVIRONMENT)], check=True)
    subprocess.run([str(python_of_peers()), "-m", "pip", "install", "-r", str(REQUIREMENTS)], check=True)


def versions() -> dict[str, str]:
    """Installed versions of the peers, by name."""
    listing = subprocess.run(
        [str(python_of_peers()), "-m", "pip", "list", "--format", "json"], check=True, capture_output=True, text=True
    )
    installed = {row["name"].lower(): row["version"] for row in json.loads(listing.stdout)}
    return {name: installed[name.lower()] for name in _SHOWN if name.lower() in installed}
